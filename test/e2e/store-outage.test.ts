import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestGateway } from '../support/gateway.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { TestUpstream } from '../support/upstream.ts';

const POLICY = `api: orders
upstream: orders
base: /orders
rules:
  - { name: read, methods: [GET], path: /, scopes: [orders:read] }
  - { name: health, methods: [GET], path: /health, public: true }
`;

const CATALOG = `api: catalog
upstream: orders
base: /catalog
on_unavailable: serve_cached
rules:
  - { name: read, methods: [GET], path: /, scopes: [orders:read] }
`;

const LEASE_MS = 1500;
const MAX_STALE_MS = 2500;

describe('a gateway whose Redis is gone', () => {
  let redis: RedisServer;
  let upstream: TestUpstream;
  let gateway: TestGateway;
  let token: string;

  beforeAll(async () => {
    redis = await startRedis();
    upstream = await TestUpstream.start();
    gateway = await TestGateway.start({
      upstreams: { orders: upstream.url },
      policies: { 'orders.yaml': POLICY, 'catalog.yaml': CATALOG },
      config: {
        store: `{ kind: redis, url: "${redis.url}", lease: ${LEASE_MS}ms, max_stale: ${MAX_STALE_MS}ms }`,
      },
    });
    ({ token } = await gateway.issue());
  });

  afterAll(async () => {
    await gateway?.close();
    await upstream?.close();
    await redis?.stop();
  });

  async function readiness(): Promise<number> {
    return (await gateway.admin('GET', '/readyz')).status;
  }

  /** Whether the gateway has a lease cannot be awaited as an event from outside: asked until it is so. */
  async function leaseIs(valid: boolean): Promise<void> {
    while ((await gateway.metric(/^portcullis_store_lease_valid /)) !== Number(valid)) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  /** An answer that has begun at the moment from which nobody can vouch for its token is visibly cut off. */
  async function isServed(path: string): Promise<boolean> {
    try {
      return (await gateway.call(path, { token })).status === 200;
    } catch (error) {
      expect(error).toMatchObject({ code: 'UND_ERR_SOCKET' });
      await gateway.event(({ status, reason }) => status === 200 && reason === 'store_unavailable');
      return false;
    }
  }

  it('lets the token in while Redis is there, the second time without asking', async () => {
    const reads = (): Promise<number> =>
      gateway.metric(/^portcullis_store_operation_duration_seconds_count\{op="find"\}/);
    // A machine that is busy with other things may lose its lease for a moment: then once more.
    for (let unasked = false; !unasked; ) {
      await leaseIs(true);
      const first = await gateway.call('/orders', { token });
      const before = await reads();
      const second = await gateway.call('/orders', { token });
      // The admin API, whose token is looked up as well, always asks the store; /metrics needs none.
      unasked = first.status === 200 && second.status === 200 && (await reads()) === before;
    }
    expect(await readiness()).toBe(200);
  });

  it('goes on within the lease; after it only an API that serves what was known, for max_stale', async () => {
    await leaseIs(true);
    expect((await gateway.call('/orders', { token })).status).toBe(200);
    redis.pause();
    expect((await gateway.call('/orders', { token })).status).toBe(200);
    await leaseIs(false);
    const lost = performance.now();
    expect((await gateway.call('/orders', { token })).problem?.reason).toBe('store_unavailable');
    expect((await gateway.call('/catalog', { token })).status).toBe(200);
    expect(performance.now() - lost).toBeLessThan(MAX_STALE_MS);
    expect(await gateway.metric(/^portcullis_stale_answers_total/)).toBeGreaterThan(0);
    while (await isServed('/catalog')) expect(performance.now() - lost).toBeLessThan(MAX_STALE_MS + 2000);
    expect((await gateway.call('/catalog', { token })).problem?.reason).toBe('store_unavailable');
    redis.resume();
    await leaseIs(true);
    expect((await gateway.call('/catalog', { token })).status).toBe(200);
  }, 60_000);

  it('refuses with 503 store_unavailable while it hangs, never with 401; public paths go on; then recovers', async () => {
    redis.pause();
    await leaseIs(false);
    const before = upstream.seen.length;
    const answer = await gateway.call('/orders', { token });
    expect({ status: answer.status, reason: answer.problem?.reason }).toEqual({
      status: 503,
      reason: 'store_unavailable',
    });
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
    expect(upstream.seen.length).toBe(before);
    expect(await readiness()).toBe(503);
    expect((await gateway.admin('GET', '/healthz')).status).toBe(200);
    expect((await gateway.call('/orders/health')).status).toBe(200);
    redis.resume();
    await gateway.event((line) => line.type === 'store.restored');
    await leaseIs(true);
    expect((await gateway.call('/orders', { token })).status).toBe(200);
  }, 60_000);

  it('refuses changes as well, and says so', async () => {
    redis.pause();
    const answer = await gateway.admin('POST', '/v1/tokens', {
      name: 'x',
      owner: 'tests',
      class: 'service',
      scopes: ['orders:read'],
    });
    expect({ status: answer.status, reason: answer.problem?.reason }).toEqual({
      status: 503,
      reason: 'store_unavailable',
    });
    redis.resume();
  }, 60_000);

  it('refuses with 503 when it is dead, and knows no wrong 401 even then', async () => {
    await leaseIs(true);
    await redis.kill();
    await leaseIs(false);
    const statuses = new Set<number>();
    for (let i = 0; i < 20; i += 1) statuses.add((await gateway.call('/orders', { token })).status);
    expect([...statuses]).toEqual([503]);
    expect(await gateway.metric(/^portcullis_store_up /)).toBe(0);
    expect(await readiness()).toBe(503);
  }, 60_000);
});
