import { randomInt } from 'node:crypto';
import { loadavg } from 'node:os';
import { Chance } from './chance.ts';
import { Fleet, type FleetOptions } from './fleet.ts';
import { type Storm, type StormOptions, storm } from './storm.ts';

export const LEASE_MS = 1000;
export const SEED = Number(process.env['PORTCULLIS_SEED'] ?? randomInt(2 ** 32));

export const CALM: StormOptions = {
  revocations: 10,
  leaseMs: LEASE_MS,
  load: 6,
  revokers: 1,
  trouble: 'none',
  foreign: 0.4,
  redisRestarts: 0,
};

/** One kind of weather after another, on the same replicas. */
export async function drive(
  program: string,
  replicas: Omit<FleetOptions, 'leaseMs'>,
  ...weather: readonly StormOptions[]
): Promise<Storm[]> {
  const fleet = await Fleet.start(program, { ...replicas, leaseMs: LEASE_MS });
  try {
    const seen: Storm[] = [];
    for (const options of weather) seen.push(await storm(fleet, new Chance(SEED), options));
    return seen;
  } finally {
    await fleet.close();
  }
}

export function summary({ requests, streams, lives, healthyMs, troubledMs, slowest, troubles }: Storm): string {
  const answers: Record<string, number> = {};
  for (const { status, reason } of requests) {
    const kind = status === 0 ? 'none' : `${status}${reason === null ? '' : ` ${reason}`}`;
    answers[kind] = (answers[kind] ?? 0) + 1;
  }
  const revoked = lives.filter(({ revokedAt }) => revokedAt < Infinity).length;
  return [
    `seed ${SEED}: ${revoked} revocations, ${requests.length} requests ${JSON.stringify(answers)}, ${streams.length} streams`,
    `troubles ${JSON.stringify(troubles)}`,
    `revoke with every replica well: ${spread(healthyMs)}; with one in trouble: ${spread(troubledMs)}, of which ${slowest.elapsedMs.toFixed(0)} ms from the announcement on; load ${(loadavg()[0] ?? 0).toFixed(1)}`,
  ].join('\n');
}

function spread(sorted: readonly number[]): string {
  return sorted.length === 0
    ? 'none'
    : `p50 ${quantile(sorted, 0.5).toFixed(1)} ms, worst ${quantile(sorted, 1).toFixed(1)} ms of ${sorted.length}`;
}

export const quantile = (sorted: readonly number[], part: number): number =>
  sorted[Math.floor((sorted.length - 1) * part)] ?? 0;

/** What a busy machine adds to a call, by what it added in calm weather: to all of them, and now and then to one, milliseconds. */
export const slowness = (calm: Storm): number =>
  Math.max(10 * quantile(calm.healthyMs, 0.5), 3 * quantile(calm.healthyMs, 1));
