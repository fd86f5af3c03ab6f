import { readFile } from 'node:fs/promises';
import { buffer } from 'node:stream/consumers';
import { InvalidArgumentError } from 'commander';
import { formatDiagnostic, hasErrors, sortDiagnostics } from '../base/diagnostic.ts';
import { LIMITS } from '../base/limits.ts';
import { type OpenapiDocument, readOpenapi } from '../policy/openapi/document.ts';
import { parseBase } from '../policy/path-pattern.ts';
import { type CommandContext, CommandFailure } from './command.ts';
import { counted } from './config-file.ts';

/** Reads an OpenAPI document; `-` is stdin. What is wrong with it goes to stderr and ends the command. */
export async function requireOpenapi(context: CommandContext, file: string): Promise<OpenapiDocument> {
  const shown = file === '-' ? 'stdin' : file;
  const bytes = await (file === '-' ? buffer(context.runtime.stdin) : readFile(file)).catch((error: unknown) => {
    throw new CommandFailure(`${shown} cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  });
  if (bytes.length > LIMITS.openapiFileBytes) {
    throw new CommandFailure(`${shown} is larger than ${LIMITS.openapiFileBytes} bytes`);
  }
  const { document, diagnostics } = readOpenapi(bytes.toString('utf8').replace(/^\ufeff/, ''), shown);
  if (document !== null) return document;
  for (const diagnostic of sortDiagnostics(diagnostics)) context.output.note(formatDiagnostic(diagnostic));
  throw new CommandFailure(`${shown} cannot be used (${counted(diagnostics)})`);
}

/** Says what has been found out about a document while it was walked; ends the command for an error. */
export function tellDiagnostics({ output }: CommandContext, document: OpenapiDocument): void {
  const diagnostics = sortDiagnostics(document.diagnostics);
  for (const diagnostic of diagnostics) output.note(formatDiagnostic(diagnostic));
  if (hasErrors(diagnostics)) throw new CommandFailure(`${document.file} cannot be used (${counted(diagnostics)})`);
}

/** `/orders`, or `/` for none. */
export function baseOption(text: string): string {
  const base = parseBase(text);
  if (base.ok) return base.value;
  throw new InvalidArgumentError(base.error);
}
