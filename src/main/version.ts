import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';

/** The package's folder, from the sources as from the built files. */
export function packageFolder(): string {
  return resolve(import.meta.dirname, '../..');
}

export function packageVersion(): string {
  const parsed: unknown = JSON.parse(readFileSync(resolve(packageFolder(), 'package.json'), 'utf8'));
  return typeof parsed === 'object' && parsed !== null && 'version' in parsed ? String(parsed.version) : 'unknown';
}
