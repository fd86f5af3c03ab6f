import { runCli } from './cli/main.ts';
import { createRuntime } from './main/runtime.ts';

/** The composition root's entry: the command line on top of everything else. Resolves with the exit status. */
export function main(argv: readonly string[]): Promise<number> {
  return runCli(argv, createRuntime());
}

if (import.meta.main) process.exitCode = await main(process.argv.slice(2));
