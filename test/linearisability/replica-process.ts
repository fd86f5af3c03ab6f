import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { Agent } from 'undici';
import { programEnvironment } from '../support/program-environment.ts';

/** The program to drive: this checkout's, or another build's `main.ts` or `main.js` named in the environment. */
export const PROGRAM = process.env['PORTCULLIS_PROGRAM'] ?? resolve(import.meta.dirname, '../../src/main.ts');

/** The same with its lease check taken out. */
export const STALE_PROGRAM = resolve(import.meta.dirname, 'stale-program.ts');

/** The same without revocation marks at other replicas than that which made them. */
export const UNMARKED_PROGRAM = resolve(import.meta.dirname, 'unmarked-program.ts');

/** Of node: a process that was stopped hears of its sockets before it hears of its timers. */
export const LATE_TIMERS = ['--import', resolve(import.meta.dirname, '../support/late-timers.ts')];

const ENVIRONMENT = { ...programEnvironment(), PORTCULLIS_PROGRAM: PROGRAM };

/** One `portcullis serve` and the connections to it. */
export class ReplicaProcess {
  readonly child: ChildProcess;
  readonly trafficUrl: string;
  readonly adminUrl: string;
  readonly agent = new Agent({ connections: 64, pipelining: 1, headersTimeout: 15_000, bodyTimeout: 15_000 });
  /** For what stays open. */
  readonly streams = new Agent({ pipelining: 1, headersTimeout: 15_000, bodyTimeout: 0 });
  readonly #exited: Promise<unknown>;

  private constructor(
    child: ChildProcess,
    [trafficUrl = '', adminUrl = '']: readonly string[],
    exited: Promise<unknown>,
  ) {
    this.child = child;
    this.trafficUrl = trafficUrl;
    this.adminUrl = adminUrl;
    this.#exited = exited;
  }

  /** `options`: of node itself. */
  static async start(program: string, configFile: string, options: readonly string[] = []): Promise<ReplicaProcess> {
    const child = spawn(process.execPath, [...options, program, 'serve', '--config', configFile], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: ENVIRONMENT,
    });
    const exited = once(child, 'exit');
    let errors = '';
    child.stderr.on('data', (chunk: Buffer) => {
      errors = (errors + chunk.toString()).slice(-5000);
    });
    const urls: string[] = [];
    for await (const line of createInterface({ input: child.stdout })) {
      const url = /https?:\/\/\S+/.exec(line)?.[0];
      if (url !== undefined) urls.push(url.replace(/\/$/, ''));
      if (urls.length === 2) break;
    }
    child.stdout.resume();
    if (urls.length < 2) throw new Error(`serve ended before it was ready:\n${errors}`);
    return new ReplicaProcess(child, urls, exited);
  }

  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.#exited;
    await Promise.all([this.agent.destroy(), this.streams.destroy()]);
  }
}

/** Runs one command to its end and returns what it printed. */
export async function runToEnd(args: readonly string[]): Promise<string> {
  const child = spawn(process.execPath, [PROGRAM, ...args], { stdio: ['ignore', 'pipe', 'pipe'], env: ENVIRONMENT });
  let output = '';
  let errors = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`${args[0]} ended with ${code}: ${errors}`);
  return output;
}
