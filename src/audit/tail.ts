import { type FileHandle, open, stat } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { readLines, readLinesBackwards } from './lines.ts';
import { workerFiles } from './worker-files.ts';

const POLL_MS = 100;
/** How often it is looked for files of further workers, in polls. */
const POLLS_PER_LOOK = 10;

export interface TailOptions {
  readonly signal: AbortSignal;
  /** How many lines that are there already come first. Default 0. */
  readonly last?: number;
}

/**
 * The lines of a growing audit file as they are written, also after it was rotated (renamed and begun anew, or cut to
 * nothing), and those of further workers' files beside it, merged by time as far as they are there at the same moment. Waits
 * for a file that is not there yet. Ends when the signal is given; throws other errors of the file system.
 */
export async function* tailAudit(path: string, options: TailOptions): AsyncGenerator<string> {
  const { signal, last = 0 } = options;
  const followed = new Map<string, FollowedFile>();
  try {
    for (const file of await workerFiles(path)) followed.set(file, await FollowedFile.open(file, last));
    if (followed.size > 1 && last > 0) yield* (await lastOf(merged([...followed.values()], signal), last)).values();
    for (let poll = 1; !signal.aborted; poll += 1) {
      for await (const line of merged([...followed.values()], signal)) {
        yield line;
        if (signal.aborted) return;
      }
      let news = false;
      for (const file of followed.values()) news = (await file.changeOver()) || news;
      if (!news) await delay(POLL_MS, undefined, { signal }).catch(() => undefined);
      if (poll % POLLS_PER_LOOK === 0) {
        for (const file of await workerFiles(path)) {
          if (!followed.has(file)) followed.set(file, await FollowedFile.openFromStart(file));
        }
      }
    }
  } finally {
    for (const file of followed.values()) await file.close();
  }
}

/** One file at a path, whichever that is now. */
class FollowedFile {
  readonly #path: string;
  #handle: FileHandle | null;
  #position: number;
  #rotated = false;

  private constructor(path: string, handle: FileHandle | null, position: number) {
    this.#path = path;
    this.#handle = handle;
    this.#position = position;
  }

  /** Begins with the last lines of it. */
  static async open(path: string, last: number): Promise<FollowedFile> {
    const handle = await openIfThere(path);
    return new FollowedFile(path, handle, handle === null ? 0 : await positionOfLast(handle, last));
  }

  static async openFromStart(path: string): Promise<FollowedFile> {
    return new FollowedFile(path, await openIfThere(path), 0);
  }

  /** What is there now. */
  async *lines(): AsyncGenerator<string> {
    const handle = this.#handle;
    // Looked at before reading: what the old file got up to here is read before the new one.
    this.#rotated = handle === null || (await hasMovedOn(handle, this.#path));
    if (handle === null) return;
    if ((await handle.stat()).size < this.#position) this.#position = 0;
    for await (const lines of readLines(handle, this.#position)) {
      for (const { bytes, offset, terminated } of lines) {
        if (!terminated) continue;
        this.#position = offset + bytes.length + 1;
        yield bytes.toString('utf8');
      }
    }
  }

  /** True where the next file has been begun, and may be read at once. */
  async changeOver(): Promise<boolean> {
    const next = this.#rotated ? await openIfThere(this.#path) : null;
    if (next === null) return false;
    await this.#handle?.close();
    this.#handle = next;
    this.#position = 0;
    this.#rotated = false;
    return true;
  }

  async close(): Promise<void> {
    await this.#handle?.close();
  }
}

/** The lines that are there, each file's in its order, the oldest first. */
async function* merged(files: readonly FollowedFile[], signal: AbortSignal): AsyncGenerator<string> {
  const heads: { readonly lines: AsyncGenerator<string>; line: string; time: string }[] = [];
  try {
    for (const file of files) {
      const lines = file.lines();
      const { value, done } = await lines.next();
      if (done !== true) heads.push({ lines, line: value, time: timeOf(value) });
    }
    while (heads.length > 0 && !signal.aborted) {
      const oldest = heads.reduce((first, head) => (head.time < first.time ? head : first));
      yield oldest.line;
      const { value, done } = await oldest.lines.next();
      if (done === true) heads.splice(heads.indexOf(oldest), 1);
      else Object.assign(oldest, { line: value, time: timeOf(value) });
    }
  } finally {
    for (const { lines } of heads) await lines.return(undefined);
  }
}

/** Times of the trail are RFC 3339 in UTC with milliseconds, so they sort as texts. */
function timeOf(line: string): string {
  return /"time":"([^"]*)"/.exec(line)?.[1] ?? '';
}

async function lastOf(lines: AsyncGenerator<string>, count: number): Promise<string[]> {
  const last: string[] = [];
  for await (const line of lines) {
    last.push(line);
    if (last.length >= 2 * count) last.splice(0, last.length - count);
  }
  return last.slice(-count);
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
