import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { aToken, revoked } from '../contract/token-fixture.ts';
import { type Answer, TestGateway } from '../support/gateway.ts';
import { TestUpstream } from '../support/upstream.ts';
import { RedisBench, UNAVAILABLE } from './redis-bench.ts';
import { primaryOf, startReplicas, startSentinels, until } from './redis-topology.ts';

let bench: RedisBench;
beforeEach(() => {
  bench = new RedisBench();
});
afterEach(() => bench.clear());

const POLICY = `api: orders
upstream: orders
base: /orders
rules:
  - { name: read, methods: [GET], path: /, scopes: [orders:read] }
`;

describe('a gateway on Redis behind Sentinel', () => {
  it('fails closed while the primary is gone, recovers by itself, and no acknowledged revocation is lost', async () => {
    const { primary, replicas, sentinels } = await startSentinels(bench);
    const upstream = await TestUpstream.start();
    const places = sentinels.map(({ port }) => `"127.0.0.1:${port}"`).join(', ');
    const gateway = await TestGateway.start({
      upstreams: { orders: upstream.url },
      policies: { 'orders.yaml': POLICY },
      config: {
        store: `{ kind: redis, sentinels: [${places}], name: main, wait_replicas: 1, wait_timeout: 2s }`,
      },
    });
    try {
      const [good, bad] = [await issued(gateway), await issued(gateway)];
      const call = async ({ token }: { token: string }): Promise<string> =>
        said(await gateway.call('/orders', { token }));
      await until('both are let in', async () => (await call(good)) === '200' && (await call(bad)) === '200');
      const doomed = await primaryOf(bench, [primary, ...replicas]);
      await until('the revocation is acknowledged', async () => (await revoke(gateway, bad.id)) === 200);
      await doomed.kill();

      const [goodOnes, badOnes] = [new Set<string>(), new Set<string>()];
      await until('the gateway lets the good token in again', async () => {
        badOnes.add(await call(bad));
        const answer = await call(good);
        goodOnes.add(answer);
        return answer === '200' && goodOnes.size > 1;
      });
      badOnes.add(await call(bad));
      expect([...goodOnes].toSorted()).toEqual(['200', '503 store_unavailable']);
      expect([...badOnes].toSorted()).toEqual(['401 token_revoked', '503 store_unavailable']);
      // The new primary takes changes, and the replica that is left holds them too.
      await until('changes are taken again', async () => (await revoke(gateway, good.id)) === 200);
      expect(await call(good)).toBe('401 token_revoked');
    } finally {
      await gateway.close();
      await upstream.close();
    }
  }, 60_000);
});

/** On a busy machine Redis may take longer than the store has patience. */
async function issued(gateway: TestGateway): Promise<{ readonly id: string; readonly token: string }> {
  let made: { readonly id: string; readonly token: string } | null = null;
  await until('a token is issued', async () => {
    made ??= await gateway.issue();
    return true;
  });
  return made ?? (await gateway.issue());
}

async function revoke(gateway: TestGateway, id: string): Promise<number> {
  return (await gateway.admin('POST', `/v1/tokens/${id}/revoke`, { reason: 'test' })).status;
}

function said({ status, problem }: Answer): string {
  return problem?.reason === undefined ? String(status) : `${status} ${problem.reason}`;
}

describe('what a failover loses', () => {
  /** The replicas hear nothing any more, and nothing is on its way to them. */
  async function cutOff({ primary, replicas }: Awaited<ReturnType<typeof startReplicas>>): Promise<void> {
    for (const replica of replicas) replica.pause();
    await bench.client(primary.url).call('CLIENT', 'KILL', 'TYPE', 'replica');
  }

  it('a revocation that only the primary had, although it was acknowledged, where nobody waits for replicas', async () => {
    const servers = await startReplicas(bench, 1);
    const store = await bench.open(servers.primary.url);
    const record = aToken();
    await store.create(record);
    await bench.client(servers.primary.url).wait(1, 5000);
    await cutOff(servers);
    expect(await store.replace(1, revoked(record))).toBe(true);
    await servers.primary.kill();
    const [promoted] = servers.replicas;
    promoted?.resume();
    await bench.client(promoted?.url ?? '').call('REPLICAOF', 'NO', 'ONE');
    expect(await (await bench.open(promoted?.url ?? '')).find(record.id)).toEqual(record);
  });

  it('nothing that was acknowledged, where wait_replicas is set: what did not get there is no success', async () => {
    const servers = await startReplicas(bench, 1);
    // What has to succeed gets the time of a busy machine; only what has to fail is waited for briefly.
    const patient = await bench.open(servers.primary.url, { wait: { replicas: 1, timeoutMs: 20_000 } });
    const store = await bench.open(servers.primary.url, { wait: { replicas: 1, timeoutMs: 300 } });
    const [first, second] = [aToken(), aToken()];
    expect([await patient.create(first), await patient.create(second)]).toEqual([true, true]);
    expect(await patient.replace(1, revoked(first))).toBe(true);
    await cutOff(servers);
    const missed = {
      ...UNAVAILABLE,
      message: expect.stringContaining(
        'the change has reached 0 of 1 replicas within 300 ms; it may stand all the same',
      ),
    };
    await expect(store.replace(1, revoked(second))).rejects.toMatchObject(missed);
    // A repeat would find it revoked. It is no success either as long as a failover could undo it.
    await expect(store.load(second.id)).rejects.toMatchObject(missed);
    await expect(store.create(aToken())).rejects.toMatchObject(missed);
    // Reads for requests do not wait, and see the revocation.
    expect(await store.find(second.id)).toEqual(revoked(second));
    const [replica] = servers.replicas;
    replica?.resume();
    await until('a repeat succeeds', async () => (await patient.load(second.id))?.record.revoked_at !== null);
    await servers.primary.kill();
    await bench.client(replica?.url ?? '').call('REPLICAOF', 'NO', 'ONE');
    const after = await bench.open(replica?.url ?? '');
    expect([await after.find(first.id), await after.find(second.id)]).toEqual([revoked(first), revoked(second)]);
  });

  it('does not hold reads up while a change waits for a replica', async () => {
    const servers = await startReplicas(bench, 1);
    const store = await bench.open(servers.primary.url, { wait: { replicas: 2, timeoutMs: 2500 } });
    let waiting = true;
    const change = store
      .create(aToken())
      .catch((error: unknown) => error)
      .finally(() => {
        waiting = false;
      });
    for (let read = 0; read < 20; read += 1) expect(await store.find('nobodyknows1')).toBeNull();
    expect(waiting).toBe(true);
    expect(await change).toMatchObject(UNAVAILABLE);
  });
});
