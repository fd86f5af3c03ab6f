/** When a token is renewed and how failures are spaced: pure, with the time as an argument. All in milliseconds. */

/** What is known of a token's life; moments are milliseconds since the epoch. */
export interface TokenLife {
  /** Issue or last rotation. */
  readonly startedAt: number;
  readonly expiresAt: number;
  /** When its class wants it rotated. */
  readonly rotateAfter: number | null;
}

/** Longest and shortest pause between two attempts. */
const RETRY_MS = { first: 500, shortest: 250, longest: 60_000 } as const;

/** Below this part of what was left when the renewal was due, people are told that the end is near. */
const SHORT = 1 / 2;

/**
 * The moment from which the token is to be rotated: so long before its end as was asked for, else when its class says,
 * else after two thirds of its life. What would have it rotated all the time, or never, counts as not said.
 */
export function rotationDue(life: TokenLife, rotateBeforeMs: number | null): number {
  const { startedAt, expiresAt, rotateAfter } = life;
  if (rotateBeforeMs !== null && expiresAt - rotateBeforeMs > startedAt) return expiresAt - rotateBeforeMs;
  if (rotateBeforeMs === null && rotateAfter !== null && rotateAfter < expiresAt) return rotateAfter;
  return startedAt + ((expiresAt - startedAt) * 2) / 3;
}

/**
 * The pause after so many failures in a row: doubling, with jitter so that a fleet does not come back in one moment,
 * and the shorter the less life is left, so that an outage that ends just in time is not slept through.
 */
export function retryPause(failures: number, remainingMs: number | null, random: () => number): number {
  const doubled = RETRY_MS.first * 2 ** Math.min(failures - 1, 20);
  const patience = remainingMs === null ? RETRY_MS.longest : Math.max(RETRY_MS.shortest, remainingMs / 10);
  return Math.round(Math.min(doubled, RETRY_MS.longest, patience) * (0.5 + random() / 2));
}

/**
 * How often the time that was left when the renewal was due has halved since; 0 while there is more than half of it.
 * A higher number than before is worth a warning.
 */
export function urgency(life: TokenLife, due: number, now: number): number {
  const whole = life.expiresAt - due;
  const left = life.expiresAt - now;
  if (whole <= 0 || left <= 0) return 64;
  return left > whole * SHORT ? 0 : Math.min(64, Math.floor(Math.log2(whole / left)));
}

/** `3d 4h`, `2h 5m`, `40s`: for people, in two units at most. */
export function spanForPeople(milliseconds: number): string {
  let seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const parts: string[] = [];
  for (const [unit, size] of [
    ['d', 86_400],
    ['h', 3600],
    ['m', 60],
    ['s', 1],
  ] as const) {
    const count = Math.floor(seconds / size);
    seconds -= count * size;
    if (count > 0) parts.push(`${count}${unit}`);
    else if (parts.length > 0) break;
    if (parts.length === 2) break;
  }
  return parts.join(' ') || '0s';
}
