import { type SpawnSyncOptions, spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Debian asks this program before it starts or stops a service; status 101 forbids it (invoke-rc.d, policy-rc.d). */
const POLICY = '/usr/sbin/policy-rc.d';

const APT = ['-o', 'DPkg::Lock::Timeout=180', '-o', 'Acquire::Retries=3', '-q'];

/** Called once by vitest before all tests; what it returns, after them. */
export default function setup(): () => void {
  installPrograms();
  // Of this run alone, so that nobody else can put anything into it.
  const cache = mkdtempSync(join(tmpdir(), 'portcullis-compiled-'));
  process.env['NODE_COMPILE_CACHE'] = cache;
  return () => rmSync(cache, { recursive: true, force: true });
}

interface NeededProgram {
  /** Of the package and of the program in it. */
  readonly name: string;
  /** Tests that start it fail without it; those of others say what they miss and are skipped. */
  readonly required: boolean;
}

/** What tests start themselves. */
const NEEDED: readonly NeededProgram[] = [
  { name: 'redis-server', required: true },
  { name: 'nginx', required: false },
  { name: 'caddy', required: false },
];

/** Installs what is missing on Debian as root; elsewhere what cannot be done without is said. */
function installPrograms(): void {
  const missing = NEEDED.filter(({ name }) => findProgram(name) === null);
  if (missing.length === 0) return;
  if (process.getuid?.() !== 0 || findProgram('apt-get') === null) {
    complain(missing, 'install it (Debian, Ubuntu: apt-get install redis-server)');
    return;
  }
  withoutServices(() => {
    // An update that reaches only some of the sources may do: whether the package can be had is what counts.
    const update = run('apt-get', [...APT, 'update']);
    for (const program of missing) {
      const install = run('apt-get', [...APT, 'install', '-y', '--no-install-recommends', program.name]);
      const said = lastLine(install.stderr) || lastLine(update.stderr) || 'no message';
      if (findProgram(program.name) === null) complain([program], `apt-get could not install it: ${said}`);
    }
  });
  // The packages also enable their services for the next boot; only the programs are wanted.
  if (findProgram('systemctl') === null) return;
  for (const { name } of missing) run('systemctl', ['disable', `${name}.service`]);
}

function complain(missing: readonly NeededProgram[], what: string): void {
  const [first] = missing.filter(({ required }) => required);
  if (first !== undefined) throw new Error(`the tests need ${first.name} 6 or newer: ${what}`);
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
