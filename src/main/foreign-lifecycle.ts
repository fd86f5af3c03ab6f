import type { ForeignLifecycle } from '../lifecycle/mark.ts';
import type { Replication } from './replication.ts';

/** What the configuration says of the times of tokens that others issue, milliseconds. */
export interface ForeignTimes {
  readonly clockSkewMs: number;
  readonly maxLifetimeMs: number;
}

/** Marks are kept as if tokens could live so long, milliseconds: `max_lifetime` may be raised after a revocation. */
const LEAST_LIFE_MS = 30 * 24 * 3_600_000;

/** `issuers`: empty where none is configured; `introspects`: whether servers are asked about tokens, which tell no bound of their lives. */
export function foreignLifecycle(
  issuers: readonly ForeignTimes[],
  introspects: boolean,
  replication: Replication,
): ForeignLifecycle {
  return {
    putMark: (mark, most) => replication.marks.put(mark, most),
    clockSkewMs: Math.max(introspects ? INTROSPECTED_SKEW_MS : 0, ...issuers.map(({ clockSkewMs }) => clockSkewMs)),
    longestLifeMs: introspects ? null : Math.max(LEAST_LIFE_MS, ...issuers.map(({ maxLifetimeMs }) => maxLifetimeMs)),
    countOpen: (fits) => replication.countOpen(fits),
  };
}

/** Of servers that are asked nobody says how far their clocks are apart. */
const INTROSPECTED_SKEW_MS = 60_000;
