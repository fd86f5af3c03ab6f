/*
 * Portcullis with what P1 rests on taken out, to show that the test notices: where the program has a lease, a lease
 * that was once granted holds for ever; where it reads the store for each request, a record is read once and then kept.
 */
import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const program = process.env['PORTCULLIS_PROGRAM'] ?? resolve(import.meta.dirname, '../../src/main.ts');
const source = dirname(program);

interface LeaseModule {
  readonly Lease: { readonly prototype: { valid: () => boolean } };
}

interface TokenKeysModule {
  readonly TokenKeys: { readonly prototype: { find: (this: object, id: string) => Promise<unknown> } };
}

async function load(file: string): Promise<unknown> {
  return await import(pathToFileURL(file).href);
}

async function takeOut(): Promise<void> {
  const lease = join(source, 'store/lease.ts');
  if (existsSync(lease)) {
    const { Lease } = (await load(lease)) as LeaseModule;
    Lease.prototype.valid = () => true;
    return;
  }
  const { TokenKeys } = (await load(join(source, 'store/redis/token-keys.ts'))) as TokenKeysModule;
  const { find } = TokenKeys.prototype;
  const kept = new Map<string, unknown>();
  TokenKeys.prototype.find = async function (id) {
    if (!kept.has(id)) kept.set(id, await find.call(this, id));
    return kept.get(id);
  };
}

await takeOut();
const { main } = (await load(program)) as { main: (argv: readonly string[]) => Promise<number> };
process.exitCode = await main(process.argv.slice(2));
