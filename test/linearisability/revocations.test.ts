/*
 * "When a revoke call has returned success, no replica lets that token in again": three replicas and a Redis of their
 * own, under load, while replicas are paused, cut off and killed and Redis is restarted, at random from a printed seed.
 *
 * PORTCULLIS_REVOCATIONS=500 makes the run long, PORTCULLIS_SEED=… repeats one, PORTCULLIS_PROGRAM=…/main.ts drives
 * another build.
 */
import { describe, expect, it } from 'vitest';
import { CALM, drive, LEASE_MS, quantile, SEED, slowness, summary } from './drive.ts';
import { brokenPromises } from './history.ts';
import { PROGRAM, STALE_PROGRAM } from './replica-process.ts';
import type { Storm, StormOptions } from './storm.ts';

const REPLICAS = { store: 'redis', replicas: 3 } as const;
const REVOCATIONS = Number(process.env['PORTCULLIS_REVOCATIONS'] ?? 40);
const PATIENCE_MS = 60_000 + REVOCATIONS * 3000;

const STORM: StormOptions = {
  ...CALM,
  revocations: REVOCATIONS,
  revokers: 4,
  trouble: 'random',
  redisRestarts: Math.max(1, Math.floor(REVOCATIONS / 100)),
};

describe('a token whose revocation has returned', () => {
  it(
    'is let in by nobody, whatever happens to replicas and to Redis',
    async () => {
      const seen = await drive(PROGRAM, REPLICAS, CALM, STORM);
      for (const each of seen) process.stdout.write(`\n${summary(each)}\n`);
      const broken = seen.flatMap(({ requests, lives, streams }) => brokenPromises(requests, lives, streams));
      expect(broken, `seed ${SEED}`).toEqual([]);
      const [calm, rough] = seen as [Storm, Storm];
      expect(rough.lives.filter(({ revokedAt }) => revokedAt < Infinity).length).toBe(REVOCATIONS);
      expect(rough.requests.filter(({ status }) => status === 200).length).toBeGreaterThan(50);
      const bound = LEASE_MS + 1000 + slowness(calm);
      expect(quantile(rough.troubledMs, 1), `seed ${SEED}: worst revocation, ms`).toBeLessThanOrEqual(bound);
    },
    PATIENCE_MS,
  );

  it('is seen to be let in by a build that trusts its memory without a lease', { timeout: 120_000 }, async () => {
    const seen = await drive(STALE_PROGRAM, REPLICAS, { ...CALM, revocations: 6, revokers: 3, trouble: 'one cut off' });
    const broken = seen.flatMap(({ requests, lives, streams }) => brokenPromises(requests, lives, streams));
    expect(broken.filter((text) => text.includes('after its revocation returned')).length, `seed ${SEED}`).not.toBe(0);
  });
});
