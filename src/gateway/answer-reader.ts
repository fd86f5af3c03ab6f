import { LIMITS } from '../base/limits.ts';
import { type AnswerFraming, type AnswerHead, AnswerHeads, AnswerMemo } from './answer-heads.ts';
import { splitFields } from './message-text.ts';
import { UpstreamInvalid } from './upstream-failure.ts';

/** What hears of an answer while it is read. */
export interface AnswerSink {
  /** Interim answers too. */
  onHead(head: AnswerHead): void;
  /** A part of the body. The bytes are valid during the call only. */
  onBody(part: Buffer): void;
  /** All of the body, which came together with its head; latin1. */
  onWholeBody(body: string): void;
  /** The answer is complete. `trailers`: name and value in turn, as the fields of a head. */
  onEnd(trailers: readonly string[]): void;
}

/** The largest header section of an answer that is read, bytes; more is `upstream_invalid`. */
const MAX_HEAD_BYTES = 64 * 1024;

/** Longest chunk-size line with its extensions, bytes (RFC 9112 §7.1.1). */
const MAX_SIZE_LINE_BYTES = 4 * 1024;

/**
 * RFC 9112 §4 and §5, whole and at once: CRLF only, no folded lines, no white space before a colon, no control
 * characters. The classes of neighbours have no character in common, so there is nothing to go back for.
 */
const STATUS_LINE = /^HTTP\/1\.([01]) ([1-9]\d\d)(?: ([\t\x20-\x7e\x80-\xff]*))?\r\n/;
const FIELDS = /^(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n)*$/;
const STATUS_LINE_BYTES_TRIED = 9;
const CR = 0x0d;
const LF = 0x0a;

const State = {
  head: 0,
  /** So many bytes are left. */
  length: 1,
  chunkSize: 2,
  chunkData: 3,
  /** The CRLF after a chunk's data. */
  chunkEnd: 4,
  trailers: 5,
  /** Until the connection ends. */
  close: 6,
  /** No answer is expected. */
  idle: 7,
} as const;
type State = (typeof State)[keyof typeof State];

/**
 * Reads the answers of one HTTP/1.1 connection (RFC 9112), one request at a time, from pieces of any size. Strict: what
 * has two readings has none (`UpstreamInvalid`), and the connection with it.
 */
export class AnswerReader {
  readonly #heads: AnswerHeads;
  #state: State = State.idle;
  #sink: AnswerSink | null = null;
  #headOnly = false;
  /** What came of a line or a head that is not complete; latin1. */
  #pending = '';
  #remaining = 0;
  #keepAlive = false;
  #idleMs: number | null = null;

  constructor(heads: AnswerHeads = new AnswerHeads()) {
    this.#heads = heads;
  }

  /** An answer is expected. `headOnly`: to HEAD, which has no body (RFC 9110 §9.3.2). */
  expect(sink: AnswerSink, headOnly: boolean): void {
    this.#sink = sink;
    this.#headOnly = headOnly;
    this.#state = State.head;
    this.#pending = '';
    this.#keepAlive = false;
    this.#idleMs = null;
  }

  /** Nothing more is told of the answer that was expected. */
  stop(): void {
    this.#sink = null;
    this.#state = State.idle;
    this.#keepAlive = false;
  }

  /** After a complete answer: whether the connection may carry another request (RFC 9112 §9.3). */
  get keepAlive(): boolean {
    return this.#keepAlive;
  }

  /** How long the upstream says that it keeps the connection; null where it does not say. */
  get idleMs(): number | null {
    return this.#idleMs;
  }

  /** Takes what has arrived. Throws UpstreamInvalid; nothing more can be read then. */
  read(bytes: Buffer): void {
    let position = 0;
    while (position < bytes.length) {
      switch (this.#state) {
        case State.head:
          position = this.#readHead(bytes, position);
          break;
        case State.length:
        case State.chunkData:
          position = this.#readCounted(bytes, position);
          break;
        case State.close:
          this.#sink?.onBody(bytes.subarray(position));
          return;
        case State.chunkSize:
          position = this.#readSize(bytes, position);
          break;
        case State.chunkEnd:
          position = this.#readChunkEnd(bytes, position);
          break;
        case State.trailers:
          position = this.#readTrailers(bytes, position);
          break;
        default:
          // An answer to nothing: whatever it is, no request asked for it.
          this.#keepAlive = false;
          throw new UpstreamInvalid('more than the answer');
      }
    }
  }

