/** Time as an argument, so that decisions stay pure and tests choose the moment. */
export interface Clock {
  /** Wall clock, milliseconds since the Unix epoch. For what people and tokens say. */
  now(): number;
  /** Monotonic clock, milliseconds from an arbitrary start. For durations; never steps. */
  monotonic(): number;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
};
