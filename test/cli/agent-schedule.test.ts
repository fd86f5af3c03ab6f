import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { retryPause, rotationDue, spanForPeople, urgency } from '../../src/cli/agent/schedule.ts';

const HOUR = 3_600_000;
const life = { startedAt: 0, expiresAt: 3 * HOUR, rotateAfter: null };

describe('a rotation is due', () => {
  it('when it was asked for, else when the class says, else after two thirds of the life', () => {
    expect(rotationDue(life, null)).toBe(2 * HOUR);
    expect(rotationDue({ ...life, rotateAfter: HOUR }, null)).toBe(HOUR);
    expect(rotationDue({ ...life, rotateAfter: HOUR }, HOUR / 2)).toBe(2.5 * HOUR);
    // The class lets the token end before it wants it rotated.
    expect(rotationDue({ ...life, rotateAfter: 5 * HOUR }, null)).toBe(2 * HOUR);
    // More than the whole life would have it rotated without end.
    expect(rotationDue(life, 3 * HOUR)).toBe(2 * HOUR);
  });

  it('before the end and, on its own reckoning, after the start', () => {
    const moments = fc.record({
      startedAt: fc.nat(),
      lived: fc.integer({ min: 1, max: 1e12 }),
      rotateBefore: fc.option(fc.integer({ min: 1, max: 1e12 })),
    });
    fc.assert(
      fc.property(moments, ({ startedAt, lived, rotateBefore }) => {
        const expiresAt = startedAt + lived;
        const due = rotationDue({ startedAt, expiresAt, rotateAfter: null }, rotateBefore);
        expect(due).toBeGreaterThan(startedAt);
        expect(due).toBeLessThan(expiresAt);
      }),
    );
  });
});

describe('the pause before another attempt', () => {
  it('doubles up to a minute, and is shorter when little life is left', () => {
    const pauses = [1, 2, 3, 4, 20, 1000].map((failures) => retryPause(failures, null, () => 1));
    expect(pauses).toEqual([500, 1000, 2000, 4000, 60_000, 60_000]);
    expect(retryPause(20, 100_000, () => 1)).toBe(10_000);
    expect(retryPause(20, -1, () => 1)).toBe(250);
  });

  it('has jitter, and is never nothing', () => {
    const arguments_ = fc.tuple(
      fc.integer({ min: 1, max: 1e6 }),
      fc.option(fc.integer()),
      fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
    );
    fc.assert(
      fc.property(arguments_, ([failures, remaining, random]) => {
        const pause = retryPause(failures, remaining, () => random);
        expect(pause).toBeGreaterThanOrEqual(125);
        expect(pause).toBeLessThanOrEqual(60_000);
      }),
    );
    expect(retryPause(3, null, () => 0)).toBe(1000);
  });
});

it('it is urgent when half of the time that was left is gone, and more so with every half after it', () => {
  const due = 2 * HOUR;
  const at = (left: number) => urgency(life, due, life.expiresAt - left);
  expect([HOUR, HOUR / 2 + 1, HOUR / 2, HOUR / 4, HOUR / 8, 0, -1].map(at)).toEqual([0, 0, 1, 2, 3, 64, 64]);
});

it('tells spans as people do', () => {
  const spans = [0, 999, 40_000, 2 * HOUR + 300_000, 76 * HOUR, 24 * HOUR, 24 * HOUR + 5000];
  expect(spans.map(spanForPeople)).toEqual(['0s', '0s', '40s', '2h 5m', '3d 4h', '1d', '1d']);
});
