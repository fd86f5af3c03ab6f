import { type SpawnSyncOptions, spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Debian asks this program before it starts or stops a service; status 101 forbids it (invoke-rc.d, policy-rc.d). */
const POLICY = '/usr/sbin/policy-rc.d';

const APT = ['-o', 'DPkg::Lock::Timeout=180', '-o', 'Acquire::Retries=3', '-q'];

/** Called once by vitest before all tests; what it returns, after them. */
export default function setup(): () => void {
  installRedis();
  // Of this run alone, so that nobody else can put anything into it.
  const cache = mkdtempSync(join(tmpdir(), 'portcullis-compiled-'));
  process.env['NODE_COMPILE_CACHE'] = cache;
  return () => rmSync(cache, { recursive: true, force: true });
}

/** Tests start their own `redis-server`, so the program has to be there. */
function installRedis(): void {
  if (findProgram('redis-server') !== null) return;
  if (process.getuid?.() !== 0 || findProgram('apt-get') === null) {
    throw new Error(
      'the tests need redis-server 6 or newer: install it (Debian, Ubuntu: apt-get install redis-server)',
    );
  }
  withoutServices(() => {
    // An update that reaches only some of the sources may do: whether the package can be had is what counts.
    const update = run('apt-get', [...APT, 'update']);
    const install = run('apt-get', [...APT, 'install', '-y', '--no-install-recommends', 'redis-server']);
    if (findProgram('redis-server') === null) {
      const said = lastLine(install.stderr) || lastLine(update.stderr) || 'no message';
      throw new Error(`the tests need redis-server, and apt-get could not install it: ${said}`);
    }
  });
  // The package also enables its service for the next boot; only the program is wanted.
  if (findProgram('systemctl') !== null) run('systemctl', ['disable', 'redis-server.service']);
}

function findProgram(name: string): string | null {
  const folders = [...(process.env['PATH'] ?? '').split(':'), '/usr/local/bin', '/usr/bin', '/usr/sbin', '/bin'];
  for (const folder of folders.filter((each) => each !== '')) {
    try {
      accessSync(join(folder, name), constants.X_OK);
      return join(folder, name);
    } catch {}
  }
  return null;
}

/** Runs `work` while packages may not start services, and leaves the machine's own rule as it was. */
function withoutServices(work: () => void): void {
  const aside = `${POLICY}.portcullis-${process.pid}`;
  const hadPolicy = existsSync(POLICY);
  if (hadPolicy) renameSync(POLICY, aside);
  try {
    writeFileSync(POLICY, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
    work();
  } finally {
    rmSync(POLICY, { force: true });
    if (hadPolicy) renameSync(aside, POLICY);
  }
}

function run(program: string, args: readonly string[]): { readonly stderr: string } {
  const options: SpawnSyncOptions = {
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1', LC_ALL: 'C' },
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: 240_000,
  };
  return { stderr: String(spawnSync(program, args, options).stderr ?? '') };
}

function lastLine(text: string): string {
  return text.trim().split('\n').at(-1) ?? '';
}
