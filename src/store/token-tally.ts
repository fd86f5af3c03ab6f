import { statusAt, TOKEN_STATUSES, type TokenRecord, type TokenStatus } from '../model/token-record.ts';
import type { TokenCounts } from './token-store.ts';

interface ClassTally {
  readonly byStatus: Map<TokenStatus, number>;
  /** One count per entry of `withinMs`. */
  readonly expiring: number[];
}

/**
 * Counts for gauges: per class each status that occurs, and for each span the live tokens that end within it. A class
 * that is known at all has an entry for every span, so that a gauge falls back to 0.
 */
export class TokenTally {
  readonly #now: number;
  readonly #withinMs: readonly number[];
  readonly #classes = new Map<string, ClassTally>();

  constructor(now: number, withinMs: readonly number[]) {
    this.#now = now;
    this.#withinMs = withinMs;
  }

  add(record: TokenRecord): void {
    const status = statusAt(record, this.#now);
    this.addStatus(record.class, status, 1);
    if (status !== 'active' && status !== 'rotating') return;
    this.#withinMs.forEach((within, index) => {
      if (record.expires_at <= this.#now + within) this.addExpiring(record.class, index, 1);
    });
  }

  addStatus(name: string, status: TokenStatus, count: number): void {
    const tally = this.#class(name);
    tally.byStatus.set(status, (tally.byStatus.get(status) ?? 0) + count);
  }

  /** `index` is the place of the span in the `withinMs` asked for. */
  addExpiring(name: string, index: number, count: number): void {
    const { expiring } = this.#class(name);
    expiring[index] = (expiring[index] ?? 0) + count;
  }

  /** Sorted by class, then by the order of TOKEN_STATUSES or of the spans asked for. */
  counts(truncated: boolean): TokenCounts {
    const classes = [...this.#classes].toSorted(([a], [b]) => (a < b ? -1 : 1));
    return {
      byClass: classes.flatMap(([name, tally]) =>
        TOKEN_STATUSES.flatMap((status) => {
          const count = tally.byStatus.get(status) ?? 0;
          return count === 0 ? [] : [{ class: name, status, count }];
        }),
      ),
      expiring: classes.flatMap(([name, tally]) =>
        this.#withinMs.map((withinMs, index) => ({ class: name, withinMs, count: tally.expiring[index] ?? 0 })),
      ),
      ...(truncated ? { truncated } : {}),
    };
  }

  #class(name: string): ClassTally {
    const known = this.#classes.get(name);
    if (known !== undefined) return known;
    const made: ClassTally = { byStatus: new Map(), expiring: this.#withinMs.map(() => 0) };
    this.#classes.set(name, made);
    return made;
  }
}
