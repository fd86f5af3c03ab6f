import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { messageOf } from './token-file.ts';

/** Which process hears of a change: a process id, or a file that holds one. */
export interface SignalTarget {
  readonly process: { readonly pid: number } | { readonly pidFile: string };
  readonly signal: NodeJS.Signals;
}

/** What is done after each change of a file. */
export interface Hooks {
  /** A line for /bin/sh. */
  readonly exec: string | null;
  readonly signal: SignalTarget | null;
}

export interface ChangedFile {
  readonly path: string;
  readonly tokenId: string;
}

/** A command that has not ended by then is ended. */
const EXEC_TIMEOUT_MS = 60_000;

export function hasHooks(hooks: Hooks): boolean {
  return hooks.exec !== null || hooks.signal !== null;
}

/** Runs the command, then sends the signal. Resolves with what went wrong, null where nothing did. */
export async function runHooks(hooks: Hooks, file: ChangedFile, stop: AbortSignal): Promise<string | null> {
  if (hooks.exec !== null) {
    const failure = await execute(hooks.exec, file, stop);
    if (failure !== null) return failure;
  }
  return hooks.signal === null ? null : await send(hooks.signal);
}

/** The command learns where the token is and its public id, never the token: others can read an environment. */
function execute(command: string, { path, tokenId }: ChangedFile, stop: AbortSignal): Promise<string | null> {
  return new Promise((resolve) => {
    const child = spawn('/bin/sh', ['-c', command], {
      // Its output is not ours; it goes where our log goes.
      stdio: ['ignore', 2, 2],
      env: { ...process.env, PORTCULLIS_TOKEN_FILE: path, PORTCULLIS_TOKEN_ID: tokenId },
      // A process group of its own, so that what the command has started ends with it.
      detached: true,
    });
    const end = (signal: NodeJS.Signals): void => {
      if (child.pid === undefined) return;
      try {
        process.kill(-child.pid, signal);
      } catch {
        // It has ended by itself.
      }
    };
    const onStop = (): void => end('SIGTERM');
    const patience = setTimeout(() => end('SIGKILL'), EXEC_TIMEOUT_MS);
    const settle = (failure: string | null): void => {
      clearTimeout(patience);
      stop.removeEventListener('abort', onStop);
      resolve(failure);
    };
    stop.addEventListener('abort', onStop);
    if (stop.aborted) onStop();
    child.on('error', (error) => settle(`the command cannot be run: ${error.message}`));
    child.on('exit', (code, signal) => {
      if (code === 0) settle(null);
      else settle(code === null ? `the command was ended by ${signal}` : `the command ended with status ${code}`);
    });
  });
}

async function send({ process: target, signal }: SignalTarget): Promise<string | null> {
  try {
    const pid = 'pid' in target ? target.pid : processId(await readFile(target.pidFile, 'utf8'));
    if (pid === null) return `${'pidFile' in target ? target.pidFile : 'it'} does not hold a process id`;
    process.kill(pid, signal);
    return null;
  } catch (error) {
    return `${signal} could not be sent: ${messageOf(error)}`;
  }
}

/** Never 0 or a negative number, which would mean a whole group of processes (kill(2)). */
export function processId(text: string): number | null {
  const pid = /^\s*[1-9]\d{0,9}\s*$/.test(text) ? Number(text) : 0;
  return pid > 0 ? pid : null;
}
