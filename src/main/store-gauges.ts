import type { Logger } from '../metrics/log.ts';
import type { Metrics } from '../metrics/metrics.ts';
import type { Store } from '../store/token-store.ts';

const REFRESH_MS = 15_000;
/** A count is followed by at least so many times its own length without one: many tokens take long to count. */
const REST = 50;
/** A count that took longer is not repeated for a change alone before that time, milliseconds. */
const CHEAP_MS = 100;
const HOUR_MS = 3_600_000;
/** `within` of portcullis_tokens_expiring. */
const WITHIN_MS = [HOUR_MS, 24 * HOUR_MS, 7 * 24 * HOUR_MS];

/** Keeps the gauges that describe the store fresh, in the background. */
export class StoreGauges {
  readonly #store: Store;
  readonly #metrics: Metrics;
  readonly #log: Logger;
  readonly #now: () => number;
  #timer: NodeJS.Timeout | null = null;
  #running: Promise<void> = Promise.resolve();
  #stale = false;
  #countedAt = 0;
  /** How long the last count took, and when it ended; monotonic milliseconds. */
  #costMs = 0;
  #endedAt = 0;

  constructor(store: Store, metrics: Metrics, log: Logger, now: () => number) {
    this.#store = store;
    this.#metrics = metrics;
    this.#log = log;
    this.#now = now;
  }

  /** Of what the gauges show now, milliseconds since the epoch; 0 before the first time. */
  get countedAt(): number {
    return this.#countedAt;
  }

  start(): void {
    this.#running = this.#refresh();
    this.#timer = setInterval(() => {
      if (!this.#resting) this.#running = this.#running.then(() => this.#refresh());
    }, REFRESH_MS);
    this.#timer.unref();
  }

  get #resting(): boolean {
    return performance.now() - this.#endedAt < this.#costMs * REST;
  }

  /** A token has changed: what is counted next has to show it. */
  markStale(): void {
    this.#stale = true;
  }

  /**
   * Resolves when the gauges show every change that was marked before; where counting takes long, perhaps not the last ones.
   * Costs nothing while nothing changes.
   */
  async fresh(): Promise<void> {
    if (!this.#stale || (this.#costMs > CHEAP_MS && this.#resting)) return;
    this.#stale = false;
    this.#running = this.#running.then(() => this.#refresh());
    await this.#running;
  }

  async close(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer);
    await this.#running;
  }

  async #refresh(): Promise<void> {
    const started = performance.now();
    try {
      const now = this.#now();
      const counts = await this.#store.count(now, WITHIN_MS);
      this.#countedAt = now;
      this.#metrics.tokens(counts.byClass);
      this.#metrics.tokensExpiring(counts.expiring);
    } catch (error) {
      this.#log.debug({ err: error }, 'tokens could not be counted');
    }
    this.#endedAt = performance.now();
    this.#costMs = this.#endedAt - started;
  }
}
