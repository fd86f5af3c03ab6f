import { type Diagnostic, formatDiagnostic } from '../base/diagnostic.ts';
import type { Config } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import { type CommandContext, CommandFailure } from './command.ts';

/** The configuration that a command needs. What is wrong with it goes to stderr and ends the command. */
export async function requireConfig(context: CommandContext, file: string): Promise<Config> {
  const { config, diagnostics } = await loadConfig(file, context.runtime.env);
  for (const diagnostic of diagnostics) context.output.note(formatDiagnostic(diagnostic));
  if (config === null) throw new CommandFailure(`${file} is not a valid configuration (${counted(diagnostics)})`);
  return config;
}

/** `2 errors, 1 warning` */
export function counted(diagnostics: readonly Diagnostic[]): string {
  const errors = diagnostics.filter(({ severity }) => severity === 'error').length;
  const warnings = diagnostics.length - errors;
  const plural = (count: number, word: string) => `${count} ${word}${count === 1 ? '' : 's'}`;
  return warnings === 0 ? plural(errors, 'error') : `${plural(errors, 'error')}, ${plural(warnings, 'warning')}`;
}
