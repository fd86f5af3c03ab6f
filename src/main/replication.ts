import type { Clock } from '../base/clock.ts';
import type { StoreConfig } from '../config/config.ts';
import type { LiveStreams } from '../gateway/live-streams.ts';
import type { Logger } from '../metrics/log.ts';
import type { Metrics } from '../metrics/metrics.ts';
import type { Principal } from '../model/principal.ts';
import type { Reason } from '../model/reason.ts';
import type { TokenRecord } from '../model/token-record.ts';
import { CachedReader } from '../store/cached-reader.ts';
import type { ChangeKind } from '../store/change-log.ts';
import { KnownMarks } from '../store/known-marks.ts';
import { Lease } from '../store/lease.ts';
import { Replica } from '../store/replica.ts';
import { isMarkId, markCovers } from '../store/revocation-marks.ts';
import type { Store, WhenUnavailable } from '../store/token-store.ts';

/** Records that are read at once when everything under way is looked at anew. */
const BATCH = 100;

/** How often the embedded store is asked for what is open, per lease, while there is no lease. */
const LOOKS_PER_LEASE = 4;

/** A stale answer that follows the last one after so long begins a new period, milliseconds. */
const STALE_PAUSE_MS = 5_000;

export interface ReplicationParts {
  readonly store: Store;
  readonly config: Pick<StoreConfig, 'leaseMs' | 'onUnavailable' | 'maxStaleMs'>;
  readonly clock: Clock;
  readonly metrics: Pick<Metrics, 'cacheHit' | 'cacheMiss' | 'staleAnswer' | 'storeLeaseValid'>;
  readonly log: Logger;
}

/** The open event streams of the admin listener. */
export interface FollowedEvents {
  closeToken(tokenId: string): number;
  /** `null`: whatever the token. */
  review(tokenId: string | null): Promise<number>;
  closeAll(): void;
}

/** What this process remembers of the store, and its part in the promise that a revocation holds everywhere. */
export class Replication {
  readonly reader: CachedReader;
  readonly replica: Replica;
  /** The revocations of tokens that others issued. */
  readonly marks: KnownMarks;
  readonly #parts: ReplicationParts;
  /** Of the admin listener, which comes last. */
  #events: FollowedEvents | null = null;
  /** The traffic listener comes later than the reader that it needs. */
  #streams: LiveStreams | null = null;
  #staleAt = Number.NEGATIVE_INFINITY;
  #lookedAt = Number.NEGATIVE_INFINITY;
  readonly #lease: Lease;

  constructor(parts: ReplicationParts) {
    const { store, config, clock, metrics } = parts;
    this.#parts = parts;
    const lease = new Lease(config.leaseMs);
    this.#lease = lease;
    this.reader = new CachedReader({
      store,
      lease,
      leaseMs: config.leaseMs,
      clock,
      observe: {
        cacheHit: () => metrics.cacheHit(),
        cacheMiss: () => metrics.cacheMiss(),
        staleAnswer: () => this.#onStaleAnswer(),
      },
      answersAtOnce: store.kind === 'embedded',
      onUnavailable: config.onUnavailable,
      maxStaleMs: config.maxStaleMs,
    });
    this.marks = new KnownMarks({
      store,
      lease,
      leaseMs: config.leaseMs,
      clock,
      reader: this.reader,
      onStaleAnswer: () => this.#onStaleAnswer(),
    });
    this.replica = new Replica({
      log: store,
      reader: this.reader,
      marks: this.marks,
      lease,
      leaseMs: config.leaseMs,
      clock,
      onChange: (id, kind) => this.#onChange(id, kind),
      onFlush: () => this.#onFlush(),
      onLease: (valid) => this.#onLease(valid),
      onUncovered: (beganBefore) => this.#onUncovered(beganBefore),
    });
    // What a registry has lost before this process began it cannot tell. SQLite's is as durable as its processes.
    if (store.kind === 'redis') this.replica.distrust();
  }

  /** From now on what is under way on the traffic listener ends with its token. */
  attend(streams: LiveStreams): void {
    this.#streams = streams;
  }

  /** The same for the event streams of the admin listener. */
  attendEvents(events: FollowedEvents): void {
    this.#events = events;
  }

  /** What is under way on the traffic listener with tokens of others that fit. */
  countOpen(fits: (principal: Principal) => boolean): number {
    return this.#streams?.countForeign(fits) ?? 0;
  }

