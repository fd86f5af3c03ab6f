import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { programEnvironment } from '../support/program-environment.ts';

export const ROOT = resolve(import.meta.dirname, '../..');
export const PORTCULLIS = join(ROOT, 'bin', 'portcullis.js');

export interface Finished {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string;
  /** Program to run in place of bin/portcullis.js itself. */
  readonly command?: readonly [string, ...string[]];
}

/** A started process whose output can be waited for. */
export interface Running {
  readonly child: ChildProcess;
  readonly finished: Promise<Finished>;
  /** Resolves with the first match in stdout; rejects when the process ends without one. */
  seen(pattern: RegExp): Promise<RegExpExecArray>;
}

/** Runs `portcullis` as a user would and waits for its end. */
export function portcullis(args: readonly string[], options: RunOptions = {}): Promise<Finished> {
  return start(args, options).finished;
}

/** Starts `portcullis` and leaves it running; its environment holds nothing of the tests' own. */
export function start(args: readonly string[], options: RunOptions = {}): Running {
  const [command, ...first] = options.command ?? [PORTCULLIS];
  const { HOME = '' } = process.env;
  const child = spawn(command, [...first, ...args], {
    cwd: options.cwd ?? ROOT,
    env: { ...programEnvironment(), HOME, ...options.env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  child.stdin.on('error', () => undefined);
  child.stdin.end(options.input ?? '');
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
    child.emit('told');
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const finished = once(child, 'close').then(
    (): Finished => ({ status: child.exitCode ?? (child.signalCode === null ? null : 128), stdout, stderr }),
  );
  return {
    child,
    finished,
    seen: (pattern) =>
      new Promise((found, reject) => {
        const look = (): void => {
          const match = pattern.exec(stdout);
          if (match !== null) found(match);
        };
        child.on('told', look);
        look();
        finished.then(() => reject(new Error(`ended without ${pattern}:\n${stdout}\n${stderr}`)), reject);
      }),
  };
}

/** A folder of its own that is gone after the test file. */
export function temporaryFolder(): {
  readonly path: string;
  write(name: string, text: string): string;
  remove(): void;
} {
  const path = mkdtempSync(join(tmpdir(), 'portcullis-cli-'));
  return {
    path,
    write: (name, text) => {
      const file = join(path, name);
      writeFileSync(file, text);
      return file;
    },
    remove: () => rmSync(path, { recursive: true, force: true }),
  };
}
