import { type FileHandle, open } from 'node:fs/promises';
import { LIMITS } from '../base/limits.ts';
import { type AuditEvent, isAuditEvent } from './event.ts';
import { readFirstLine } from './files.ts';
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
/** One place for each worker's chain. */
const LONGEST_CURSOR = 16 * 1024;
/** Bytes of audit files that one page looks through. */
const BYTES_PER_PAGE = 64 * 1024 * 1024;

const TYPE_OF_DECISION: Readonly<Record<AuditDecision, string>> = {
  allow: 'access.allowed',
  deny: 'access.denied',
  would_deny: 'access.would_deny',
};

/**
 * Looks through audit files from the newest event back. The files of one chain are given oldest first; several chains, as
 * several workers write them, are merged by time. Lines that are no events are passed over: finding those is the
 * verifier's work. A file that is not there has no events. Rejects with InvalidAuditCursor.
 */
export async function queryAudit(files: readonly string[], filter: AuditFilter): Promise<AuditPage> {
  const chains = await byChain(files);
  const opened: OpenFile[][] = [];
  try {
    for (const chain of chains) opened.push(await openNewestFirst(chain));
    const from = filter.cursor === undefined || filter.cursor === null ? null : readCursor(filter.cursor);
    return await new Search(filter).run(scansFrom(opened, from, filter));
  } finally {
    for (const { handle } of opened.flat()) await handle.close();
  }
}

/** A file whose first line cannot be told goes with the one before it. */
async function byChain(files: readonly string[]): Promise<string[][]> {
  const firstLines = await Promise.all(files.map(readFirstLine));
  let last = firstLines.find(({ chain }) => chain !== '')?.chain ?? '';
  const chains = new Map<string, string[]>();
  for (const { file, chain } of firstLines) {
    if (chain !== '') last = chain;
    chains.set(last, [...(chains.get(last) ?? []), file]);
  }
  return [...chains.values()];
}

