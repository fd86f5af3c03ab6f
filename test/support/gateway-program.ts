import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { programEnvironment } from './program-environment.ts';

const PROGRAM = resolve(import.meta.dirname, '../../src/main.ts');

/** `portcullis serve` as a process of its own, the way an operator runs it. */
export class GatewayProgram {
  readonly child: ChildProcess;
  readonly trafficUrl: string;
  readonly adminUrl: string;
  readonly #exit: Promise<{ readonly code: number | null; readonly signal: string | null }>;

  private constructor(
    child: ChildProcess,
    urls: readonly string[],
    exit: Promise<{ readonly code: number | null; readonly signal: string | null }>,
  ) {
    this.child = child;
    this.trafficUrl = urls[0] ?? '';
    this.adminUrl = urls[1] ?? '';
    this.#exit = exit;
  }

  /** Resolves when both listeners are announced. */
  static async start(configFile: string, env: Readonly<Record<string, string>> = {}): Promise<GatewayProgram> {
    const child = spawn(process.execPath, [PROGRAM, 'serve', '--config', configFile], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...programEnvironment(), ...env },
    });
    const exit = once(child, 'exit').then(
      ([code, signal]) => ({ code, signal }) as { code: number | null; signal: string | null },
    );
    let errors = '';
    child.stderr?.on('data', (chunk: Buffer) => {
      errors = (errors + chunk.toString()).slice(-20_000);
    });
    const urls: string[] = [];
    const ready = (async () => {
      for await (const line of createInterface({ input: child.stdout as NodeJS.ReadableStream })) {
        const url = /https?:\/\/\S+/.exec(line)?.[0];
        if (url !== undefined) urls.push(url.replace(/\/$/, ''));
        if (urls.length === 2) break;
      }
      child.stdout?.resume();
    })();
    await Promise.race([
      ready,
      exit.then(({ code }) => {
        if (urls.length < 2) throw new Error(`serve ended with ${code} before it was ready:\n${errors}`);
      }),
    ]);
    return new GatewayProgram(child, urls, exit);
  }

  get port(): number {
    return Number(new URL(this.trafficUrl).port);
  }

  async signal(signal: NodeJS.Signals): Promise<{ readonly code: number | null; readonly signal: string | null }> {
    this.child.kill(signal);
    return await this.#exit;
  }

  get exited(): Promise<{ readonly code: number | null; readonly signal: string | null }> {
    return this.#exit;
  }
}

/** Runs one command of the program to its end. */
export async function runProgram(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }> {
  const child = spawn(process.execPath, [PROGRAM, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...programEnvironment(), ...env },
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stdout, stderr };
}
