import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Store } from '../../src/store/token-store.ts';
import { STORE_KINDS, type StoreData } from './store-harness.ts';

const HOUR_MS = 3_600_000;

describe.each(STORE_KINDS)('proofs in the $name store', (kind) => {
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

  it('are new once, for every instance', async () => {
    const other = await data.open();
    expect(await store.rememberProof('a', HOUR_MS)).toBe(true);
    expect(await other.rememberProof('a', HOUR_MS)).toBe(false);
    expect(await store.rememberProof('a', HOUR_MS)).toBe(false);
    expect(await other.rememberProof('b', HOUR_MS)).toBe(true);
  });

  it('are new for exactly one of many that ask at once', async () => {
    const other = await data.open();
    const answers = await Promise.all(
      Array.from({ length: 40 }, (_, index) => (index % 2 === 0 ? store : other).rememberProof('a', HOUR_MS)),
    );
    expect(answers.filter(Boolean)).toHaveLength(1);
  });

  it('are forgotten when their time is over, and not before', async () => {
    expect(await store.rememberProof('long', HOUR_MS)).toBe(true);
    const begun = performance.now();
    expect(await store.rememberProof('short', 100)).toBe(true);
    while (!(await store.rememberProof('short', 100))) await new Promise((resolve) => setTimeout(resolve, 10));
    // The clock of a database counts whole milliseconds.
    expect(performance.now() - begun).toBeGreaterThanOrEqual(98);
    expect(await store.rememberProof('long', HOUR_MS)).toBe(false);
  });

  it('are told apart however long and strange their keys are', async () => {
    const long = 'x'.repeat(10_000);
    expect(await store.rememberProof(`${long}1`, HOUR_MS)).toBe(true);
    expect(await store.rememberProof(`${long}2`, HOUR_MS)).toBe(true);
    expect(await store.rememberProof('{a}\0\n', HOUR_MS)).toBe(true);
    expect(await store.rememberProof('{a}\0\n', HOUR_MS)).toBe(false);
  });

  it('have a key beside them that every instance shares, and another one of another name', async () => {
    const other = await data.open();
    const keys = await Promise.all([store.sharedKey('a'), other.sharedKey('a'), store.sharedKey('b')]);
    expect(keys[0]).toHaveLength(32);
    expect(keys[1]).toEqual(keys[0]);
    expect(keys[2]).not.toEqual(keys[0]);
    expect(await other.sharedKey('b')).toEqual(keys[2]);
  });

  it('fail with a fault once the store is closed', async () => {
    await store.close();
    await expect((async () => await store.rememberProof('a', HOUR_MS))()).rejects.toMatchObject({
      code: 'store_unavailable',
    });
  });
});
