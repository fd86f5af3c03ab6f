import type { Clock } from '../base/clock.ts';
import { rfc3339 } from '../base/encoding.ts';
import { LIMITS } from '../base/limits.ts';
import type { AuditDetail, AuditEventInput } from '../model/audit-event.ts';
import { Fault } from '../model/fault.ts';
import { BatchSealer, type ChainHead } from './chain.ts';
import { canonicalEvent, PrintedTexts } from './event.ts';
import type { Sink } from './sinks/sink.ts';

/** An event waits at most so long for others to be written with it, milliseconds. */
const BATCH_MS = 20;
/** So many characters are written without waiting for more, and no more than about so many at once. */
const BATCH_CHARS = 128 * 1024;
/** How long to leave a sink alone that failed, milliseconds. A durable event tries at once. */
const RETRY_MS = 250;
/** From here on `saturated`: the rest of the queue is for the requests that are under way already. */
const SATURATED_SHARE = 0.75;
/** What is nested deeper is not written. */
const MAX_DEPTH = 16;
/** How long `close` waits for a sink that does not answer, milliseconds. */
const CLOSE_MS = 5000;

/** What counts events; the product's metrics have this shape. */
export interface AuditMeter {
  auditEvent(sink: string): void;
  auditDropped(sink: string): void;
}

/** Where a durable event has come to stand. `time` is milliseconds since the epoch. */
export interface Written {
  readonly seq: number;
  readonly hash: string;
  readonly time: number;
}

export interface ChainWriterOptions {
  readonly sink: Sink;
  readonly chain: string;
  readonly head: ChainHead;
  /** Further details of the first `chain.start`. */
  readonly startDetails: { readonly [name: string]: AuditDetail };
  readonly onFull: 'drop' | 'block';
  readonly clock: Clock;
  readonly meter: AuditMeter;
  readonly onFailure: (error: Error) => void;
  /** Called with what has been written: lines, each with its line end. The bytes are valid during the call only. */
  readonly onWritten: ((lines: Buffer) => void) | null;
}

interface Entry {
  readonly event: AuditEventInput;
  readonly time: number;
  /** About how long its line will be. */
  readonly chars: number;
  readonly durable: { resolve(written: Written): void; reject(fault: Fault): void } | null;
}

/**
 * One chain into one sink. Events get their place in the chain when they are written, a batch at a time, and the chain
 * moves on only when the sink has taken the whole batch: an event that was refused leaves neither a line nor a gap.
 */
export class ChainWriter {
  readonly chain: string;
  readonly durable: boolean;
  readonly #options: ChainWriterOptions;
  readonly #printed = new PrintedTexts();
  readonly #sealer = new BatchSealer();
  readonly #sizes = new WeakMap<object, number>();
  #head: ChainHead;
  #startDetails: { readonly [name: string]: AuditDetail };
  #queue: Entry[] = [];
  #queuedChars = 0;
  #queuedDurable = 0;
  #reopenings: { resolve(): void; reject(error: unknown): void }[] = [];
  #timer: NodeJS.Timeout | null = null;
  #writing = false;
  #failing = false;
  #closing = false;
  #dropped = 0;
  #second = Number.NaN;
  #secondText = '';

  constructor(options: ChainWriterOptions) {
    this.chain = options.chain;
    this.durable = options.sink.durable;
    this.#options = options;
    this.#head = options.head;
    this.#startDetails = options.startDetails;
  }

  get head(): ChainHead {
    return this.#head;
  }

