import { hash } from 'node:crypto';
import { type AuditEvent, isAuditEvent } from './event.ts';

/**
 * The hash chain of the audit trail (contract: `hash` = SHA-256 over `prev` and the canonical event).
 *
 * To check a line with tools of your own:
 *
 * 1. Parse the line; take its members `prev` and `hash` out of the object.
 * 2. Write what is left in canonical JSON (RFC 8785): members sorted, no white space.
 * 3. `hash` must be the lower-case hex SHA-256 of the 64 characters of `prev` followed, without anything between, by that
 *    canonical JSON in UTF-8.
 * 4. `prev` must be the `hash` of the line before, and `seq` one more than its `seq`. The first event of a chain has `seq` 1
 *    and a `prev` of 64 zeros. The first line of a later file takes up the last of the file before.
 *
 * A line is written as the canonical JSON itself with `prev` and `hash` put at its end, so that steps 1 and 2 come to:
 * cut off everything from `,"prev":"` (the last 149 bytes) and put a `}` there.
 */
export const GENESIS_HASH = '0'.repeat(64);

/** The last link of a chain: what the next event continues. */
export interface ChainHead {
  readonly seq: number;
  readonly hash: string;
}

export const GENESIS: ChainHead = { seq: 0, hash: GENESIS_HASH };

const TAIL = /^,"prev":"([0-9a-f]{64})","hash":"([0-9a-f]{64})"\}$/;
const TAIL_BYTES = 149;
const CLOSING_BRACE = Buffer.from('}');

export function eventHash(prev: string, canonicalEvent: string | Uint8Array): string {
  if (typeof canonicalEvent === 'string') return hash('sha256', prev + canonicalEvent, 'hex');
  return hash('sha256', Buffer.concat([Buffer.from(prev, 'latin1'), canonicalEvent]), 'hex');
}

/** The line for an event that follows `prev`, without its line end. */
export function sealLine(prev: string, canonicalEvent: string): { readonly line: string; readonly hash: string } {
  const sealed = eventHash(prev, canonicalEvent);
  return { line: `${canonicalEvent.slice(0, -1)},"prev":"${prev}","hash":"${sealed}"}`, hash: sealed };
}

/** Bytes of a batch that are made room for at first. */
const FIRST_BYTES = 64 * 1024;
/** From here on memory is not kept for the next batch. */
const KEPT_BYTES = 1024 * 1024;
const PREV_BYTES = 64;

/** Puts the lines of one batch after the other into memory that is used again: what `take` gives holds until `begin`. */
export class BatchSealer {
  #bytes = Buffer.allocUnsafeSlow(FIRST_BYTES);
  /** `prev` and the canonical event, of which the hash is taken. */
  #hashed = Buffer.allocUnsafeSlow(FIRST_BYTES);
  #length = 0;

  begin(): void {
    this.#length = 0;
    if (this.#bytes.length > KEPT_BYTES) this.#bytes = Buffer.allocUnsafeSlow(FIRST_BYTES);
    if (this.#hashed.length > KEPT_BYTES) this.#hashed = Buffer.allocUnsafeSlow(FIRST_BYTES);
  }

  /** The line that `sealLine` makes, with its line end. Returns its hash. */
  add(prev: string, canonicalEvent: string): string {
    // A UTF-16 code unit takes at most three bytes of UTF-8.
    const most = canonicalEvent.length * 3;
    if (this.#hashed.length < PREV_BYTES + most) this.#hashed = Buffer.allocUnsafeSlow(PREV_BYTES + most);
    const needed = this.#length + most + TAIL_BYTES + 1;
    if (this.#bytes.length < needed) {
      const more = Buffer.allocUnsafeSlow(Math.max(needed, this.#bytes.length * 2));
      more.set(this.#bytes.subarray(0, this.#length));
      this.#bytes = more;
    }
    this.#hashed.write(prev, 0, 'latin1');
    const end = PREV_BYTES + this.#hashed.write(canonicalEvent, PREV_BYTES, 'utf8');
    const sealed = hash('sha256', this.#hashed.subarray(0, end), 'hex');
    this.#bytes.set(this.#hashed.subarray(PREV_BYTES, end - 1), this.#length);
    this.#length += end - 1 - PREV_BYTES;
    this.#length += this.#bytes.write(`,"prev":"${prev}","hash":"${sealed}"}\n`, this.#length, 'latin1');
    return sealed;
  }

  take(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }
}

/** A line of the right form. Whether it is the line that was written, `computedHash === hash` says. */
export interface SealedLine {
  readonly prev: string;
  readonly hash: string;
  /** What `hash` should be, over the bytes as they stand. */
  readonly computedHash: string;
  readonly event: AuditEvent;
}

/** Null for a line that is not of the form that `sealLine` writes: byte for byte, so that no edit hides in white space. */
export function readSealedLine(line: Buffer): SealedLine | null {
  const tail = TAIL.exec(line.toString('latin1', Math.max(0, line.length - TAIL_BYTES)));
  const prev = tail?.[1];
  const stored = tail?.[2];
  if (prev === undefined || stored === undefined) return null;
  let event: unknown;
  try {
    event = JSON.parse(line.toString('utf8'));
  } catch {
    return null;
  }
  if (!isAuditEvent(event)) return null;
  const canonical = Buffer.concat([line.subarray(0, line.length - TAIL_BYTES), CLOSING_BRACE]);
  return { prev, hash: stored, computedHash: eventHash(prev, canonical), event };
}
