import type { FileHandle } from 'node:fs/promises';
import { LIMITS } from '../base/limits.ts';

const BLOCK_BYTES = 256 * 1024;
const NEWLINE = 0x0a;
const NOTHING = Buffer.alloc(0);

export interface FileLine {
  /** Without the line end. Of a line over LIMITS.auditLineBytes only the beginning. */
  readonly bytes: Buffer;
  /** Where the line starts in the file. */
  readonly offset: number;
  /** False for a last line that has no line end. */
  readonly terminated: boolean;
}

/**
 * The lines from `start` to the end of the file, in batches, in bounded memory. A last line without its end is given once
 * `retryPartial` has returned and the file still has not grown: a reader may be faster than the writer.
 */
export async function* readLines(
  handle: FileHandle,
  start = 0,
  retryPartial?: () => Promise<void>,
): AsyncGenerator<FileLine[]> {
  const block = Buffer.allocUnsafe(BLOCK_BYTES);
  let carried: Buffer = NOTHING;
  let lineStart = start;
  let position = start;
  let retried = false;
  for (;;) {
    const { bytesRead } = await handle.read(block, 0, BLOCK_BYTES, position);
    if (bytesRead === 0) {
      if (position === lineStart) return;
      if (retryPartial !== undefined && !retried) {
        retried = true;
        await retryPartial();
        continue;
      }
      yield [{ bytes: carried, offset: lineStart, terminated: false }];
      return;
    }
    const lines: FileLine[] = [];
    let from = 0;
    for (let end = block.indexOf(NEWLINE); end !== -1 && end < bytesRead; end = block.indexOf(NEWLINE, from)) {
      lines.push({ bytes: extend(carried, block.subarray(from, end)), offset: lineStart, terminated: true });
      carried = NOTHING;
      from = end + 1;
      lineStart = position + from;
    }
    carried = extend(carried, block.subarray(from, bytesRead));
    position += bytesRead;
    if (lines.length > 0) yield lines;
  }
}

/**
 * The lines before `end`, the last one first, in batches, in bounded memory. `end` is the end of a line or of the file; bytes after the
 * last line end come first, as a line that is not terminated.
 */
export async function* readLinesBackwards(handle: FileHandle, end: number): AsyncGenerator<FileLine[]> {
  let carried: Buffer = NOTHING;
  let carriedTerminated = false;
  let first = true;
  for (let position = end; position > 0; ) {
    const length = Math.min(BLOCK_BYTES, position);
    position -= length;
    const block = await readFully(handle, position, length);
    const lines: FileLine[] = [];
    let to = length;
    if (first && block[length - 1] === NEWLINE) {
      to = length - 1;
      carriedTerminated = true;
    }
    first = false;
    for (let at = lastNewline(block, to); at !== -1; at = lastNewline(block, to)) {
      const bytes = prepend(block.subarray(at + 1, to), carried);
      if (bytes.length > 0 || carriedTerminated) {
        lines.push({ bytes, offset: position + at + 1, terminated: carriedTerminated });
      }
      carried = NOTHING;
      carriedTerminated = true;
      to = at;
    }
    carried = prepend(block.subarray(0, to), carried);
    if (lines.length > 0) yield lines;
  }
  if (!first && (carried.length > 0 || carriedTerminated)) {
    yield [{ bytes: carried, offset: 0, terminated: carriedTerminated }];
  }
}

function lastNewline(block: Buffer, before: number): number {
  return before === 0 ? -1 : block.lastIndexOf(NEWLINE, before - 1);
}

/** A copy: `more` is part of a block that is read into again. */
function extend(line: Buffer, more: Buffer): Buffer {
  if (line.length >= LIMITS.auditLineBytes) return line;
  return Buffer.concat([line, more.subarray(0, LIMITS.auditLineBytes - line.length)]);
}

function prepend(more: Buffer, line: Buffer): Buffer {
  if (line.length === 0) return Buffer.from(more.subarray(0, LIMITS.auditLineBytes));
  return Buffer.concat([more, line]).subarray(0, LIMITS.auditLineBytes);
}

async function readFully(handle: FileHandle, position: number, length: number): Promise<Buffer> {
  const block = Buffer.allocUnsafe(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await handle.read(block, filled, length - filled, position + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return block.subarray(0, filled);
}