  get saturated(): boolean {
    if (this.#options.onFull !== 'block') return false;
    return (
      this.#failing ||
      this.#queue.length >= LIMITS.auditQueue * SATURATED_SHARE ||
      this.#queuedChars >= LIMITS.auditQueueChars * SATURATED_SHARE
    );
  }

  record(event: AuditEventInput): void {
    if (this.#closing || this.#queue.length >= LIMITS.auditQueue || this.#queuedChars >= LIMITS.auditQueueChars) {
      this.#drop(1);
      return;
    }
    this.#enqueue(event, null);
  }

  recordDurably(event: AuditEventInput): Promise<Written> {
    return new Promise((resolve, reject) => {
      if (this.#closing) {
        reject(new Fault('audit_unavailable', 'the audit log is closed'));
        return;
      }
      this.#enqueue(event, { resolve, reject });
    });
  }

  /** Writes a `chain.checkpoint`; resolves with its place when it is durable. */
  checkpoint(final: boolean): Promise<Written> {
    const details = { chain: this.chain, dropped: this.#dropped, ...(final ? { final } : {}) };
    return this.recordDurably({ type: 'chain.checkpoint', outcome: 'success', details });
  }

  /** Changes over to the file that is at the path now, with a `chain.start` in it. */
  reopen(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#reopenings.push({ resolve, reject });
      this.#start();
    });
  }

  /** Null when not everything could be written; what is left is counted as dropped. */
  async close(): Promise<Written | null> {
    const last = this.checkpoint(true).catch((error: unknown) => {
      this.#options.onFailure(asError(error));
      return null;
    });
    this.#closing = true;
    const written = await within(last, CLOSE_MS);
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#drop(this.#queue.length);
    this.#queue = [];
    await within(
      this.#options.sink.close().catch(() => undefined),
      CLOSE_MS,
    );
    return written;
  }

