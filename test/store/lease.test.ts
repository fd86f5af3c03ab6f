import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Lease, leaseMargin, stepAfter } from '../../src/store/lease.ts';

const entry = (position: string) => ({ position, kind: 'changed' as const, id: 'token' });

describe('a lease', () => {
  it('runs from the moment the renewal was sent, less the margin', () => {
    const lease = new Lease(1000);
    expect(lease.valid(0, 0)).toBe(false);
    lease.grant({ monotonic: 500, wall: 90_000 });
    expect(lease.valid(500 + 1000 - leaseMargin(1000) - 1, 90_000)).toBe(true);
    expect(lease.valid(500 + 1000 - leaseMargin(1000), 90_000)).toBe(false);
    expect(lease.remaining({ monotonic: 600, wall: 90_100 })).toBe(800);
    lease.withdraw();
    expect(lease.valid(501, 90_001)).toBe(false);
  });

  it('is not lengthened by the answer to an older renewal', () => {
    const lease = new Lease(1000);
    lease.grant({ monotonic: 500, wall: 500 });
    lease.grant({ monotonic: 100, wall: 100 });
    expect(lease.valid(1399, 1399)).toBe(true);
  });

  it('ends early when the wall clock says that more time has passed, and never later for what it says', () => {
    const lease = new Lease(1000);
    lease.grant({ monotonic: 0, wall: 1_000_000 });
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 3000 }), fc.integer({ min: -1e9, max: 1e9 }), (passed, step) => {
        const valid = lease.valid(passed, 1_000_000 + passed + step);
        expect(valid).toBe(passed < 900 && passed + step < 900);
      }),
    );
  });
});

describe('the step after a renewal', () => {
  const renewal = {
    last: '5-55',
    entries: [entry('4-44'), entry('5-55')],
    broken: false,
    reached: '3-33',
    replicas: 1,
  };

  it('of one in step applies what is new and then counts', () => {
    expect(stepAfter('3-33', false, renewal)).toEqual({
      flush: false,
      entries: renewal.entries,
      applied: '5-55',
      inStep: true,
    });
    expect(stepAfter('5-55', false, { ...renewal, entries: [] })).toEqual({
      flush: false,
      entries: [],
      applied: '5-55',
      inStep: true,
    });
  });

  it('does not count while there is more to fetch', () => {
    expect(stepAfter('3-33', false, { ...renewal, last: '9-99' })).toMatchObject({ applied: '5-55', inStep: false });
  });

  it('of one that has just begun, or whose place in the log is gone, forgets everything', () => {
    const anew = { flush: true, entries: [], applied: '5-55', inStep: true };
    expect(stepAfter(null, true, { ...renewal, entries: [], broken: true })).toEqual(anew);
    expect(stepAfter('7-77', false, { ...renewal, entries: [], broken: true })).toEqual(anew);
  });

  it('of one that was without a lease forgets everything as well', () => {
    expect(stepAfter('3-33', true, renewal)).toMatchObject({ flush: true, applied: '5-55', inStep: true });
  });
});
