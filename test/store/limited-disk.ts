import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface LimitedDisk {
  readonly path: string;
  makeReadOnly(): void;
  unmount(): void;
}

/** A file system of its own with so many KiB, or null where this machine does not let us mount one. */
export function mountDisk(kib: number): LimitedDisk | null {
  const path = mkdtempSync(join(tmpdir(), 'portcullis-disk-'));
  const mount = (...args: string[]): void => {
    execFileSync('mount', args, { stdio: 'ignore' });
  };
  try {
    mount('-t', 'tmpfs', '-o', `size=${kib}k,mode=0700`, 'tmpfs', path);
  } catch {
    rmdirSync(path);
    return null;
  }
  return {
    path,
    makeReadOnly: () => mount('-o', 'remount,ro', path),
    unmount: () => {
      execFileSync('umount', [path], { stdio: 'ignore' });
      rmdirSync(path);
    },
  };
}
