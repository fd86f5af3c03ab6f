import { type FileHandle, open, stat } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { readLines, readLinesBackwards } from './lines.ts';

const POLL_MS = 100;

export interface TailOptions {
  readonly signal: AbortSignal;
  /** How many lines that are there already come first. Default 0. */
  readonly last?: number;
}

/**
 * The lines of a growing audit file as they are written, also after it was rotated (renamed and begun anew, or cut to
 * nothing). Waits for a file that is not there yet. Ends when the signal is given; throws other errors of the file system.
 */
export async function* tailAudit(path: string, options: TailOptions): AsyncGenerator<string> {
  const { signal, last = 0 } = options;
  let handle: FileHandle | null = await openIfThere(path);
  let position = 0;
  try {
    if (handle !== null) position = await positionOfLast(handle, last);
    while (!signal.aborted) {
      // Looked at before reading: what the old file got up to here is read before the new one.
      const rotated = handle === null || (await hasMovedOn(handle, path));
      if (handle !== null) {
        if ((await handle.stat()).size < position) position = 0;
        for await (const lines of readLines(handle, position)) {
          for (const { bytes, offset, terminated } of lines) {
            if (!terminated) continue;
            position = offset + bytes.length + 1;
            yield bytes.toString('utf8');
            if (signal.aborted) return;
          }
        }
      }
      const next: FileHandle | null = rotated ? await openIfThere(path) : null;
      if (next !== null) {
        await handle?.close();
        handle = next;
        position = 0;
      } else {
        await delay(POLL_MS, undefined, { signal }).catch(() => undefined);
      }
    }
  } finally {
    await handle?.close();
  }
}

async function openIfThere(path: string): Promise<FileHandle | null> {
  try {
    return await open(path);
  } catch (error) {
    if (isNotFound(error)) return null;
    throw error;
  }
}

/** Whether the log is written to another file now. One that is still empty does not count: the writer has yet to change over. */
async function hasMovedOn(handle: FileHandle, path: string): Promise<boolean> {
  try {
    const [ours, there] = await Promise.all([handle.stat(), stat(path)]);
    return (ours.ino !== there.ino || ours.dev !== there.dev) && there.size > 0;
  } catch (error) {
    // Renamed, and the new one not made yet.
    if (isNotFound(error)) return false;
    throw error;
  }
}

/** Where the last `count` whole lines begin. */
async function positionOfLast(handle: FileHandle, count: number): Promise<number> {
  const { size } = await handle.stat();
  let position = size;
  let found = 0;
  for await (const lines of readLinesBackwards(handle, size)) {
    for (const { offset, terminated } of lines) {
      // The beginning of a line that is being written is given when it is whole.
      if (terminated && found === count) return position;
      position = offset;
      if (terminated) found += 1;
    }
  }
  return position;
}

function isNotFound(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
