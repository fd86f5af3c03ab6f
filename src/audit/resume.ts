import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { LIMITS } from '../base/limits.ts';
import { type ChainHead, readSealedLine } from './chain.ts';
import { readLines, readLinesBackwards } from './lines.ts';

/** How far back a usable line is looked for in a file with a damaged end. */
const SEARCH_BYTES = 16 * LIMITS.auditLineBytes;

/** Bytes of a line that was cut off by a crash: they stay where they are, and `chain.start` says what they were. */
export interface TornLine {
  readonly bytes: number;
  /** Hex. */
  readonly sha256: string;
}

/** What the end of an audit file says to whoever continues it. */
export interface FileEnd {
  /** The last line that is whole; null in an empty file, or when none was found. */
  readonly head: ChainHead | null;
  /** The file's last byte is no line end: one has to be written first. */
  readonly unterminated: boolean;
  readonly torn: TornLine | null;
  /** Lines after `head` that are whole but not as they were written. */
  readonly unreadableLines: number;
}

/** Reads the end of a file of `size` bytes, backwards, so that the size of the file does not matter. */
export async function readFileEnd(handle: FileHandle, size: number): Promise<FileEnd> {
  let torn: TornLine | null = null;
  let unterminated = false;
  let unreadableLines = 0;
  for await (const lines of readLinesBackwards(handle, size)) {
    for (const line of lines) {
      if (!line.terminated) unterminated = true;
      const sealed = readSealedLine(line.bytes);
      if (sealed !== null && sealed.hash === sealed.computedHash) {
        return { head: { seq: sealed.event.seq, hash: sealed.hash }, unterminated, torn, unreadableLines };
      }
      if (line.terminated) unreadableLines += 1;
      else torn = await describeTorn(handle, line.offset, size);
      if (size - line.offset > SEARCH_BYTES) return { head: null, unterminated, torn, unreadableLines };
    }
  }
  return { head: null, unterminated, torn, unreadableLines };
}

async function describeTorn(handle: FileHandle, from: number, size: number): Promise<TornLine> {
  const digest = createHash('sha256');
  const block = Buffer.allocUnsafe(64 * 1024);
  let position = from;
  while (position < size) {
    const { bytesRead } = await handle.read(block, 0, Math.min(block.length, size - position), position);
    if (bytesRead === 0) break;
    digest.update(block.subarray(0, bytesRead));
    position += bytesRead;
  }
  return { bytes: position - from, sha256: digest.digest('hex') };
}

/** The id of the chain that a file belongs to, from its first line; null where that is no `chain.start`. */
export async function readChainId(handle: FileHandle): Promise<string | null> {
  for await (const lines of readLines(handle)) {
    const first = lines[0];
    const sealed = first === undefined ? null : readSealedLine(first.bytes);
    const chain = sealed?.event.type === 'chain.start' ? sealed.event.details?.['chain'] : undefined;
    return typeof chain === 'string' ? chain : null;
  }
  return null;
}
