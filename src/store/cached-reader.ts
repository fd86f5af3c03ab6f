import type { Clock } from '../base/clock.ts';
import type { MaybePromise } from '../base/result.ts';
import { Fault } from '../model/fault.ts';
import type { TokenRecord } from '../model/token-record.ts';
import { type Lease, momentOf } from './lease.ts';
import { RecentEntries } from './recent-entries.ts';
import type { TokenReader, WhenUnavailable } from './token-store.ts';

/** Records that are remembered at most; one takes about 2 KiB. */
const REMEMBERED = 20_000;

/** A record is read again after so long even under a lease, milliseconds: a second net, should a change not be in the log. */
const MAX_AGE_MS = 10_000;

/** Reads that one look-up makes while its record keeps being changed. */
const ATTEMPTS = 5;

/** What the reader reports; must not throw. */
export interface CacheObserver {
  cacheHit(): void;
  cacheMiss(): void;
  /** A look-up was answered although neither lease nor store stood behind it. */
  staleAnswer(): void;
}

export interface CachedReaderOptions {
  readonly store: TokenReader;
  readonly lease: Lease;
  readonly leaseMs: number;
  readonly clock: Clock;
  readonly observe: CacheObserver;
  /** The store is in this process: between asking it and remembering what it says nothing can happen here. */
  readonly answersAtOnce: boolean;
  readonly onUnavailable: WhenUnavailable;
  readonly maxStaleMs: number;
}

interface Remembered {
  readonly record: TokenRecord;
  /** When the read was sent, monotonic milliseconds. */
  readonly sentAt: number;
}

/** A read under way. `poisoned`: what it brings may be older than a change that has been applied meanwhile. */
interface LookUp {
  readonly id: string;
  poisoned: boolean;
  /** Where it stands among those under way. */
  place: number;
}

/**
 * Answers from memory, at once, while the lease is valid at that very moment; otherwise reads the store. Reads are not
 * shared between requests: one that began before a revocation must not answer a request that was sent after it. That
 * there is no such token is not remembered.
 */
export class CachedReader implements TokenReader {
  readonly #options: CachedReaderOptions;
  readonly #remembered = new RecentEntries<Remembered>(REMEMBERED);
  readonly #lookUps: LookUp[] = [];
  /** The last moment at which the lease was seen to be valid, monotonic milliseconds. */
  #confirmedAt = Number.NEGATIVE_INFINITY;

  constructor(options: CachedReaderOptions) {
    this.#options = options;
  }

  find(id: string, whenUnavailable: WhenUnavailable | null = null): MaybePromise<TokenRecord | null> {
    const { clock, lease, observe, answersAtOnce } = this.#options;
    const now = clock.monotonic();
    if (lease.valid(now, clock.now())) {
      this.#confirmedAt = now;
      const known = this.#remembered.get(id);
      if (known !== undefined && now - known.sentAt < MAX_AGE_MS) {
        observe.cacheHit();
        return known.record;
      }
    }
    observe.cacheMiss();
    return answersAtOnce ? this.#readAtOnce(id, whenUnavailable, now) : this.#read(id, whenUnavailable);
  }

  /** The record has changed: what is remembered is dropped, and what is being read is read again. */
  drop(id: string): void {
    this.#remembered.delete(id);
    for (const lookUp of this.#lookUps) if (lookUp.id === id) lookUp.poisoned = true;
  }

  /** Any record may have changed. */
  flush(): void {
    this.#remembered.clear();
    for (const lookUp of this.#lookUps) lookUp.poisoned = true;
  }

  /** The lease has just been extended or is still valid: what is remembered was true until now. */
  confirm(monotonic: number): void {
    this.#confirmedAt = Math.max(this.#confirmedAt, monotonic);
  }

  /** Whether `serve_cached` may still answer. `whenUnavailable` null: for an API that leaves it to the store. */
  mayServeStale(whenUnavailable: WhenUnavailable | null): boolean {
    const { onUnavailable, maxStaleMs, clock } = this.#options;
    if ((whenUnavailable ?? onUnavailable) !== 'serve_cached') return false;
    return clock.monotonic() - this.#confirmedAt < maxStaleMs;
  }

  #readAtOnce(id: string, whenUnavailable: WhenUnavailable | null, now: number): MaybePromise<TokenRecord | null> {
    try {
      const found = this.#options.store.find(id);
      if (found !== null && !(found instanceof Promise)) this.#remember(id, found, now);
      return found;
    } catch (error) {
      return this.#stale(id, whenUnavailable, error);
    }
  }

  async #read(id: string, whenUnavailable: WhenUnavailable | null): Promise<TokenRecord | null> {
    const lookUp: LookUp = { id, poisoned: false, place: this.#lookUps.length };
    this.#lookUps.push(lookUp);
    try {
      return await this.#readUnpoisoned(id, lookUp);
    } catch (error) {
      return this.#stale(id, whenUnavailable, error);
    } finally {
      const last = this.#lookUps.pop();
      if (last !== undefined && last !== lookUp) {
        last.place = lookUp.place;
        this.#lookUps[last.place] = last;
      }
    }
  }

  async #readUnpoisoned(id: string, lookUp: LookUp): Promise<TokenRecord | null> {
    const { store, clock, leaseMs } = this.#options;
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      lookUp.poisoned = false;
      const sent = momentOf(clock);
      const record = await store.find(id);
      // A reply that took longer than a lease may have been overtaken by a revocation that did not wait for it.
      const late = clock.monotonic() - sent.monotonic >= leaseMs || clock.now() - sent.wall >= leaseMs;
      if (lookUp.poisoned || late) continue;
      if (record !== null) this.#remember(id, record, sent.monotonic);
      return record;
    }
    throw new Fault('store_unavailable', `token ${id}: no reading of the record stayed true until it arrived`);
  }

  #remember(id: string, record: TokenRecord, sentAt: number): void {
    const known = this.#remembered.get(id);
    if (known !== undefined && known.sentAt > sentAt) return;
    this.#remembered.set(id, { record, sentAt });
  }

  /** `serve_cached`: what was true when the lease ended, or was read since, for a bounded time. */
  #stale(id: string, whenUnavailable: WhenUnavailable | null, error: unknown): TokenRecord {
    const { onUnavailable, maxStaleMs, clock, observe } = this.#options;
    const known = this.#remembered.get(id);
    const lost = error instanceof Fault && error.code === 'store_unavailable';
    if (!lost || known === undefined || (whenUnavailable ?? onUnavailable) !== 'serve_cached') throw error;
    if (clock.monotonic() - Math.max(known.sentAt, this.#confirmedAt) >= maxStaleMs) throw error;
    observe.staleAnswer();
    return known.record;
  }
}