/** A chain that a cursor does not name has been looked through. */
function scansFrom(chains: readonly OpenFile[][], from: readonly Place[] | null, filter: AuditFilter): ChainScan[] {
  const matcher = new Matcher(filter);
  if (from === null) return chains.map((files) => new ChainScan(files, null, matcher));
  const known = new Set(chains.flat().map(({ id }) => id));
  if (from.some(({ file }) => !known.has(file))) throw new InvalidAuditCursor();
  return chains.flatMap((files) => {
    const place = from.find(({ file }) => files.some(({ id }) => id === file));
    if (place === undefined) return [];
    const start = files.findIndex(({ id }) => id === place.file);
    return [new ChainScan(files.slice(start), place.offset, matcher)];
  });
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

/** Where a later page goes on: before the line that ends, or begins, there. */
interface Place {
  readonly file: string;
  readonly offset: number;
}

interface Found {
  readonly event: AuditEvent;
  readonly time: number;
  /** Behind the event, so that it is found again, and before it. */
  readonly behind: Place;
  readonly before: Place;
}

/** Bytes that are looked through for one page, of all chains together. */
interface Budget {
  spent: number;
}

/** One chain, newest event first. */
class ChainScan {
  readonly #lines: AsyncGenerator<Found | null, void>;
  readonly #files: readonly OpenFile[];
  readonly #matcher: Matcher;
  #place: Place | null;
  #budget: Budget = { spent: 0 };
  #head: Found | null = null;
  #done = false;

  constructor(files: readonly OpenFile[], offset: number | null, matcher: Matcher) {
    this.#files = files;
    this.#matcher = matcher;
    const [first] = files;
    this.#place = first === undefined ? null : { file: first.id, offset: Math.min(offset ?? first.size, first.size) };
    this.#lines = this.#scan();
  }

  /** The newest event that was not taken; null where there is none, or the budget is used up before it was found. */
  async head(budget: Budget): Promise<Found | null> {
    if (this.#head !== null || this.#done) return this.#head;
    this.#budget = budget;
    const { value, done } = await this.#lines.next();
    if (done === true) this.#done = true;
    else this.#head = value ?? null;
    return this.#head;
  }

  take(): void {
    if (this.#head !== null) this.#place = this.#head.before;
    this.#head = null;
  }

  /** Where the next page goes on; null when the chain has been looked through. */
  get place(): Place | null {
    if (this.#head !== null) return this.#head.behind;
    return this.#done ? null : this.#place;
  }

  async close(): Promise<void> {
    await this.#lines.return();
  }

  async *#scan(): AsyncGenerator<Found | null, void> {
    let end = this.#place?.offset ?? null;
    for (const file of this.#files) {
      let behind: Place = { file: file.id, offset: end ?? file.size };
      for await (const lines of readLinesBackwards(file.handle, behind.offset)) {
        for (const line of lines) {
          this.#budget.spent += line.bytes.length;
          if (this.#matcher.isOlderThanAsked(line.bytes)) return;
          const event = this.#matcher.match(line.bytes);
          const before = { file: file.id, offset: line.offset };
          if (event !== null) yield { event, time: Date.parse(event.time), behind, before };
          this.#place = before;
          behind = before;
          if (this.#budget.spent >= BYTES_PER_PAGE) yield null;
        }
      }
      end = null;
    }
  }
}

class Search {
  readonly #limit: number;
  readonly #events: AuditEvent[] = [];

  constructor(filter: AuditFilter) {
    this.#limit = Math.max(1, Math.min(filter.limit ?? DEFAULT_LIMIT, LIMITS.pageSize));
  }

  async run(scans: readonly ChainScan[]): Promise<AuditPage> {
    const budget: Budget = { spent: 0 };
    try {
      for (;;) {
        const newest = await this.#newest(scans, budget);
        if (newest !== null) {
          this.#events.push(newest.event);
          newest.scan.take();
        }
        const full = this.#events.length >= this.#limit || budget.spent >= BYTES_PER_PAGE;
        if (newest === null || full) return { events: this.#events, cursor: writeCursor(scans) };
      }
    } finally {
      for (const scan of scans) await scan.close();
    }
  }

  /** Null where nothing is left, or one chain has to be looked through further before anybody can say. */
  async #newest(
    scans: readonly ChainScan[],
    budget: Budget,
  ): Promise<{ readonly event: AuditEvent; readonly scan: ChainScan } | null> {
    let newest: { readonly event: AuditEvent; readonly time: number; readonly scan: ChainScan } | null = null;
    for (const scan of scans) {
      const head = await scan.head(budget);
      if (head === null && scan.place !== null) return null;
      if (head !== null && (newest === null || head.time > newest.time)) newest = { ...head, scan };
    }
    return newest;
  }
}

class Matcher {
  readonly #filter: AuditFilter;
  /** Bytes that a line must contain; cheaper to look for than to parse. */
  readonly #needle: Buffer | null;

  constructor(filter: AuditFilter) {
    this.#filter = filter;
    this.#needle = filter.token === undefined ? null : Buffer.from(JSON.stringify(filter.token));
  }

  /**
   * An event may carry a time earlier than its place, never a later one. Lines of the chain itself have the time of their place: what
   * stands before one from before `since` is older still.
   */
  isOlderThanAsked(bytes: Buffer): boolean {
    const { since } = this.#filter;
    if (since === undefined || !bytes.includes('"type":"chain.')) return false;
    const event = parse(bytes);
    if (event === null || !event.type.startsWith('chain.')) return false;
    return Date.parse(event.time) < since;
  }

  match(bytes: Buffer): AuditEvent | null {
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

/** Null when every chain has been looked through. */
function writeCursor(scans: readonly ChainScan[]): string | null {
  const places = scans.flatMap(({ place }) => (place === null ? [] : [`${place.file}:${place.offset}`]));
  return places.length === 0 ? null : Buffer.from(places.join(',')).toString('base64url');
}

function readCursor(cursor: string): Place[] {
  const places = Buffer.from(cursor.slice(0, LONGEST_CURSOR), 'base64url').toString('latin1').split(',');
  return places.map((text) => {
    const match = /^(\d{1,20}:\d{1,20}):(\d{1,15})$/.exec(text);
    if (match?.[1] === undefined) throw new InvalidAuditCursor();
    return { file: match[1], offset: Number(match[2]) };
  });
}
