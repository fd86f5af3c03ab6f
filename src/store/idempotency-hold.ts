import { LIMITS } from '../base/limits.ts';

/**
 * How long a claim without an answer holds its key, milliseconds. A call ends long before; a process that died in the
 * middle of one must not block the key for as long as an answer is remembered.
 */
const CLAIM_HOLD_MS = 5 * 60_000;

export function claimEnds(now: number): number {
  return now + CLAIM_HOLD_MS;
}

export function answerEnds(now: number): number {
  return now + LIMITS.idempotencyMs;
}
