import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { makeFolder } from '../../base/make-folder.ts';
import { type ChainHead, GENESIS } from '../chain.ts';
import { type FileEnd, readChainId, readFileEnd } from '../resume.ts';
import type { Opening, Sink } from './sink.ts';

const FLAGS = constants.O_RDWR | constants.O_APPEND | constants.O_CREAT;
const LINE_END = Buffer.from('\n');

/** What was found in the file when it was opened. */
export interface FoundFile {
  readonly chain: string | null;
  readonly head: ChainHead;
  readonly empty: boolean;
}

interface OpenedFile {
  readonly handle: FileHandle;
  readonly size: number;
  readonly end: FileEnd;
}

/**
 * A file that is only ever added to, mode 0600. One process writes it: bytes that appear from elsewhere, a file cut to
 * nothing (logrotate's copytruncate) and one that was deleted are noticed before the next line, and the trail says so.
 */
export class FileSink implements Sink {
  readonly name = 'file';
  readonly durable = true;
  readonly #path: string;
  #handle: FileHandle;
  /** The end of what was acknowledged. All of ours beyond it is cut away before anything else is written. */
  #size: number;
  #leftover = 0;
  #lineEndMissing: boolean;
  #opening: Opening | null;

  private constructor(path: string, file: OpenedFile, cause: string) {
    this.#path = path;
    this.#handle = file.handle;
    this.#size = file.size;
    this.#lineEndMissing = file.end.unterminated;
    this.#opening = describe(file, cause);
  }

  /** Opens or makes the file and its directory. Rejects with the error of the file system, or when it is no regular file. */
  static async open(path: string): Promise<{ readonly sink: FileSink; readonly found: FoundFile }> {
    const file = await openFile(path);
    const chain = file.size === 0 ? null : await readChainId(file.handle);
    const found = { chain, head: file.end.head ?? GENESIS, empty: file.size === 0 };
    return { sink: new FileSink(path, file, 'started'), found };
  }

  async prepare(): Promise<Opening | null> {
    if (this.#leftover > 0) await this.#removeLeftover();
    const { size, nlink } = await this.#handle.stat();
    if (nlink === 0) await this.#changeOver('deleted');
    else if (size !== this.#size) await this.#takeUp(size);
    return this.#opening;
  }

  async append(data: Buffer, sync: boolean): Promise<void> {
    const bytes = this.#lineEndMissing ? Buffer.concat([LINE_END, data]) : data;
    try {
      while (this.#leftover < bytes.length) {
        const { bytesWritten } = await this.#handle.write(bytes, this.#leftover, bytes.length - this.#leftover, null);
        this.#leftover += bytesWritten;
      }
      if (sync) await this.#handle.datasync();
    } catch (error) {
      // Where this fails as well, `prepare` goes on trying, and nothing is written before it has succeeded.
      if (this.#leftover > 0) await this.#removeLeftover().catch(() => undefined);
      throw error;
    }
    this.#size += bytes.length;
    this.#leftover = 0;
    this.#lineEndMissing = false;
    this.#opening = null;
  }

  async reopen(): Promise<void> {
    const { ino, dev } = await this.#handle.stat();
    const there = await openFile(this.#path);
    const stat = await there.handle.stat();
    if (stat.ino === ino && stat.dev === dev) await there.handle.close();
    else await this.#adopt(there, 'reopened');
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  /** Cuts our own unacknowledged bytes away; only ours, so not when the file has grown by more than them. */
  async #removeLeftover(): Promise<void> {
    const { size } = await this.#handle.stat();
    if (size === this.#size + this.#leftover) {
      await this.#handle.truncate(this.#size);
      await this.#handle.datasync();
    }
    this.#leftover = 0;
  }

  async #changeOver(cause: string): Promise<void> {
    await this.#adopt(await openFile(this.#path), cause);
  }

  async #adopt(file: OpenedFile, cause: string): Promise<void> {
    const before = this.#handle;
    this.#handle = file.handle;
    this.#size = file.size;
    this.#leftover = 0;
    this.#lineEndMissing = file.end.unterminated;
    this.#opening = describe(file, cause);
    await before.datasync().catch(() => undefined);
    await before.close();
  }

  /** Somebody else wrote to our file or cut it: the next line says so and stands on a line of its own. */
  async #takeUp(size: number): Promise<void> {
    const end = await readFileEnd(this.#handle, size);
    const expected = this.#size;
    this.#size = size;
    this.#lineEndMissing = end.unterminated;
    this.#opening = {
      ...describe({ size, end }, size === 0 ? 'truncated' : 'changed'),
      expected_bytes: expected,
      found_bytes: size,
    };
  }
}

function describe(file: Pick<OpenedFile, 'size' | 'end'>, cause: string): Opening {
  const { torn, unreadableLines } = file.end;
  return {
    cause,
    file: file.size === 0 ? 'new' : 'continued',
    ...(torn === null ? {} : { torn: { bytes: torn.bytes, sha256: torn.sha256 } }),
    ...(unreadableLines === 0 ? {} : { unreadable_lines: unreadableLines }),
  };
}

async function openFile(path: string): Promise<OpenedFile> {
  makeFolder(dirname(path));
  // Without O_NONBLOCK, opening a pipe that nobody reads would hang here.
  const handle = await open(path, FLAGS | constants.O_NONBLOCK, 0o600);
  try {
    const stat = await handle.stat();
    if (!stat.isFile()) throw new Error(`${path} is not a regular file`);
    if (stat.size === 0) await syncDirectory(path);
    return { handle, size: stat.size, end: await readFileEnd(handle, stat.size) };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** So that a new file's name survives a crash of the machine, and not only its content. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(dirname(path), constants.O_RDONLY);
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
