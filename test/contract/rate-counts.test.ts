import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Store } from '../../src/store/token-store.ts';
import { STORE_KINDS, type StoreData } from './store-harness.ts';

const HOUR_MS = 3_600_000;

describe.each(STORE_KINDS)('counts of rate limits in the $name store', (kind) => {
  let started: Awaited<ReturnType<typeof kind.start>>;
  let data: StoreData;
  let store: Store;

  beforeAll(async () => {
    started = await kind.start();
  });
  afterAll(() => started.stop());
  beforeEach(async () => {
    data = await started.fresh();
    store = await data.open();
  });
  afterEach(() => data.remove());

  it('add up over every instance, and tell how much of the window is left', async () => {
    const other = await data.open();
    expect(await store.countRate('a', 3, HOUR_MS)).toEqual({ count: 3, leftMs: HOUR_MS });
    const { count, leftMs } = await other.countRate('a', 2, HOUR_MS);
    expect(count).toBe(5);
    expect(leftMs).toBeLessThanOrEqual(HOUR_MS);
    expect(leftMs).toBeGreaterThan(HOUR_MS - 60_000);
    expect((await other.countRate('a', 0, HOUR_MS)).count).toBe(5);
    expect((await store.countRate('b', 1, HOUR_MS)).count).toBe(1);
    expect(store.countsRates).toBe(true);
  });

  it('give each of many that count at once a number of its own', async () => {
    const other = await data.open();
    const counts = await Promise.all(
      Array.from({ length: 40 }, (_, index) => (index % 2 === 0 ? store : other).countRate('a', 1, HOUR_MS)),
    );
    expect(counts.map(({ count }) => count).toSorted((a, b) => a - b)).toEqual(
      Array.from({ length: 40 }, (_, index) => index + 1),
    );
  });

  it('begin anew when the window is over, of whatever length it is', async () => {
    const { leftMs } = await store.countRate('a', 7, 150);
    expect(leftMs).toBeLessThanOrEqual(150);
    let again = await store.countRate('a', 1, 150);
    while (again.count > 1) {
      await new Promise((resolve) => setTimeout(resolve, again.leftMs + 1));
      again = await store.countRate('a', 1, 150);
    }
    expect(again).toEqual({ count: 1, leftMs: 150 });
  });

  it('take the clock stepping back for a window that is over', async () => {
    await store.countRate('a', 7, HOUR_MS);
    expect(await store.countRate('a', 1, 1000)).toEqual({ count: 1, leftMs: 1000 });
  });

  it('fail with a fault once the store is closed', async () => {
    await store.close();
    await expect((async () => await store.countRate('a', 1, HOUR_MS))()).rejects.toMatchObject({
      code: 'store_unavailable',
    });
  });
});
