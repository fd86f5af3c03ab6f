import type { Clock } from '../base/clock.ts';
import type { MaybePromise } from '../base/result.ts';
import { Fault } from '../model/fault.ts';
import type { RevocationMark } from '../model/revocation-mark.ts';
import type { CachedReader } from './cached-reader.ts';
import { type Lease, momentOf } from './lease.ts';
import { MarkIndex } from './mark-index.ts';
import type { MarkStore, PutMark } from './mark-store.ts';
import { hasEnded, isMarkId, type MarkedPrincipal, possibleMarkIds } from './revocation-marks.ts';
import type { WhenUnavailable } from './token-store.ts';

/** Readings that one question makes while each takes as long as a lease. */
const ATTEMPTS = 5;

/** Marks between two looks for those that have ended: the store has let go of them long before. */
const MARKS_PER_SWEEP = 1_000;

/** Marks that are written at once where the store has lost them. */
const AT_ONCE = 32;

export interface KnownMarksOptions {
  readonly store: MarkStore;
  readonly lease: Lease;
  readonly leaseMs: number;
  readonly clock: Clock;
  readonly reader: Pick<CachedReader, 'mayServeStale' | 'confirm'>;
  /** A question was answered although neither lease nor store stood behind the answer; must not throw. */
  readonly onStaleAnswer: () => void;
}

/**
 * All revocation marks, in memory: what the log tells of is loaded before it is reported, and everything is loaded before the
 * first lease and after each gap, so that under a lease memory has the last word. A mark that is known is believed for ever,
 * lease or no lease, for none is ever taken back; and where the store has lost it, it is written there again.
 */
export class KnownMarks {
  readonly #options: KnownMarksOptions;
  readonly #index = new MarkIndex();
  #unswept = 0;

  constructor(options: KnownMarksOptions) {
    this.#options = options;
  }

  /**
   * Whether a token of others is revoked: at once under a lease, else the store is asked. Throws (or rejects with) a Fault
   * `store_unavailable` where it cannot be, and `whenUnavailable` does not say that what is known will do.
   */
  covers(token: MarkedPrincipal, whenUnavailable: WhenUnavailable | null): MaybePromise<boolean> {
    if (token.foreign === null) return false;
    if (this.#index.covers(token)) return true;
    const { clock, lease, reader } = this.#options;
    const now = clock.monotonic();
    if (lease.valid(now, clock.now())) {
      reader.confirm(now);
      return false;
    }
    return this.#ask(token, whenUnavailable);
  }

  /** Null where there is none, or this process does not know it. */
  get(id: string): RevocationMark | null {
    return this.#index.get(id);
  }

  /** Whether a mark that this process knows covers the token; nothing is asked. */
  knows(token: MarkedPrincipal): boolean {
    return this.#index.covers(token);
  }

  /** As `covers` without a lease, and at once: undefined where that cannot be had. */
  coversAtOnce(token: MarkedPrincipal): boolean | undefined {
    if (this.#index.covers(token)) return true;
    try {
      const found = this.#options.store.findMarks(possibleMarkIds(token));
      if (found instanceof Promise) {
        found.catch(() => undefined);
        return undefined;
      }
      return this.#learn(found, token);
    } catch {
      return undefined;
    }
  }

  /** Writes a mark, which holds here from then on. */
  async put(mark: RevocationMark, most: number): Promise<PutMark | null> {
    const put = await this.#options.store.putMark(mark, most);
    if (put !== null) this.#add([put.mark]);
    return put;
  }

  /** The log tells of these (ids of tokens are passed over): when it resolves, whichever are marks hold here. */
  async load(ids: readonly string[]): Promise<void> {
    const marks = ids.filter(isMarkId);
    if (marks.length === 0) return;
    this.#add(await this.#options.store.findMarks(marks));
  }

  /** Any may have been made since. Those that the store does not have any more are written to it again. */
  async reload(): Promise<void> {
    const { store, clock } = this.#options;
    this.#index.forgetEnded(clock.now());
    this.#unswept = 0;
    const stored = await store.allMarks();
    const there = new Map(stored.map((mark) => [mark.id, mark]));
    this.#add(stored);
    await this.#write(this.#index.values().filter((mark) => !holds(there.get(mark.id), mark)));
  }

  /** The log has lost its entries of these, and the store perhaps what they were about. */
  async restore(ids: readonly string[]): Promise<void> {
    await this.#write(ids.map((id) => this.#index.get(id)).filter((mark) => mark !== null));
  }

  async #write(marks: readonly RevocationMark[]): Promise<void> {
    const { store, clock } = this.#options;
    const alive = marks.filter((mark) => !hasEnded(mark, clock.now()));
    for (let start = 0; start < alive.length; start += AT_ONCE) {
      // They were let in once; that there are too many now must not bring a token back to life.
      await Promise.all(
        alive.slice(start, start + AT_ONCE).map((mark) => store.putMark(mark, Number.MAX_SAFE_INTEGER)),
      );
    }
  }

  #ask(token: MarkedPrincipal, whenUnavailable: WhenUnavailable | null): MaybePromise<boolean> {
    try {
      const found = this.#options.store.findMarks(possibleMarkIds(token));
      return found instanceof Promise ? this.#hear(found, token, whenUnavailable) : this.#learn(found, token);
    } catch (error) {
      return this.#stale(error, whenUnavailable);
    }
  }

  async #hear(
    first: Promise<readonly RevocationMark[]>,
    token: MarkedPrincipal,
    whenUnavailable: WhenUnavailable | null,
  ): Promise<boolean> {
    const { clock, store, leaseMs } = this.#options;
    let sent = momentOf(clock);
    let asked = first;
    try {
      for (let attempt = 1; ; attempt += 1) {
        const found = await asked;
        // A reply that took longer than a lease may have been overtaken by a revocation that did not wait for it.
        const late = clock.monotonic() - sent.monotonic >= leaseMs || clock.now() - sent.wall >= leaseMs;
        // What has been learned meanwhile counts as well: a mark that was made while the store was asked.
        if (this.#learn(found, token)) return true;
        if (!late) return false;
        if (attempt === ATTEMPTS)
          throw new Fault('store_unavailable', 'the store took too long to say what is revoked');
        sent = momentOf(clock);
        asked = Promise.resolve(store.findMarks(possibleMarkIds(token)));
      }
    } catch (error) {
      return this.#stale(error, whenUnavailable);
    }
  }

  #learn(found: readonly RevocationMark[], token: MarkedPrincipal): boolean {
    this.#add(found);
    return this.#index.covers(token);
  }

  /** Without a sweep memory would grow with every mark that there ever was: whoever holds a token of others can make them. */
  #add(marks: readonly RevocationMark[]): void {
    for (const mark of marks) this.#index.add(mark);
    this.#unswept += marks.length;
    if (this.#unswept < MARKS_PER_SWEEP) return;
    this.#unswept = 0;
    this.#index.forgetEnded(this.#options.clock.now());
  }

  /** `serve_cached`: no mark that is known covers the token, and that has to do, for a bounded time. */
  #stale(error: unknown, whenUnavailable: WhenUnavailable | null): boolean {
    const lost = error instanceof Fault && error.code === 'store_unavailable';
    if (!lost || !this.#options.reader.mayServeStale(whenUnavailable)) throw error;
    this.#options.onStaleAnswer();
    return false;
  }
}

function holds(stored: RevocationMark | undefined, mark: RevocationMark): boolean {
  return stored?.issuedBefore === mark.issuedBefore && stored.keepUntil === mark.keepUntil;
}
