import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { allowanceOf, RateWindow } from '../../src/gateway/rate-window.ts';
import type { RateCount } from '../../src/store/rate-counter.ts';

const PER_MS = 60_000;

/** A counter whose answers arrive when the test says so, in the order in which they were asked for. */
class SlowCounter {
  count = 0;
  questions = 0;
  readonly #pending: (() => void)[] = [];

  ask(add: number): Promise<RateCount> {
    this.questions += 1;
    return new Promise((resolve) => {
      this.#pending.push(() => {
        this.count += add;
        resolve({ count: this.count, leftMs: PER_MS });
      });
    });
  }

  answerNext(): void {
    this.#pending.shift()?.();
  }

  get idle(): boolean {
    return this.#pending.length === 0;
  }
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Requests at replicas (0, 1, …) and answers of the store (-1) in any order. Places within the limit: let through. */
async function letThrough(
  requests: number,
  replicas: number,
  steps: readonly number[],
): Promise<{ readonly passed: number; readonly counter: SlowCounter }> {
  const counter = new SlowCounter();
  const limit = { requests, perMs: PER_MS, by: 'token' as const };
  const services = { count: (_window: RateWindow, add: number) => counter.ask(add), monotonic: () => 0 };
  const windows = Array.from({ length: replicas }, () => new RateWindow('key', limit, services, 0));
  const allowance = allowanceOf(requests, replicas);
  let passed = 0;
  const place = (given: number): void => {
    if (given <= requests) passed += 1;
  };
  for (const step of steps) {
    const window = windows[step];
    if (window === undefined) {
      counter.answerNext();
      await settled();
      continue;
    }
    const given = window.take(allowance, allowance * replicas);
    if (given instanceof Promise) void given.then(place);
    else place(given);
  }
  while (!counter.idle) {
    counter.answerNext();
    await settled();
  }
  return { passed, counter };
}

describe('a limit that several processes share', () => {
  it('is exceeded by 5 % at most, and reached wherever enough is asked for, whatever the order of things', async () => {
    const scene = fc
      .record({ requests: fc.integer({ min: 1, max: 120 }), replicas: fc.integer({ min: 1, max: 4 }) })
      .chain(({ requests, replicas }) =>
        fc.record({
          requests: fc.constant(requests),
          replicas: fc.constant(replicas),
          steps: fc.array(fc.integer({ min: -1, max: replicas - 1 }), { maxLength: 200, size: 'max' }),
        }),
      );
    await fc.assert(
      fc.asyncProperty(scene, async ({ requests, replicas, steps }) => {
        const { passed } = await letThrough(requests, replicas, steps);
        const asked = steps.filter((step) => step >= 0).length;
        expect(passed).toBeLessThanOrEqual(requests * 1.05);
        expect(passed).toBeGreaterThanOrEqual(Math.min(asked, requests));
      }),
      { numRuns: 200 },
    );
  });

  it('asks the store for nothing far below the limit, and then once for several requests', async () => {
    const few = await letThrough(
      1000,
      2,
      Array.from({ length: 12 }, () => 0),
    );
    expect([few.passed, few.counter.questions]).toEqual([12, 0]);
    const many = await letThrough(
      1000,
      2,
      Array.from({ length: 800 }, (_, i) => (i % 2 === 0 ? 0 : -1)),
    );
    expect(many.passed).toBe(400);
    expect(many.counter.questions).toBeLessThanOrEqual(400 / 12);
  });

  it('allows fewer unknown requests with every replica, and none where the limit is small', () => {
    expect([1, 2, 3, 6, 7].map((replicas) => allowanceOf(100, replicas))).toEqual([6, 3, 2, 1, 0]);
    expect([19, 20].map((requests) => allowanceOf(requests, 2))).toEqual([0, 1]);
  });
});
