import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Store } from '../../src/store/token-store.ts';
import { aMark } from '../contract/mark-fixture.ts';
import { aToken, NOW, revoked } from '../contract/token-fixture.ts';
import { RedisBench, UNAVAILABLE } from './redis-bench.ts';
import { startCluster, until } from './redis-topology.ts';

describe('the store in a cluster of three primaries and three replicas', () => {
  let bench: RedisBench;
  beforeEach(() => {
    bench = new RedisBench();
  });
  afterEach(() => bench.clear());

  it('spreads records over the slots, goes on after a primary was killed, and loses nothing acknowledged', async () => {
    const nodes = await startCluster(bench);
    const connection = {
      kind: 'cluster' as const,
      // Not all of them: the others are found.
      nodes: nodes.slice(1, 3).map(({ server }) => `127.0.0.1:${server.port}`),
      password: null,
    };
    const store = await bench.open('', { connection, wait: { replicas: 1, timeoutMs: 20_000 } });
    const impatient = await bench.open('', { connection, wait: { replicas: 1, timeoutMs: 2000 } });
    const records = Array.from({ length: 30 }, (_, index) => aToken({ created_at: NOW + index }));
    for (const record of records) expect(await store.create(record)).toBe(true);
    const ended = records.filter((_, index) => index % 3 === 0);
    for (const record of ended) expect(await store.replace(1, revoked(record))).toBe(true);
    const expected = records.map((record) => (ended.includes(record) ? revoked(record) : record));
    expect(await all(store, expected)).toEqual(expected);
    const owners = await Promise.all(
      nodes.slice(0, 3).map(async ({ client }) => (await client.keys('test:token:*')).length),
    );
    expect([Math.min(...owners) > 0, owners.reduce((sum, each) => sum + each)]).toEqual([true, 30]);

    const rates = Array.from({ length: 10 }, (_, index) => store.countRate(`key ${index}`, 2, 60_000));
    expect((await Promise.all(rates)).map(({ count }) => count)).toEqual(Array.from({ length: 10 }, () => 2));
    const proofs = Array.from({ length: 10 }, (_, index) => store.rememberProof(`key ${index}`, 60_000));
    expect(await Promise.all(proofs)).toEqual(Array.from({ length: 10 }, () => true));

    const mark = aMark({ jti: 'one' });
    const { last } = await store.renew('one', { applied: null, closed: new Map() });
    for (const repeated of [false, true]) expect(await store.putMark(mark, 10)).toEqual({ mark, repeated });
    const { entries } = await store.renew('one', { applied: last, closed: new Map() });
    expect(entries.map(({ id }) => id)).toEqual([mark.id]);

    const [primary] = nodes;
    const lost = await anIdOn(primary?.client);
    await primary?.server.kill();
    await expect(store.find(lost)).rejects.toMatchObject(UNAVAILABLE);
    await until('all records are there again', async () => (await all(store, expected)).length === 30, 30_000);
    expect(await all(store, expected)).toEqual(expected);
    await until('the marks are there again', async () => (await store.allMarks()).length === 1);
    expect(await store.findMarks([mark.id])).toEqual([mark]);
    const { tokens } = await store.list({ status: 'revoked' }, { limit: 100, cursor: null, now: NOW });
    expect(tokens.map(({ record }) => record.id)).toEqual(ended.map(({ id }) => id).toReversed());

    // The shard without a replica takes no change now; the others do.
    const active = expected.filter(({ revoked_at }) => revoked_at === null);
    const outcomes = await Promise.all(
      active.map(async (record) =>
        impatient.replace(1, revoked(record)).then(
          () => 'taken',
          () => 'refused',
        ),
      ),
    );
    expect([...new Set(outcomes)].toSorted()).toEqual(['refused', 'taken']);
  }, 60_000);
});

async function all(store: Store, records: readonly { readonly id: string }[]) {
  return await Promise.all(records.map(({ id }) => store.find(id)));
}

async function anIdOn(node: { keys(pattern: string): Promise<string[]> } | undefined): Promise<string> {
  const [key] = (await node?.keys('test:token:*')) ?? [];
  return /\{(.+)\}/.exec(key ?? '')?.[1] ?? '';
}
