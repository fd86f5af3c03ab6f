import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import type { Store } from '../../src/store/token-store.ts';
import { STORE_KINDS, type StoreData } from './store-harness.ts';
import { NOW } from './token-fixture.ts';

const UNDER_WAY = { fingerprint: 'body-1', value: null };
const ANSWERED = { fingerprint: 'body-1', value: '{"id":"abc"}' };

describe.each(STORE_KINDS)('idempotent answers and audit checkpoints in the $name store', (kind) => {
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

  it('gives a free key to the first who claims it, and tells the others what is known', async () => {
    expect(await store.claim('key', 'body-1', NOW)).toBeNull();
    expect(await store.claim('key', 'body-2', NOW)).toEqual(UNDER_WAY);
    await store.remember('key', 'body-1', ANSWERED.value, NOW);
    expect(await store.claim('key', 'body-1', NOW)).toEqual(ANSWERED);
    expect(await store.claim('key', 'body-2', NOW)).toEqual(ANSWERED);
    expect(await store.claim('other key', 'body-1', NOW)).toBeNull();
  });

  it('gives a key to exactly one of many who claim it at once, through any instance', async () => {
    const other = await data.open();
    const claims = Array.from({ length: 20 }, (_, index) => (index % 2 ? store : other).claim('key', 'body-1', NOW));
    const outcomes = await Promise.all(claims);
    expect(outcomes.filter((outcome) => outcome === null)).toHaveLength(1);
    expect(outcomes.filter((outcome) => outcome !== null)).toEqual(Array.from({ length: 19 }, () => UNDER_WAY));
  });

  it('frees a key that is released, but not an answer that was given', async () => {
    await store.claim('key', 'body-1', NOW);
    await store.release('key');
    expect(await store.claim('key', 'body-1', NOW)).toBeNull();
    await store.remember('key', 'body-1', ANSWERED.value, NOW);
    await store.release('key');
    expect(await store.claim('key', 'body-1', NOW)).toEqual(ANSWERED);
    await expect(store.release('never claimed')).resolves.toBeUndefined();
  });

  it('keeps the answer that was given first', async () => {
    await store.claim('key', 'body-1', NOW);
    await store.remember('key', 'body-1', ANSWERED.value, NOW);
    await store.remember('key', 'body-1', 'another', NOW);
    expect(await store.claim('key', 'body-1', NOW)).toEqual(ANSWERED);
  });

  it('forgets an answer when its time is over, and a claim without an answer long before', async () => {
    await store.claim('key', 'body-1', NOW);
    await store.remember('key', 'body-1', ANSWERED.value, NOW);
    expect(await store.claim('key', 'body-1', NOW + LIMITS.idempotencyMs - 1)).toEqual(ANSWERED);
    expect(await store.claim('key', 'body-2', NOW + LIMITS.idempotencyMs)).toBeNull();
    await store.claim('crashed', 'body-1', NOW);
    expect(await store.claim('crashed', 'body-1', NOW + 60_000)).toEqual(UNDER_WAY);
    expect(await store.claim('crashed', 'body-1', NOW + 3_600_000)).toBeNull();
  });

  it('takes any text as a key', async () => {
    for (const key of ['', ' ', '{a}', 'ключ', 'x'.repeat(4096), 'a\u0000b']) {
      expect(await store.claim(key, 'body-1', NOW), key).toBeNull();
      expect(await store.claim(key, 'body-1', NOW), key).toEqual(UNDER_WAY);
    }
  });

  it('keeps the newest checkpoint of each chain, also when an older one arrives late', async () => {
    const checkpoint = { chain: 'gateway-1', seq: 41, hash: 'a'.repeat(64), time: NOW };
    expect(await store.lastCheckpoint('gateway-1')).toBeNull();
    await store.saveCheckpoint(checkpoint);
    await store.saveCheckpoint({ ...checkpoint, chain: 'gateway-2', seq: 7 });
    expect(await store.lastCheckpoint('gateway-1')).toEqual(checkpoint);
    const newer = { ...checkpoint, seq: 1042, hash: 'b'.repeat(64), time: NOW + 1 };
    await store.saveCheckpoint(newer);
    await store.saveCheckpoint({ ...checkpoint, seq: 42, hash: 'c'.repeat(64), time: NOW + 2 });
    expect(await (await data.open()).lastCheckpoint('gateway-1')).toEqual(newer);
    expect(await store.lastCheckpoint('gateway-2')).toEqual({ ...checkpoint, chain: 'gateway-2', seq: 7 });
  });
});
