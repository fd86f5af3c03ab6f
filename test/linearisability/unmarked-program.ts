/*
 * Portcullis with what P1 rests on for tokens of others taken out, to show that the test notices: a replica reports that it has
 * applied a revocation mark, and has not loaded it.
 */
import { dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const program = process.env['PORTCULLIS_PROGRAM'] ?? resolve(import.meta.dirname, '../../src/main.ts');

interface MarksModule {
  readonly KnownMarks: { readonly prototype: { load: () => Promise<void> } };
}

async function load(file: string): Promise<unknown> {
  return await import(pathToFileURL(file).href);
}

const { KnownMarks } = (await load(join(dirname(program), 'store/known-marks.ts'))) as MarksModule;
KnownMarks.prototype.load = async () => undefined;
const { main } = (await load(program)) as { main: (argv: readonly string[]) => Promise<number> };
process.exitCode = await main(process.argv.slice(2));
