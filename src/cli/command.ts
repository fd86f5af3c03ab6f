import type { Command } from 'commander';
import type { Output } from './output.ts';
import type { CliRuntime } from './runtime.ts';

/** What every command works with. */
export interface CommandContext {
  readonly output: Output;
  readonly runtime: CliRuntime;
  /** Makes an action of a function that comes to an exit status. */
  action<A extends readonly unknown[]>(run: (...args: A) => Promise<number>): (...args: A) => Promise<void>;
}

/** Exit statuses: the contract with scripts. */
export const EXIT = { ok: 0, failed: 1, usage: 2 } as const;

/** Ends a command with a message for people. */
export class CommandFailure extends Error {
  readonly status: number;
  constructor(message: string, status: number = EXIT.failed) {
    super(message);
    this.name = 'CommandFailure';
    this.status = status;
  }
}

/** Adds what every command's help ends with. */
export function example(command: Command, ...lines: readonly string[]): Command {
  const title = lines.length > 1 ? 'Examples' : 'Example';
  return command.addHelpText('after', `\n${title}:\n${lines.map((line) => `  $ ${line}`).join('\n')}`);
}

/** `a,b` or `--scopes a --scopes b`, for commander. */
export function list(text: string, previous: readonly string[] | undefined): readonly string[] {
  const items = text.split(/[\s,]+/).filter((item) => item !== '');
  return [...(previous ?? []), ...items];
}
