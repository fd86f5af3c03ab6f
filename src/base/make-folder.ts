import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * Makes a folder (0700) and those above it that are missing, one level at a time: node's own recursive mkdir never
 * returns where the kernel answers ENOENT for a child of an existing folder (below /proc). Throws the system's error;
 * ENOTDIR where something that is no folder stands there.
 */
export function makeFolder(path: string): void {
  const missing: string[] = [];
  for (let folder = path; !isFolder(folder); folder = dirname(folder)) missing.push(folder);
  for (const folder of missing.toReversed()) {
    try {
      mkdirSync(folder, { mode: 0o700 });
    } catch (error) {
      // Another process may have made it meanwhile.
      if (!isFolder(folder)) throw error;
    }
  }
}

function isFolder(path: string): boolean {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) return false;
  if (found.isDirectory()) return true;
  throw Object.assign(new Error(`${path} is a file, not a folder`), { code: 'ENOTDIR' });
}
