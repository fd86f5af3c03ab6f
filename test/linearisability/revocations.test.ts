/*
 * "When a revoke call has returned success, no replica lets that token in again": three replicas and a Redis of their
 * own, under load, while replicas are paused, cut off and killed and Redis is restarted, at random from a printed seed.
 *
 * PORTCULLIS_REVOCATIONS=500 makes the run long, PORTCULLIS_SEED=… repeats one, PORTCULLIS_PROGRAM=…/main.ts drives
 * another build.
 */
import { randomInt } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { Chance } from './chance.ts';
import { Fleet } from './fleet.ts';
import { brokenPromises } from './history.ts';
import { PROGRAM, STALE_PROGRAM } from './replica-process.ts';
import { type Storm, type StormOptions, storm } from './storm.ts';

const REPLICAS = 3;
const LEASE_MS = 1000;
const REVOCATIONS = Number(process.env['PORTCULLIS_REVOCATIONS'] ?? 40);
const SEED = Number(process.env['PORTCULLIS_SEED'] ?? randomInt(2 ** 32));
const PATIENCE_MS = 60_000 + REVOCATIONS * 3000;

const CALM: StormOptions = {
  revocations: 10,
  leaseMs: LEASE_MS,
  load: 6,
  revokers: 1,
  trouble: 'none',
  redisRestarts: 0,
};

const STORM: StormOptions = {
  ...CALM,
  revocations: REVOCATIONS,
  revokers: 4,
  trouble: 'random',
  redisRestarts: Math.max(1, Math.floor(REVOCATIONS / 100)),
};

async function drive(program: string, ...weather: readonly StormOptions[]): Promise<Storm[]> {
  const fleet = await Fleet.start(program, REPLICAS, LEASE_MS);
  try {
    const seen: Storm[] = [];
    for (const options of weather) seen.push(await storm(fleet, new Chance(SEED), options));
    return seen;
  } finally {
    await fleet.close();
  }
}

function summary({ requests, streams, lives, healthyMs, troubledMs, troubles }: Storm): string {
  const answers: Record<string, number> = {};
  for (const { status, reason } of requests) {
    const kind = status === 0 ? 'none' : `${status}${reason === null ? '' : ` ${reason}`}`;
    answers[kind] = (answers[kind] ?? 0) + 1;
  }
  const revoked = lives.filter(({ revokedAt }) => revokedAt < Infinity).length;
  return [
    `seed ${SEED}: ${revoked} revocations, ${requests.length} requests ${JSON.stringify(answers)}, ${streams.length} streams`,
    `troubles ${JSON.stringify(troubles)}`,
    `revoke with every replica well: ${spread(healthyMs)}; with one in trouble: ${spread(troubledMs)}`,
  ].join('\n');
}

function spread(sorted: readonly number[]): string {
  return sorted.length === 0
    ? 'none'
    : `p50 ${quantile(sorted, 0.5).toFixed(1)} ms, worst ${quantile(sorted, 1).toFixed(1)} ms of ${sorted.length}`;
}

const quantile = (sorted: readonly number[], part: number): number =>
  sorted[Math.floor((sorted.length - 1) * part)] ?? 0;

describe('a token whose revocation has returned', () => {
  it(
    'is let in by nobody, whatever happens to replicas and to Redis',
    async () => {
      const seen = await drive(PROGRAM, CALM, STORM);
      for (const each of seen) process.stdout.write(`\n${summary(each)}\n`);
      const broken = seen.flatMap(({ requests, lives, streams }) => brokenPromises(requests, lives, streams));
      expect(broken, `seed ${SEED}`).toEqual([]);
      const [calm, rough] = seen as [Storm, Storm];
      expect(rough.lives.filter(({ revokedAt }) => revokedAt < Infinity).length).toBe(REVOCATIONS);
      expect(rough.requests.filter(({ status }) => status === 200).length).toBeGreaterThan(50);
      // What a busy machine adds to everything is seen in calm weather.
      const bound = LEASE_MS + 1000 + 10 * quantile(calm.healthyMs, 0.5);
      expect(quantile(rough.troubledMs, 1), `seed ${SEED}: worst revocation, ms`).toBeLessThanOrEqual(bound);
    },
    PATIENCE_MS,
  );

  it('is seen to be let in by a build that trusts its memory without a lease', { timeout: 120_000 }, async () => {
    const seen = await drive(STALE_PROGRAM, { ...CALM, revocations: 6, revokers: 3, trouble: 'one cut off' });
    const broken = seen.flatMap(({ requests, lives, streams }) => brokenPromises(requests, lives, streams));
    expect(broken.filter((text) => text.includes('after its revocation returned')).length, `seed ${SEED}`).not.toBe(0);
  });
});
