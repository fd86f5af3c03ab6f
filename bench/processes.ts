import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { basename, delimiter, join } from 'node:path';

export interface StartOptions {
  /** Core to stay on; null: any. Ignored where `taskset` is missing. */
  readonly core: number | null;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** What it says when it is ready, on stdout or stderr; null: when the process is there. */
  readonly ready?: RegExp;
}

/** How long it may take to be ready, where nothing else is asked for, milliseconds. */
const READY_MS = 30_000;
const END_MS = 5_000;

/** `getconf CLK_TCK`: what /proc counts CPU time in. It is 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;

/** A process of the bench's own, with whatever it starts itself. */
export class Started {
  /** Without its arguments: they may hold a token. */
  readonly name: string;
  readonly child: ChildProcess;
  readonly pid: number;
  output = '';

  constructor(name: string, child: ChildProcess, pid: number) {
    this.name = name;
    this.child = child;
    this.pid = pid;
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.output = (this.output + text).slice(-100_000);
        child.emit('told');
      });
    }
  }

  get over(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  /** Resolves with the first match in what it has printed so far or prints. */
  async said(pattern: RegExp, patienceMs = READY_MS): Promise<RegExpExecArray> {
    const deadline = AbortSignal.timeout(patienceMs);
    for (;;) {
      const match = pattern.exec(this.output);
      if (match !== null) return match;
      if (this.over) throw new Error(`${this.name} ended:\n${this.output.slice(-2_000)}`);
      const wait = new AbortController();
      const signal = AbortSignal.any([deadline, wait.signal]);
      try {
        await Promise.race([once(this.child, 'told', { signal }), once(this.child, 'close', { signal })]);
      } catch (error) {
        if (!deadline.aborted) throw error;
        throw new Error(`${this.name} was not ready in time:\n${this.output.slice(-2_000)}`);
      } finally {
        wait.abort();
      }
    }
  }

  /** CPU seconds, user and system, of this process and all below it, those that have ended included. */
  cpuSeconds(): number {
    let ticks = 0;
    for (const pid of familyOf(this.pid)) {
      const fields = statOf(pid);
      // utime, stime, and the same of children that have been waited for: proc_pid_stat(5), fields 14 to 17.
      for (let i = 11; i <= 14; i += 1) ticks += Number(fields[i] ?? 0);
    }
    return ticks / TICKS_PER_SECOND;
  }

  /** Resident memory of this process and all below it, KiB. */
  rssKib(): number {
    return familyOf(this.pid).reduce((sum, pid) => sum + rssOf(pid), 0);
  }

  async end(): Promise<void> {
    if (this.over) return;
    const family = familyOf(this.pid);
    this.child.kill('SIGTERM');
    const gone = once(this.child, 'exit');
    const timer = setTimeout(() => kill(family), END_MS);
    await gone;
    clearTimeout(timer);
  }

  /** At once, for the end of the bench itself. */
  kill(): void {
    if (!this.over) kill(familyOf(this.pid));
  }
}

/** Every process that the bench starts, so that none outlives it. */
export class Processes {
  readonly #started = new Set<Started>();

  async start(command: string, args: readonly string[], options: StartOptions): Promise<Started> {
    const pinned = options.core !== null && findProgram('taskset') !== null;
    const line = pinned ? ['taskset', '-c', String(options.core), command, ...args] : [command, ...args];
    const [program = command, ...rest] = line;
    const { PATH = '', HOME = '' } = process.env;
    const child = spawn(program, rest, {
      cwd: options.cwd,
      env: { PATH, HOME, ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    if (child.pid === undefined) {
      const [error] = (await once(child, 'error')) as [Error];
      throw new Error(`${command} cannot be started: ${error.message}`);
    }
    const started = new Started(nameOf(command, args), child, child.pid);
    this.#started.add(started);
    child.once('exit', () => this.#started.delete(started));
    if (options.ready !== undefined) await started.said(options.ready);
    return started;
  }

  /** Runs one to its end and resolves with what it printed; rejects when it failed. */
  async run(command: string, args: readonly string[], options: StartOptions): Promise<string> {
    const started = await this.start(command, args, options);
    if (!started.over) await once(started.child, 'close');
    if (started.child.exitCode !== 0) {
      throw new Error(`${started.name} failed:\n${started.output.slice(-2_000)}`);
    }
    return started.output;
  }

  async endAll(): Promise<void> {
    await Promise.all([...this.#started].map((started) => started.end()));
  }

  killAll(): void {
    for (const started of this.#started) started.kill();
  }
}

/** `wrk`, or `node open-loop-client.ts`. */
function nameOf(command: string, [first = '']: readonly string[]): string {
  return /\.[jt]s$/.test(first) ? `${basename(command)} ${basename(first)}` : basename(command);
}

/** The process and all below it. */
function familyOf(pid: number): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    if (/^\d+$/.test(name)) parents.set(Number(name), Number(statOf(Number(name))[1] ?? 0));
  }
  const family = [pid];
  for (const member of family) {
    for (const [child, parent] of parents) if (parent === member) family.push(child);
  }
  return family;
}

/** Fields of /proc/PID/stat from the third on: the second is a name that may hold anything. Empty when it is gone. */
function statOf(pid: number): string[] {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return [];
  }
}

function rssOf(pid: number): number {
  try {
    return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

function kill(pids: readonly number[]): void {
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It has ended meanwhile.
    }
  }
}

export function findProgram(name: string): string | null {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin'];
  return folders.map((folder) => join(folder, name)).find((file) => existsSync(file)) ?? null;
}

/** A port that nobody listens on now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port was given');
  return address.port;
}

/** The largest number of files that a process may open here. */
export function openFilesLimit(): number {
  const [, hard] = /^Max open files\s+\S+\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'latin1')) ?? [];
  return hard === 'unlimited' ? Number.MAX_SAFE_INTEGER : Number(hard ?? 1024);
}
