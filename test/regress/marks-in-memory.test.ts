/*
 * Whoever holds a JWT may revoke it, and every revocation is kept in the memory of every process. The store lets go of those
 * whose tokens have ended; a process that never lost its lease never did. So clients that get short-lived tokens and revoke
 * them would fill the memory of the whole fleet, a few hundred bytes at a time, however few marks the store holds.
 */
import { expect, it } from 'vitest';
import type { RevocationMark } from '../../src/model/revocation-mark.ts';
import { KnownMarks } from '../../src/store/known-marks.ts';
import { Lease } from '../../src/store/lease.ts';
import { aForeign, aMark, MARKED_AT } from '../contract/mark-fixture.ts';

const HOUR_MS = 3_600_000;

it('forgets the marks that have ended, also where nothing is ever loaded anew', async () => {
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

  for (let i = 0; i < 900; i += 1) await heard(`first ${i}`);
  expect(known()).toBe(900);
  now += HOUR_MS;
  for (let i = 0; i < 900; i += 1) await heard(`second ${i}`);
  expect(known()).toBe(900);
});
