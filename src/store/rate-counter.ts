import type { MaybePromise } from '../base/result.ts';

/** How often something was counted in a window, and how much of the window is left. */
export interface RateCount {
  readonly count: number;
  /** Milliseconds, more than 0. */
  readonly leftMs: number;
}

/**
 * Counts that all processes on one store share. A window begins with its first count and lasts `perMs`; then it is
 * forgotten. Counts are not precious: they survive the end of a process, but not necessarily that of the store.
 */
export interface RateCounter {
  /**
   * Adds `add` to the count of `key`, atomically, and gives the sum. At once (no promise) where the store is in this
   * process. Throws or rejects with a Fault.
   */
  countRate(key: string, add: number, perMs: number): MaybePromise<RateCount>;
  /** Whether nothing is known that speaks against the next count getting through. */
  readonly countsRates: boolean;
}
