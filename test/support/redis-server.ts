import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface RedisServerOptions {
  /** More arguments, such as `['--maxmemory', '4mb']`; they win over the defaults. */
  readonly args?: readonly string[];
  /** A configuration file, as a sentinel needs one. */
  readonly config?: string;
  /** The port of a server that was there before; otherwise a free one. */
  readonly port?: number;
  /** A data folder that outlives the server; otherwise one of its own that goes with it. */
  readonly dir?: string;
}

export interface RedisServer {
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  /** SIGTERM, and waits for the end. */
  stop(): Promise<void>;
  /** SIGKILL, and waits for the end. */
  kill(): Promise<void>;
  /** SIGSTOP: connections stay open and nothing is answered. */
  pause(): void;
  resume(): void;
}

const ATTEMPTS = 20;
const READY_MS = 15_000;
const STOP_MS = 5_000;

/** Starts a real `redis-server` on loopback and resolves when it takes connections. Nothing is saved by default. */
export async function startRedis(options: RedisServerOptions = {}): Promise<RedisServer> {
  const dir = options.dir ?? (await mkdtemp(join(tmpdir(), 'portcullis-redis-')));
  const removeDir = async (): Promise<void> => {
    if (options.dir === undefined) await rm(dir, { recursive: true, force: true });
  };
  let output = '';
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    // Another process may take a free port before Redis binds it. Redis then ends, and says so: try the next one.
    const port = options.port ?? (await freePort());
    const started = await launch(port, dir, options);
    if (started.child !== null) return serverOf(started.child, port, removeDir);
    output = started.output;
    if (!output.includes('bind:') && !output.includes('in use')) break;
  }
  await removeDir();
  throw new Error(`redis-server did not start:\n${output}`);
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
  port: number,
  dir: string,
  options: RedisServerOptions,
): Promise<{ child: ChildProcess; output: string } | { child: null; output: string }> {
  const first = options.config === undefined ? [] : [options.config];
  const place = ['--bind', '127.0.0.1', '--port', String(port), '--dir', dir];
  const unsaved = options.config === undefined ? ['--save', '', '--appendonly', 'no'] : [];
  const child = spawn('redis-server', [...first, ...place, ...unsaved, ...(options.args ?? [])], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  const ready = await new Promise<boolean>((resolve) => {
    const timer = setTimeout(() => resolve(false), READY_MS);
    const settle = (value: boolean): void => {
      clearTimeout(timer);
      resolve(value);
    };
    // The line comes from our own child: a stranger that listens on the port cannot be taken for it.
    const read = (chunk: Buffer): void => {
      output += chunk.toString();
      if (/Ready to accept connections|Sentinel ID is/.test(output)) settle(true);
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

function serverOf(child: ChildProcess, port: number, removeDir: () => Promise<void>): RedisServer {
  const exited = once(child, 'exit');
  const { pid } = child;
  if (pid === undefined) throw new Error('redis-server has no process id');
  const killWithUs = (): void => {
    child.kill('SIGKILL');
  };
  process.once('exit', killWithUs);
  const end = async (signal: 'SIGTERM' | 'SIGKILL'): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill(signal);
      // A paused process hears a SIGTERM only after it goes on.
      child.kill('SIGCONT');
      const patience = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
      await exited;
      clearTimeout(patience);
    }
    process.off('exit', killWithUs);
    await removeDir();
  };
  return {
    url: `redis://127.0.0.1:${port}/0`,
    port,
    pid,
    stop: () => end('SIGTERM'),
    kill: () => end('SIGKILL'),
    pause: () => {
      child.kill('SIGSTOP');
    },
    resume: () => {
      child.kill('SIGCONT');
    },
  };
}
