/** A process that served for so long was not ended by its start, milliseconds. */
const STABLE_MS = 10_000;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;

/** When a worker that has ended is started again: at once, and then more and more slowly while it ends again and again. */
export class BackOff {
  #inARow = 0;

  /** Ends in a row, the last of them soon after the start. */
  get inARow(): number {
    return this.#inARow;
  }

  /** It has ended after it served for `servedMs`, 0 where it did not get so far. Milliseconds until the next start. */
  pauseAfter(servedMs: number): number {
    this.#inARow = servedMs >= STABLE_MS ? 1 : this.#inARow + 1;
    if (this.#inARow === 1) return 0;
    return Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (this.#inARow - 2));
  }
}
