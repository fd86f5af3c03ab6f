/*
 * Portcullis with what P1 rests on taken out, to show that the test notices: a lease that was once granted holds for ever.
 */
import { dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const program = process.env['PORTCULLIS_PROGRAM'] ?? resolve(import.meta.dirname, '../../src/main.ts');

interface LeaseModule {
  readonly Lease: { readonly prototype: { valid: () => boolean } };
}

async function load(file: string): Promise<unknown> {
  return await import(pathToFileURL(file).href);
}

const { Lease } = (await load(join(dirname(program), 'store/lease.ts'))) as LeaseModule;
Lease.prototype.valid = () => true;
const { main } = (await load(program)) as { main: (argv: readonly string[]) => Promise<number> };
process.exitCode = await main(process.argv.slice(2));
