import type { Logger } from '../metrics/log.ts';
import type { Metrics } from '../metrics/metrics.ts';
import type { Store } from '../store/token-store.ts';

const REFRESH_MS = 15_000;
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
      this.#running = this.#running.then(() => this.#refresh());
    }, REFRESH_MS);
    this.#timer.unref();
  }

  /** A token has changed: what is counted next has to show it. */
  markStale(): void {
    this.#stale = true;
  }

  /** Resolves when the gauges show every change that was marked before. Costs nothing while nothing changes. */
  async fresh(): Promise<void> {
    if (!this.#stale) return;
    this.#stale = false;
    this.#running = this.#running.then(() => this.#refresh());
    await this.#running;
  }

  async close(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer);
    await this.#running;
  }

  async #refresh(): Promise<void> {
    try {
      const now = this.#now();
      const counts = await this.#store.count(now, WITHIN_MS);
      this.#countedAt = now;
      this.#metrics.tokens(counts.byClass);
      this.#metrics.tokensExpiring(counts.expiring);
    } catch (error) {
      this.#log.debug({ err: error }, 'tokens could not be counted');
    }
  }
}