  /** The connection has ended. True when that is where the answer ends. */
  end(): boolean {
    if (this.#state !== State.close) return false;
    this.#finish([]);
    return true;
  }

  #readHead(bytes: Buffer, position: number): number {
    const before = this.#pending.length;
    const text = this.#pending + bytes.toString('latin1', position, Math.min(bytes.length, position + MAX_HEAD_BYTES));
    // The end may have come in two pieces.
    const end = text.indexOf('\r\n\r\n', Math.max(0, before - 3));
    if (end < 0) {
      if (text.length >= MAX_HEAD_BYTES) throw new UpstreamInvalid('a header section that is too long');
      if (text.length >= STATUS_LINE_BYTES_TRIED && !text.startsWith('HTTP/1.')) {
        throw new UpstreamInvalid('something that is not HTTP/1.1');
      }
      if (hasBareLf(text, before)) throw new UpstreamInvalid('lines that end with a bare LF');
      this.#pending = text;
      return bytes.length;
    }
    if (end > MAX_HEAD_BYTES) throw new UpstreamInvalid('a header section that is too long');
    this.#pending = '';
    this.#interpret(text.slice(0, end + 2));
    return this.#readWhole(text, end + 4) + position - before;
  }

  /** Where the body came with its head, and all of it: both are one text already. Returns where in the text it ends. */
  #readWhole(text: string, start: number): number {
    const end = start + this.#remaining;
    if (this.#state !== State.length || this.#remaining === 0 || end > text.length) return start;
    this.#remaining = 0;
    this.#sink?.onWholeBody(text.slice(start, end));
    if (this.#state === State.length) this.#finish([]);
    return end;
  }

  #interpret(text: string): void {
    const head = this.#heads.get(text, readAnswerHead);
    const { status, framing } = head;
    if (framing === null) {
      // RFC 9110 §15.2: followed by the final answer. 101 is only given to those who ask for it.
      this.#sink?.onHead(head);
      return;
    }
    // RFC 9112 §6.1: a 204 has neither; one with a body in spite of it would put that in front of the next answer.
    this.#keepAlive = framing.keepAlive && !(status === 204 && (framing.chunked || framing.length > 0));
    this.#idleMs = framing.idleMs;
    if (this.#headOnly || status === 204 || status === 304) this.#remaining = 0;
    else if (framing.chunked) this.#remaining = -1;
    else if (framing.length >= 0) this.#remaining = framing.length;
    else this.#remaining = Number.POSITIVE_INFINITY;
    // Set before the sink is told: it may stop the reading.
    if (this.#remaining === Number.POSITIVE_INFINITY) {
      this.#state = State.close;
      this.#keepAlive = false;
    } else this.#state = this.#remaining < 0 ? State.chunkSize : State.length;
    this.#sink?.onHead(head);
    if (this.#state === State.length && this.#remaining === 0) this.#finish([]);
  }

  #readCounted(bytes: Buffer, position: number): number {
    const end = Math.min(bytes.length, position + this.#remaining);
    this.#remaining -= end - position;
    const counted = this.#state === State.length;
    this.#sink?.onBody(position === 0 && end === bytes.length ? bytes : bytes.subarray(position, end));
    if (this.#remaining === 0 && this.#state !== State.idle) {
      if (counted) this.#finish([]);
      else this.#state = State.chunkEnd;
    }
    return end;
  }

  #readSize(bytes: Buffer, position: number): number {
    const feed = bytes.indexOf(LF, position);
    const end = feed < 0 ? bytes.length : feed + 1;
    const line = this.#pending + bytes.toString('latin1', position, end);
    if (line.length > MAX_SIZE_LINE_BYTES) throw new UpstreamInvalid('a chunk size that is too long');
    if (feed < 0) {
      this.#pending = line;
      return end;
    }
    this.#pending = '';
    const size = chunkSize(line);
    if (size < 0) throw new UpstreamInvalid('a chunk size that is not valid');
    this.#remaining = size;
    this.#state = size === 0 ? State.trailers : State.chunkData;
    return end;
  }

  #readChunkEnd(bytes: Buffer, position: number): number {
    const expected = this.#pending === '' ? CR : LF;
    if (bytes[position] !== expected) throw new UpstreamInvalid('a chunk that is longer than its size');
    if (expected === CR) this.#pending = '\r';
    else {
      this.#pending = '';
      this.#state = State.chunkSize;
    }
    return position + 1;
  }

