import { type FileHandle, open } from 'node:fs/promises';
import { LIMITS } from '../base/limits.ts';
import { type AuditEvent, isAuditEvent } from './event.ts';
import { readLinesBackwards } from './lines.ts';

export type AuditDecision = 'allow' | 'deny' | 'would_deny';

/** Every member that is set has to agree. Times are milliseconds since the epoch. */
export interface AuditFilter {
  /** Public id. */
  readonly token?: string;
  /** Inclusive. */
  readonly since?: number;
  /** Exclusive. */
  readonly until?: number;
  /** A type, or a group of them by what stands before the dot: `token` for `token.issued` and its like. */
  readonly type?: string;
  /** Of the `access.` events. */
  readonly decision?: AuditDecision;
  /** Events of one page; at most LIMITS.pageSize, by default 100. */
  readonly limit?: number;
  /** From the page before. */
  readonly cursor?: string | null;
}

export interface AuditPage {
  /** Newest first. */
  readonly events: readonly AuditEvent[];
  /**
   * Where the next page goes on; null when everything has been looked at. A page may hold fewer events than asked for, even none,
   * and have a cursor: the work for one page is bounded, too.
   */
  readonly cursor: string | null;
}

/** The cursor is not one that a query gave out, or its file is gone. */
export class InvalidAuditCursor extends Error {
  constructor() {
    super('the cursor is not one that this query gave out, or the file it points into is gone');
    this.name = 'InvalidAuditCursor';
  }
}

const DEFAULT_LIMIT = 100;
/** Bytes of audit files that one page looks through. */
const BYTES_PER_PAGE = 64 * 1024 * 1024;

const TYPE_OF_DECISION: Readonly<Record<AuditDecision, string>> = {
  allow: 'access.allowed',
  deny: 'access.denied',
  would_deny: 'access.would_deny',
};

/**
 * Looks through audit files, given oldest first, from the newest event back. Lines that are no events are passed over: finding
 * those is the verifier's work. A file that is not there has no events. Rejects with InvalidAuditCursor.
 */
export async function queryAudit(files: readonly string[], filter: AuditFilter): Promise<AuditPage> {
  const opened = await openNewestFirst(files);
  try {
    const from = filter.cursor === undefined || filter.cursor === null ? null : readCursor(filter.cursor);
    const start = from === null ? 0 : opened.findIndex(({ id }) => id === from.file);
    if (start === -1) throw new InvalidAuditCursor();
    return await new Search(filter).run(opened.slice(start), from?.offset ?? null);
  } finally {
    for (const { handle } of opened) await handle.close();
  }
}

interface OpenFile {
  readonly handle: FileHandle;
  readonly size: number;
  /** Device and inode: they stay when the file is renamed. */
  readonly id: string;
}

async function openNewestFirst(files: readonly string[]): Promise<OpenFile[]> {
  const opened: OpenFile[] = [];
  for (const file of files.toReversed()) {
    const handle = await open(file).catch((error: unknown) => {
      if (isNotFound(error)) return null;
      throw error;
    });
    if (handle === null) continue;
    const { size, dev, ino } = await handle.stat({ bigint: true });
    opened.push({ handle, size: Number(size), id: `${dev}:${ino}` });
  }
  return opened;
}

function isNotFound(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

class Search {
  readonly #filter: AuditFilter;
  readonly #limit: number;
  /** Bytes that a line must contain; cheaper to look for than to parse. */
  readonly #needle: Buffer | null;
  readonly #events: AuditEvent[] = [];
  #bytes = 0;

  constructor(filter: AuditFilter) {
    this.#filter = filter;
    this.#limit = Math.max(1, Math.min(filter.limit ?? DEFAULT_LIMIT, LIMITS.pageSize));
    this.#needle = filter.token === undefined ? null : Buffer.from(JSON.stringify(filter.token));
  }

  async run(files: readonly OpenFile[], offset: number | null): Promise<AuditPage> {
    let end = offset;
    for (const file of files) {
      for await (const lines of readLinesBackwards(file.handle, Math.min(end ?? file.size, file.size))) {
        for (const line of lines) {
          this.#bytes += line.bytes.length;
          if (this.#isOlderThanAsked(line.bytes)) return { events: this.#events, cursor: null };
          const event = this.#match(line.bytes);
          if (event !== null) this.#events.push(event);
          if (this.#events.length >= this.#limit || this.#bytes >= BYTES_PER_PAGE) {
            return { events: this.#events, cursor: writeCursor(file.id, line.offset) };
          }
        }
      }
      end = null;
    }
    return { events: this.#events, cursor: null };
  }

  /**
   * An event may carry a time earlier than its place, never a later one. Lines of the chain itself have the time of their place: what
   * stands before one from before `since` is older still.
   */
  #isOlderThanAsked(bytes: Buffer): boolean {
    const { since } = this.#filter;
    if (since === undefined || !bytes.includes('"type":"chain.')) return false;
    const event = parse(bytes);
    if (event === null || !event.type.startsWith('chain.')) return false;
    return Date.parse(event.time) < since;
  }

  #match(bytes: Buffer): AuditEvent | null {
    if (this.#needle !== null && !bytes.includes(this.#needle)) return null;
    const event = parse(bytes);
    return event !== null && this.#agrees(event) ? event : null;
  }

  #agrees(event: AuditEvent): boolean {
    const { token, since, until, type, decision } = this.#filter;
    if (token !== undefined && event.token_id !== token) return false;
    if (type !== undefined && event.type !== type && !event.type.startsWith(`${type}.`)) return false;
    if (decision !== undefined && event.type !== TYPE_OF_DECISION[decision]) return false;
    if (since === undefined && until === undefined) return true;
    const time = Date.parse(event.time);
    return time >= (since ?? Number.NEGATIVE_INFINITY) && time < (until ?? Number.POSITIVE_INFINITY);
  }
}

function parse(bytes: Buffer): AuditEvent | null {
  try {
    const value: unknown = JSON.parse(bytes.toString('utf8'));
    return isAuditEvent(value) ? value : null;
  } catch {
    return null;
  }
}

function writeCursor(file: string, offset: number): string {
  return Buffer.from(`${file}:${offset}`).toString('base64url');
}

function readCursor(cursor: string): { readonly file: string; readonly offset: number } {
  const text = Buffer.from(cursor.slice(0, 200), 'base64url').toString('latin1');
  const match = /^(\d{1,20}:\d{1,20}):(\d{1,15})$/.exec(text);
  if (match?.[1] === undefined) throw new InvalidAuditCursor();
  return { file: match[1], offset: Number(match[2]) };
}
