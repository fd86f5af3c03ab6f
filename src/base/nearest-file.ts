import { readdir } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { didYouMean } from './nearest.ts';

/** `; did you mean "x"?` for a path that is not there: the nearest name in its folder, or that the folder itself is not there. */
export async function missingFileHint(path: string): Promise<string> {
  const folder = dirname(path);
  try {
    return didYouMean(basename(path), await readdir(folder));
  } catch {
    return `; there is no folder ${JSON.stringify(folder)} either`;
  }
}
