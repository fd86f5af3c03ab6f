/*
 * Whoever holds a JWT may revoke it, and every revocation is kept in the memory of every process. The store lets go of those
 * whose tokens have ended; a process that never lost its lease never did. So clients that get short-lived tokens and revoke
 * them would fill the memory of the whole fleet, a few hundred bytes at a time, however few marks the store holds.
 */
import { expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import type { RevocationMark } from '../../src/model/revocation-mark.ts';
import { KnownMarks } from '../../src/store/known-marks.ts';
import { Lease } from '../../src/store/lease.ts';
import { aForeign, aMark, MARKED_AT } from '../contract/mark-fixture.ts';

const HOUR_MS = 3_600_000;

function marksInMemory() {
  let now = MARKED_AT;
  const stored = new Map<string, RevocationMark>();
  const marks = new KnownMarks({
    store: {
      findMarks: async (ids) => ids.flatMap((id) => stored.get(id) ?? []),
      allMarks: async () => [...stored.values()],
      putMark: async (mark) => ({ mark, repeated: false }),
    },
    lease: new Lease(1000),
    leaseMs: 1000,
    clock: { now: () => now, monotonic: () => now },
    reader: { mayServeStale: () => false, confirm: () => undefined },
    onStaleAnswer: () => undefined,
  });
  const heard = async (jti: string): Promise<void> => {
    const mark = aMark({ jti, keepUntil: now + HOUR_MS });
    stored.set(mark.id, mark);
    await marks.load([mark.id]);
  };
  const known = (): number => [...stored.values()].filter(({ jti }) => marks.knows(aForeign({ jti }))).length;

  const hearMany = async (name: string, count: number): Promise<void> => {
    for (let i = 0; i < count; i += 1) await heard(`${name} ${i}`);
  };
  return {
    hearMany,
    known,
    pass: (ms: number) => {
      now += ms;
    },
  };
}

it('forgets the marks that have ended, also where nothing is ever loaded anew', async () => {
  const { hearMany, known, pass } = marksInMemory();
  await hearMany('first', 900);
  expect(known()).toBe(900);
  pass(25 * HOUR_MS);
  await hearMany('second', 900);
  expect(known()).toBe(900);
});

it('has no more of those that ended of late than there may be marks', async () => {
  const { hearMany, known, pass } = marksInMemory();
  await hearMany('first', LIMITS.revocationMarks);
  pass(HOUR_MS);
  await hearMany('second', 1_000);
  expect(known()).toBe(1_000);
});

/* Swept by a clock that is ahead, the marks were gone for good, and their tokens let in again once the clock was right. */
it('has them all when the clock was half a day ahead for a while', async () => {
  const { hearMany, known, pass } = marksInMemory();
  await hearMany('before', 10);
  pass(12 * HOUR_MS);
  await hearMany('meanwhile', 2_000);
  pass(-12 * HOUR_MS);
  expect(known()).toBe(2_010);
});
