import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants } from 'node:fs';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A real proxy in front of the gateway, from one of the shipped examples. */
export interface FrontProxy {
  readonly port: number;
  stop(): Promise<void>;
}

export interface ProxyProgram {
  readonly name: 'nginx' | 'caddy';
  /** The configuration, for a run in this folder. */
  readonly config: (place: { readonly folder: string; readonly port: number }) => string;
}

const ATTEMPTS = 20;
const READY_MS = 20_000;
const STOP_MS = 5_000;

/** What the programs say when they serve. It comes from our own child: a stranger on the port is not taken for it. */
const READY = { nginx: /start worker process \d+/, caddy: /serving initial configuration/ };
const TAKEN = /address already in use/i;

/** The path of the program, or null where it is not installed. */
export function proxyProgram(name: ProxyProgram['name']): string | null {
  const folders = [...(process.env['PATH'] ?? '').split(':'), '/usr/local/bin', '/usr/bin', '/usr/sbin'];
  for (const folder of folders.filter((each) => each !== '')) {
    try {
      accessSync(join(folder, name), constants.X_OK);
      return join(folder, name);
    } catch {}
  }
  return null;
}

/** Starts the program on a free port of loopback. */
export async function startProxy({ name, config }: ProxyProgram): Promise<FrontProxy> {
  const program = proxyProgram(name);
  if (program === null) throw new Error(`${name} is not installed`);
  let output = '';
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const folder = await mkdtemp(join(tmpdir(), `portcullis-${name}-`));
    // Started by root, nginx works as somebody else.
    await chmod(folder, 0o711);
    const port = await freePort();
    const file = join(folder, name === 'nginx' ? 'nginx.conf' : 'Caddyfile');
    await writeFile(file, config({ folder, port }));
    const started = await launch(name, program, folder, file);
    if (started.child !== null) return proxyOf(started.child, folder, port);
    await rm(folder, { recursive: true, force: true });
    output = started.output;
    // Another process was quicker: the next port.
    if (!TAKEN.test(output)) break;
  }
  throw new Error(`${name} did not start:\n${output}`);
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port was given');
  return address.port;
}

async function launch(
  name: ProxyProgram['name'],
  program: string,
  folder: string,
  file: string,
): Promise<{ readonly child: ChildProcess | null; readonly output: string }> {
  const args =
    name === 'nginx'
      ? [
          '-p',
          folder,
          '-c',
          file,
          '-e',
          'stderr',
          '-g',
          `daemon off; error_log stderr notice; pid ${folder}/nginx.pid;`,
        ]
      : ['run', '--adapter', 'caddyfile', '--config', file];
  const env = { ...process.env, HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder };
  const child = spawn(program, args, { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  const ready = await new Promise<boolean>((resolve) => {
    const timer = setTimeout(() => resolve(false), READY_MS);
    const settle = (value: boolean): void => {
      clearTimeout(timer);
      resolve(value);
    };
    const read = (chunk: Buffer): void => {
      if (output.length < 100_000) output += chunk.toString();
      if (READY[name].test(output)) settle(true);
    };
    child.stdout.on('data', read);
    child.stderr.on('data', read);
    child.once('close', () => settle(false));
    child.once('error', (error) => {
      output += error.message;
      settle(false);
    });
  });
  if (ready) return { child, output: '' };
  child.kill('SIGKILL');
  return { child: null, output };
}

function proxyOf(child: ChildProcess, folder: string, port: number): FrontProxy {
  const exited = once(child, 'exit');
  const killWithUs = (): void => {
    child.kill('SIGKILL');
  };
  process.once('exit', killWithUs);
  return {
    port,
    stop: async () => {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGTERM');
        const patience = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
        await exited;
        clearTimeout(patience);
      }
      process.off('exit', killWithUs);
      await rm(folder, { recursive: true, force: true });
    },
  };
}