  #readTrailers(bytes: Buffer, position: number): number {
    const before = this.#pending.length;
    const text = this.#pending + bytes.toString('latin1', position, Math.min(bytes.length, position + MAX_HEAD_BYTES));
    const none = text.startsWith('\r\n');
    const end = none ? -2 : text.indexOf('\r\n\r\n', Math.max(0, before - 3));
    if (end === -1) {
      if (hasBareLf(text, before)) throw new UpstreamInvalid('lines that end with a bare LF');
      if (text.length > LIMITS.trailerBytes) throw new UpstreamInvalid('a trailer section that is too long');
      this.#pending = text;
      return bytes.length;
    }
    if (end > LIMITS.trailerBytes) throw new UpstreamInvalid('a trailer section that is too long');
    this.#pending = '';
    this.#finish(none ? [] : readFields(text.slice(0, end + 2), 0));
    return position + end + 4 - before;
  }

  #finish(trailers: readonly string[]): void {
    const sink = this.#sink;
    this.#sink = null;
    this.#state = State.idle;
    sink?.onEnd(trailers);
  }
}

/**
 * Such a head would never be found complete. Looks at what is new, `from` on, only: of a head that comes byte by byte
 * all the rest has been looked at.
 */
function hasBareLf(text: string, from: number): boolean {
  for (let at = text.indexOf('\n', from); at >= 0; at = text.indexOf('\n', at + 1)) {
    if (text[at - 1] !== '\r') return true;
  }
  return false;
}

/** Name and value in turn, from `start` on. Throws where the section is not what RFC 9112 §5 allows. */
function readFields(head: string, start: number): string[] {
  if (!FIELDS.test(start === 0 ? head : head.slice(start)))
    throw new UpstreamInvalid('header fields that are not valid');
  return splitFields(head, start);
}

/** Throws UpstreamInvalid where it is none, or has two readings. */
function readAnswerHead(text: string): AnswerHead {
  const line = STATUS_LINE.exec(text);
  if (line === null) throw new UpstreamInvalid('a status line that is not valid');
  const status = Number(line[2]);
  const reasonPhrase = line[3] ?? '';
  const fields = readFields(text, line[0].length);
  if (status < 200) return { status, reasonPhrase, fields, framing: null, memo: null };
  return { status, reasonPhrase, fields, framing: framingOf(fields, line[1] === '1'), memo: new AnswerMemo() };
}

/** How the body is delimited (RFC 9112 §6.3) and what becomes of the connection (§9.3). Throws on a second reading. */
function framingOf(fields: readonly string[], version11: boolean): AnswerFraming {
  let chunked = false;
  let length = -1;
  let keepAlive = version11;
  let idleMs: number | null = null;
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i] ?? '';
    // The four that matter are told apart by their lengths first: this is done for every field of every answer.
    if (name.length !== 10 && name.length !== 14 && name.length !== 17) continue;
    const value = fields[i + 1] ?? '';
    switch (name.toLowerCase()) {
      case 'content-length':
        if (length >= 0 || !/^\d{1,15}$/.test(value)) throw new UpstreamInvalid('a Content-Length that is not valid');
        length = Number(value);
        break;
      case 'transfer-encoding':
        // RFC 9112 §6.1: no other coding was asked for, and none is known to a recipient of HTTP/1.0.
        if (chunked || !version11 || value.toLowerCase() !== 'chunked') {
          throw new UpstreamInvalid('a transfer coding other than chunked');
        }
        chunked = true;
        break;
      case 'connection':
        if (/\bclose\b/i.test(value)) keepAlive = false;
        break;
      case 'keep-alive': {
        const seconds = /\btimeout\s*=\s*(\d{1,9})\b/i.exec(value)?.[1];
        if (seconds !== undefined) idleMs = Number(seconds) * 1000;
        break;
      }
      default:
        break;
    }
  }
  if (chunked && length >= 0) throw new UpstreamInvalid('both Content-Length and Transfer-Encoding');
  return { chunked, length, keepAlive, idleMs };
}

/** The size of a chunk-size line with its CRLF (RFC 9112 §7.1), or -1. Extensions mean nothing here (§7.1.1). */
function chunkSize(line: string): number {
  const match = /^([0-9A-Fa-f]{1,13})(?:[\t ]*;[\t\x20-\x7e\x80-\xff]*)?\r\n$/.exec(line);
  return match === null ? -1 : Number.parseInt(match[1] ?? '', 16);
}
