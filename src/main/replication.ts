import type { Clock } from '../base/clock.ts';
import type { StoreConfig } from '../config/config.ts';
import type { LiveStreams } from '../gateway/live-streams.ts';
import type { Logger } from '../metrics/log.ts';
import type { Metrics } from '../metrics/metrics.ts';
import { CachedReader } from '../store/cached-reader.ts';
import type { ChangeKind } from '../store/change-log.ts';
import { Lease } from '../store/lease.ts';
import { Replica } from '../store/replica.ts';
import type { Store } from '../store/token-store.ts';

/** Records that are read at once when everything under way is looked at anew. */
const BATCH = 100;

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
  readonly #parts: ReplicationParts;
  /** Of the admin listener, which comes last. */
  #events: FollowedEvents | null = null;
  /** The traffic listener comes later than the reader that it needs. */
  #streams: LiveStreams | null = null;
  #staleAt = Number.NEGATIVE_INFINITY;
  #lostAt = Number.NEGATIVE_INFINITY;

  constructor(parts: ReplicationParts) {
    const { store, config, clock, metrics } = parts;
    this.#parts = parts;
    const lease = new Lease(config.leaseMs);
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
    this.replica = new Replica({
      log: store,
      reader: this.reader,
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

  async #onChange(id: string, kind: ChangeKind): Promise<number> {
    if (kind === 'revoked') return (this.#streams?.closeToken(id) ?? 0) + (this.#events?.closeToken(id) ?? 0);
    const followed = (await this.#events?.review(id)) ?? 0;
    return followed + (this.#streams?.has(id) === true ? await this.#review(id) : 0);
  }

  async #onFlush(): Promise<void> {
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
    const { metrics, log, clock } = this.#parts;
    metrics.storeLeaseValid(valid);
    if (valid) log.info({}, 'the lease is valid: in step with the store');
    else {
      this.#lostAt = clock.monotonic();
      log.warn({}, 'the lease is over: no renewal got through');
    }
  }

  /**
   * A revocation that did not wait for this process may have taken hold: what is open has to go, unless the operator
   * prefers it stale. With the store in this process the log can be read whenever the file can, lease or not.
   */
  #onUncovered(beganBefore: number): void {
    const { store, config, clock, log } = this.#parts;
    if (store.kind === 'embedded' || this.#streams === null) return;
    const stale = clock.monotonic() - this.#lostAt < config.maxStaleMs;
    if (!stale || config.onUnavailable === 'deny') this.#events?.closeAll();
    const closed = this.#streams.closeUncovered(
      beganBefore,
      (api) => !stale || (api?.onUnavailable ?? config.onUnavailable) === 'deny',
    );
    if (closed > 0)
      log.warn({ closed }, 'requests under way were closed: nobody can say whether their tokens are good');
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