  #drop(count: number): void {
    this.#dropped += count;
    for (let i = 0; i < count; i += 1) this.#options.meter.auditDropped(this.#options.sink.name);
  }

  #enqueue(event: AuditEventInput, durable: Entry['durable']): void {
    const time = isTime(event.time) ? event.time : this.#options.clock.now();
    const chars = lengthOf(event, this.#sizes);
    this.#queue.push({ event, time, chars, durable });
    this.#queuedChars += chars;
    if (durable !== null) {
      this.#queuedDurable += 1;
      this.#start();
    } else if (!this.#writing && !this.#failing) {
      if (this.#queuedChars >= BATCH_CHARS) this.#start();
      else this.#startAfter(BATCH_MS);
    }
  }

  #timeText(time: number): string {
    const second = Math.floor(time / 1000);
    if (second !== this.#second) {
      this.#secondText = rfc3339(second * 1000).slice(0, -4);
      this.#second = second;
    }
    return `${this.#secondText}${String(Math.floor(time - second * 1000)).padStart(3, '0')}Z`;
  }

  #startAfter(milliseconds: number): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      this.#start();
    }, milliseconds);
  }

  #start(): void {
    if (this.#writing) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#writing = true;
    void this.#run();
  }

  /** Never rejects: whatever goes wrong with the sink ends in `#fail`. */
  async #run(): Promise<void> {
    try {
      do {
        if (this.#reopenings.length > 0) await this.#reopenSink();
        await this.#writeBatch();
        this.#failing = false;
      } while (this.#queuedDurable > 0 || this.#queuedChars >= BATCH_CHARS || this.#reopenings.length > 0);
      this.#writing = false;
      if (this.#queue.length > 0) this.#startAfter(BATCH_MS);
    } catch (error) {
      this.#writing = false;
      this.#fail(asError(error));
    }
  }

  async #reopenSink(): Promise<void> {
    const waiting = this.#reopenings;
    this.#reopenings = [];
    try {
      await this.#options.sink.reopen();
    } catch (error) {
      // The file that was in use stays in use.
      for (const { reject } of waiting) reject(error);
      return;
    }
    for (const { resolve } of waiting) resolve();
  }

  async #writeBatch(): Promise<void> {
    const opening = await this.#options.sink.prepare();
    const batch = this.#takeBatch();
    const starting = opening === null ? [] : [this.#chainStart({ ...opening, ...this.#startDetails })];
    const entries = [...starting, ...batch];
    if (entries.length === 0) return;
    const { bytes, written, last } = this.#link(entries);
    const sync = entries.some((entry) => entry.durable !== null);
    try {
      await this.#options.sink.append(bytes, sync);
    } catch (error) {
      this.#queue = [...batch, ...this.#queue];
      throw error;
    }
    this.#head = last;
    this.#failing = false;
    if (starting.length > 0) this.#startDetails = {};
    this.#settle(batch);
    for (let i = 0; i < entries.length; i += 1) {
      this.#options.meter.auditEvent(this.#options.sink.name);
      const place = written[i];
      if (place !== undefined && place !== null) entries[i]?.durable?.resolve(place);
    }
    this.#options.onWritten?.(bytes);
  }

  #takeBatch(): Entry[] {
    let chars = 0;
    let count = 0;
    for (const entry of this.#queue) {
      if (chars >= BATCH_CHARS * 4) break;
      chars += entry.chars;
      count += 1;
    }
    return this.#queue.splice(0, count);
  }

  #link(entries: readonly Entry[]): { bytes: Buffer; written: (Written | null)[]; last: ChainHead } {
    const written: (Written | null)[] = [];
    let { seq, hash } = this.#head;
    this.#sealer.begin();
    for (const entry of entries) {
      seq += 1;
      hash = this.#sealer.add(hash, canonicalEvent(entry.event, this.#timeText(entry.time), seq, this.#printed));
      written.push(entry.durable === null ? null : { seq, hash, time: entry.time });
    }
    return { bytes: this.#sealer.take(), written, last: { seq, hash } };
  }

  #chainStart(details: { readonly [name: string]: AuditDetail }): Entry {
    const event: AuditEventInput = {
      type: 'chain.start',
      outcome: 'success',
      details: { ...details, chain: this.chain, pid: process.pid },
    };
    return { event, time: this.#options.clock.now(), chars: 0, durable: null };
  }

  /** Takes entries that are written, or refused, off the books. */
  #settle(entries: readonly Entry[]): void {
    for (const entry of entries) {
      this.#queuedChars -= entry.chars;
      if (entry.durable !== null) this.#queuedDurable -= 1;
    }
  }

  #fail(error: Error): void {
    if (!this.#failing) this.#options.onFailure(error);
    this.#failing = true;
    const refused = this.#queue.filter((entry) => entry.durable !== null);
    if (refused.length > 0) this.#queue = this.#queue.filter((entry) => entry.durable === null);
    this.#settle(refused);
    for (const entry of refused) {
      entry.durable?.reject(new Fault('audit_unavailable', 'the audit log cannot be written', { cause: error }));
    }
    for (const { reject } of this.#reopenings.splice(0)) reject(error);
    if (!this.#closing) this.#startAfter(RETRY_MS);
  }
}

/** What ECMAScript's Date can hold, so that writing it cannot fail. */
function isTime(time: number | undefined): time is number {
  return time !== undefined && Math.abs(time) <= 8.64e15;
}

/** About: the fixed part of a line, and what a client can make long. Cheap, because it is asked for every event. */
function lengthOf(event: AuditEventInput, sizes: WeakMap<object, number>): number {
  const texts = (event.path?.length ?? 0) + (event.host?.length ?? 0) + (event.subject?.length ?? 0);
  return 450 + texts + (event.details === undefined ? 0 : sizeOf(event.details, sizes, 0));
}

/** What comes again with many events is measured once. */
function sizeOf(value: AuditDetail | undefined, sizes: WeakMap<object, number>, depth: number): number {
  if (typeof value === 'string') return value.length + 4;
  if (typeof value !== 'object' || value === null) return 8;
  if (depth > MAX_DEPTH) return 0;
  const known = sizes.get(value);
  if (known !== undefined) return known;
  let size = 2;
  // Of a list or an object alike; a list's own numbers are counted in place of its commas.
  for (const name in value) {
    if (Object.hasOwn(value, name)) size += name.length + sizeOf(Reflect.get(value, name), sizes, depth + 1);
  }
  if (depth > 0) sizes.set(value, size);
  return size;
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

async function within<T>(promise: Promise<T>, milliseconds: number): Promise<T | null> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<null>((resolve) => {
    timer = setTimeout(resolve, milliseconds, null);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
