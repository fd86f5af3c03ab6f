import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';

/** Attack vectors collected by others. They lie beside the checkout and not in it: a test that needs them says so when it is skipped. */
const CORPUS = resolve(import.meta.dirname, '../../../shared/corpus');

export const NO_CORPUS = `skipped where there is no ${CORPUS.split('/').slice(-2).join('/')} beside the checkout`;

export function hasCorpus(file: string): boolean {
  return existsSync(resolve(CORPUS, file));
}

/** One object a line; what its members are is the caller's claim. */
export function readCorpus<Vector>(file: string): Vector[] {
  const lines = readFileSync(resolve(CORPUS, file), 'utf8').split('\n').filter(Boolean);
  return lines.map((line): Vector => JSON.parse(line));
}
