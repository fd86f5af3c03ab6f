/*
 * The same promise with the embedded store: three gateway processes on one file, stopped, killed and started again at
 * random. One of them hears of its sockets before it hears of its timers when it was stopped.
 */
import { describe, expect, it } from 'vitest';
import { CALM, drive, LEASE_MS, quantile, SEED, slowness, summary } from './drive.ts';
import { brokenPromises } from './history.ts';
import { LATE_TIMERS, PROGRAM, STALE_PROGRAM, UNMARKED_PROGRAM } from './replica-process.ts';
import type { Storm, StormOptions } from './storm.ts';

const REPLICAS = { store: 'embedded', replicas: 3, node: [LATE_TIMERS] } as const;
const REVOCATIONS = Number(process.env['PORTCULLIS_REVOCATIONS'] ?? 10);
const PATIENCE_MS = 60_000 + REVOCATIONS * 3000;

const STORM: StormOptions = { ...CALM, revocations: REVOCATIONS, revokers: 4, trouble: 'random' };

/** The first one is stopped most of the time, so that also a short run sees it. */
const STOPPED: StormOptions = { ...CALM, revocations: 3, revokers: 3, trouble: 'one stopped' };

describe('a token whose revocation has returned, with processes on one file', () => {
  it(
    'is let in by none of them, whatever happens to them',
    async () => {
      const seen = await drive(PROGRAM, REPLICAS, { ...CALM, revocations: 3 }, STORM, STOPPED);
      for (const each of seen) process.stdout.write(`\nembedded, ${summary(each)}\n`);
      const broken = seen.flatMap(({ requests, lives, streams }) => brokenPromises(requests, lives, streams));
      expect(broken, `seed ${SEED}`).toEqual([]);
      const [calm, rough] = seen as [Storm, Storm, Storm];
      expect(rough.lives.filter(({ revokedAt }) => revokedAt < Infinity).length).toBe(REVOCATIONS);
      expect(rough.requests.filter(({ status }) => status === 200).length).toBeGreaterThan(10);
      const bound = LEASE_MS + 1000 + slowness(calm);
      expect(quantile(rough.troubledMs, 1), `seed ${SEED}: worst revocation, ms`).toBeLessThanOrEqual(bound);
    },
    PATIENCE_MS,
  );

  it('is seen to be let in by a build that trusts its memory without a lease', { timeout: 120_000 }, async () => {
    // Not every revocation meets a token that the stopped process remembers.
    const seen = await drive(STALE_PROGRAM, { ...REPLICAS, replicas: 2 }, { ...STOPPED, revocations: 9 });
    const broken = seen.flatMap(({ requests, lives, streams }) => brokenPromises(requests, lives, streams));
    expect(broken.filter((text) => text.includes('after its revocation returned')).length, `seed ${SEED}`).not.toBe(0);
  });

  it('is seen to be let in by a build that reports marks which it has not loaded', { timeout: 120_000 }, async () => {
    const calm = { ...CALM, revocations: 5, foreign: 1 };
    const seen = await drive(UNMARKED_PROGRAM, { store: 'embedded', replicas: 2 }, calm);
    const broken = seen.flatMap(({ requests, lives, streams }) => brokenPromises(requests, lives, streams));
    expect(broken.filter((text) => text.includes('after its revocation returned')).length, `seed ${SEED}`).not.toBe(0);
  });
});
