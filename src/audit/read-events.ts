import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { LIMITS } from '../base/limits.ts';
import { type AuditEvent, isAuditEvent } from './event.ts';

const BLOCK_BYTES = 256 * 1024;
const NEWLINE = 0x0a;
const CLOSING_BRACE = 0x7d;

/** What reading has come across so far. */
export interface ReadProgress {
  /** Lines that are not empty. */
  lines: number;
  /** Lines that are no audit events, a last one that breaks off among them. */
  malformed: number;
  /** Of the file as it is stored, compressed or not. */
  bytes: number;
}

/**
 * The events of an audit file in the order of its lines, a block at a time, in bounded memory; `.gz` and `.zst` files are
 * unpacked on the way. The hash chain is not looked at: that is the verifier's work. Rejects when the file cannot be read.
 */
export async function* readAuditFile(
  file: string,
  progress: ReadProgress,
  needle: string,
): AsyncGenerator<AuditEvent[]> {
  const stored = createReadStream(file, { highWaterMark: BLOCK_BYTES });
  const before = progress.bytes;
  const unpack = file.endsWith('.gz') ? createGunzip() : file.endsWith('.zst') ? createZstdDecompress() : null;
  // Whatever fails on the way ends the last stream with it, which is the one that is read.
  const stream = unpack === null ? stored : pipeline(stored, unpack, () => undefined);
  for await (const events of readAuditStream(stream, progress, needle)) {
    progress.bytes = before + stored.bytesRead;
    yield events;
  }
  progress.bytes = before + stored.bytesRead;
}

/** The same from a stream. Lines without `needle`, looked for before they are parsed, count and are passed over. */
export async function* readAuditStream(
  stream: AsyncIterable<unknown>,
  progress: ReadProgress,
  needle: string,
): AsyncGenerator<AuditEvent[]> {
  const wanted = Buffer.from(needle);
  let carried: Buffer[] = [];
  let carriedBytes = 0;
  const take = (piece: Buffer, events: AuditEvent[]): void => {
    // Of a line that is longer than any only the beginning is kept across blocks.
    const line = carried.length === 0 ? piece : Buffer.concat([...carried, piece]);
    carried = [];
    carriedBytes = 0;
    if (line.length === 0) return;
    progress.lines += 1;
    if (line.length > LIMITS.auditLineBytes) {
      progress.malformed += 1;
      return;
    }
    if (!line.includes(wanted)) {
      if (!line.includes('"seq":') || line.at(-1) !== CLOSING_BRACE) progress.malformed += 1;
      return;
    }
    const event = parse(line);
    if (event === null) progress.malformed += 1;
    else events.push(event);
  };
  for await (const chunk of stream) {
    const block = Buffer.isBuffer(chunk) ? chunk : Buffer.from(String(chunk));
    const events: AuditEvent[] = [];
    let from = 0;
    for (let end = block.indexOf(NEWLINE); end !== -1; end = block.indexOf(NEWLINE, from)) {
      take(block.subarray(from, end), events);
      from = end + 1;
    }
    if (from < block.length && carriedBytes < LIMITS.auditLineBytes) {
      const rest = block.subarray(from, from + LIMITS.auditLineBytes - carriedBytes);
      carried.push(rest);
      carriedBytes += rest.length;
    }
    if (events.length > 0) yield events;
  }
  const last: AuditEvent[] = [];
  take(Buffer.alloc(0), last);
  if (last.length > 0) yield last;
}

function parse(line: Buffer): AuditEvent | null {
  try {
    const value: unknown = JSON.parse(line.toString('utf8'));
    return isAuditEvent(value) ? value : null;
  } catch {
    return null;
  }
}