  async #onChange(id: string, kind: ChangeKind): Promise<number> {
    if (isMarkId(id)) return this.#closeMarked(id);
    if (kind === 'revoked') return (this.#streams?.closeToken(id) ?? 0) + (this.#events?.closeToken(id) ?? 0);
    const followed = (await this.#events?.review(id)) ?? 0;
    return followed + (this.#streams?.has(id) === true ? await this.#review(id) : 0);
  }

  /** Only what this mark covers, so that each revocation is told of its own. */
  #closeMarked(id: string): number {
    const mark = this.marks.get(id);
    if (mark === null) return 0;
    return this.#streams?.closeForeign((principal) => markCovers(mark, principal)) ?? 0;
  }

  async #onFlush(): Promise<void> {
    this.#streams?.closeRevoked();
    await this.#events?.review(null);
    const ids = this.#streams?.tokens() ?? [];
    for (let start = 0; start < ids.length; start += BATCH) {
      await Promise.all(ids.slice(start, start + BATCH).map((id) => this.#review(id)));
    }
  }

  async #review(id: string): Promise<number> {
    const record = await this.#parts.store.find(id);
    if (this.#streams === null) return 0;
    if (record === null) return this.#streams.closeUnknown(id);
    if (record.revoked_at !== null) return this.#streams.closeToken(id);
    this.#streams.expireAt(id, record.expires_at);
    return 0;
  }

  #onLease(valid: boolean): void {
    const { metrics, log } = this.#parts;
    metrics.storeLeaseValid(valid);
    if (valid) log.info({}, 'the lease is valid: in step with the store');
    else log.warn({}, 'the lease is over: no renewal got through');
  }

  /**
   * Whether a token that was let in is still good at this very moment: null, or why not. Under a lease every revocation
   * waits for this process; without one the embedded store is read, as each request would be. Redis cannot be read at
   * once, so that its answer would come after the moment.
   */
  standing(principal: Principal, whenUnavailable: WhenUnavailable | null): Reason | null {
    const { clock } = this.#parts;
    const wall = clock.now();
    if (this.#lease.valid(clock.monotonic(), wall)) return null;
    if (principal.foreign !== null) return this.#foreignStanding(principal, whenUnavailable, wall);
    const record = this.#readAtOnce(principal.tokenId);
    if (record === undefined) return this.reader.mayServeStale(whenUnavailable) ? null : 'store_unavailable';
    if (record === null) return 'token_unknown';
    if (record.revoked_at !== null) return 'token_revoked';
    return record.expires_at <= wall ? 'token_expired' : null;
  }

  /** There is no record of it, only of its revocation. */
  #foreignStanding(principal: Principal, whenUnavailable: WhenUnavailable | null, wall: number): Reason | null {
    const covered = this.#markedAtOnce(principal);
    if (covered === true) return 'token_revoked';
    if (covered === undefined && !this.reader.mayServeStale(whenUnavailable)) return 'store_unavailable';
    return principal.expiresAt <= wall ? 'token_expired' : null;
  }

  /** Undefined where that cannot be had. */
  #markedAtOnce(principal: Principal): boolean | undefined {
    if (this.#parts.store.kind === 'embedded') return this.marks.coversAtOnce(principal);
    return this.marks.knows(principal) ? true : undefined;
  }

  /** Undefined where that cannot be had: of Redis, and of a file that cannot be read. */
  #readAtOnce(tokenId: string): TokenRecord | null | undefined {
    const { store } = this.#parts;
    if (store.kind !== 'embedded') return undefined;
    try {
      const found = store.find(tokenId);
      return found instanceof Promise ? undefined : found;
    } catch {
      return undefined;
    }
  }

  /**
   * A revocation that did not wait for this process may have taken hold: what is open has to go, unless the operator
   * prefers it stale, or the store in this process says at once that the token is good.
   */
  #onUncovered(beganBefore: number): void {
    const { store, log } = this.#parts;
    if (this.#streams === null) return;
    if (store.kind === 'embedded' && this.#lookAtOnce(this.#streams)) return;
    if (!this.reader.mayServeStale(null)) this.#events?.closeAll();
    const closed = this.#streams.closeUncovered(
      beganBefore,
      (api) => !this.reader.mayServeStale(api?.onUnavailable ?? null),
    );
    if (closed > 0)
      log.warn({ closed }, 'requests under way were closed: nobody can say whether their tokens are good');
  }

  /**
   * Reads the record of every token with something open, several times in the lease for which a revocation waits. False
   * where one cannot be read.
   */
  #lookAtOnce(streams: LiveStreams): boolean {
    const { clock, config, log } = this.#parts;
    const now = clock.monotonic();
    if (now - this.#lookedAt < config.leaseMs / LOOKS_PER_LEASE) return true;
    for (const id of streams.tokens()) {
      const record = this.#readAtOnce(id);
      if (record === undefined) return false;
      if (record === null) streams.closeUnknown(id);
      else if (record.revoked_at !== null) streams.closeToken(id);
      else streams.expireAt(id, record.expires_at);
    }
    for (const principal of streams.foreignPrincipals()) {
      if (this.#markedAtOnce(principal) === undefined) return false;
    }
    streams.closeRevoked();
    this.#lookedAt = now;
    // Each of them that cannot be checked ends.
    this.#events?.review(null).catch((error: unknown) => log.error({ err: error }, 'event streams were not checked'));
    return true;
  }

  #onStaleAnswer(): void {
    const { clock, metrics, log, config } = this.#parts;
    const now = clock.monotonic();
    metrics.staleAnswer();
    if (now - this.#staleAt > STALE_PAUSE_MS) {
      log.warn(
        { max_stale_ms: config.maxStaleMs },
        'serve_cached: the store cannot be asked, so tokens are let in as they were last known; a revocation may be missed',
      );
    }
    this.#staleAt = now;
  }
}
