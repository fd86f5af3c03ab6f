import type { Clock } from '../base/clock.ts';
import type { LogEntry, LogPosition, Renewal } from './change-log.ts';

/** A moment on both clocks, milliseconds. */
export interface Moment {
  readonly monotonic: number;
  readonly wall: number;
}

export function momentOf(clock: Clock): Moment {
  return { monotonic: clock.monotonic(), wall: clock.now() };
}

/** What a revoker waits for longer than a replica trusts: drifting clocks, and the time between a check and its use. */
export function leaseMargin(leaseMs: number): number {
  return Math.max(10, leaseMs / 10);
}

/**
 * Until when this process may answer from what it remembers. It runs from the moment a renewal was *sent*, by the
 * monotonic clock. The wall clock can only end it early: a machine that was suspended may not have counted the time.
 */
export class Lease {
  readonly #trustedMs: number;
  #sent: Moment | null = null;

  constructor(leaseMs: number) {
    this.#trustedMs = leaseMs - leaseMargin(leaseMs);
  }

  /** A renewal that was sent at `sent` has been answered, and everything up to the position it named is applied. */
  grant(sent: Moment): void {
    if (this.#sent === null || sent.monotonic > this.#sent.monotonic) this.#sent = sent;
  }

  withdraw(): void {
    this.#sent = null;
  }

  valid(monotonic: number, wall: number): boolean {
    const sent = this.#sent;
    return sent !== null && monotonic - sent.monotonic < this.#trustedMs && wall - sent.wall < this.#trustedMs;
  }

  /** Milliseconds until it is over by the monotonic clock, 0 where it is. */
  remaining({ monotonic, wall }: Moment): number {
    if (this.#sent === null || !this.valid(monotonic, wall)) return 0;
    return this.#trustedMs - (monotonic - this.#sent.monotonic);
  }
}

/** What an answered renewal asks of the replica, in this order. */
export interface Step {
  /** Everything remembered may be stale. */
  readonly flush: boolean;
  readonly entries: readonly LogEntry[];
  /** The position that is applied when that is done. */
  readonly applied: LogPosition;
  /** Whether the lease counts from that renewal; otherwise there is more to fetch. */
  readonly inStep: boolean;
}

/** The next step of a replica that has applied `applied`. `lapsed`: it has been without a lease since it applied that. */
export function stepAfter(applied: LogPosition | null, lapsed: boolean, renewal: Renewal): Step {
  const { last, entries, broken } = renewal;
  if (applied === null || broken) return { flush: true, entries: [], applied: last, inStep: true };
  // A log that lost its newest entries may still hold the last one that was applied here, and what it lost may have
  // been waited for while this replica had no lease: what was remembered before the gap is not trusted after it.
  const reached = entries.at(-1)?.position ?? applied;
  return { flush: lapsed, entries, applied: reached, inStep: reached === last };
}
