/*
 * Rate limits as clients and operators meet them: in one process, over several, and without the store.
 */
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Answer, TestGateway } from '../support/gateway.ts';
import { GatewayProgram } from '../support/gateway-program.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { TestUpstream } from '../support/upstream.ts';

const rule = (name: string, limit: string, more = ''): string =>
  `  - { name: ${name}, methods: [GET], path: /${name}, ${more === '' ? 'scopes: [orders:read]' : more}, rate_limit: { ${limit} } }\n`;

const POLICY = `api: orders
upstream: orders
base: /orders
rules:
${rule('three', 'requests: 3, per: 1m')}${rule('brief', 'requests: 2, per: 1s')}${rule('subject', 'requests: 3, per: 1m, by: subject')}${rule('open', 'requests: 3, per: 1m, by: ip', 'public: true')}${rule('many', 'requests: 200, per: 10m')}${rule('lots', 'requests: 10000, per: 10m')}${rule('tried', 'requests: 1, per: 1m', 'scopes: [orders:read], mode: report')}`;

const LENIENT = `api: lenient
upstream: orders
base: /lenient
on_unavailable: serve_cached
rules:
${rule('three', 'requests: 3, per: 1m')}`;

let upstream: TestUpstream;
let redis: RedisServer;
const gateways: TestGateway[] = [];

beforeAll(async () => {
  [upstream, redis] = await Promise.all([TestUpstream.start(), startRedis()]);
});
afterEach(async () => {
  await Promise.all(gateways.splice(0).map((gateway) => gateway.close()));
});
afterAll(async () => {
  await Promise.all([upstream?.close(), redis?.stop()]);
});

async function start(store?: string): Promise<TestGateway> {
  const gateway = await TestGateway.start({
    upstreams: { orders: upstream.url },
    policies: { 'orders.yaml': POLICY, 'lenient.yaml': LENIENT },
    config: store === undefined ? {} : { store },
  });
  gateways.push(gateway);
  return gateway;
}

/** `lease: 60s` where its renewals and its end are to play no part. */
const onRedis = (server: RedisServer, prefix: string, lease = '2s'): string =>
  `{ kind: redis, url: "${server.url}", key_prefix: ${prefix}, lease: ${lease} }`;

const fields = ({ headers }: Answer): unknown[] => [headers['ratelimit'], headers['ratelimit-policy']];

async function statuses(gateway: TestGateway, path: string, count: number, token?: string): Promise<number[]> {
  const all: number[] = [];
  for (let i = 0; i < count; i += 1) all.push((await gateway.call(path, { token })).status);
  return all;
}

/** All at once over a few lines, at each of the gateways in turn: how many were let through. */
async function passed(urls: readonly string[], path: string, token: string, count: number): Promise<number> {
  let sent = 0;
  let allowed = 0;
  const line = async (): Promise<void> => {
    while (sent < count) {
      sent += 1;
      const url = urls[sent % urls.length] ?? '';
      const { status, body } = await fetch(`${url}${path}`, { headers: { authorization: `Bearer ${token}` } });
      await body?.cancel();
      if (status === 200) allowed += 1;
      else if (status !== 429) throw new Error(`answered ${status}`);
    }
  };
  await Promise.all(Array.from({ length: 16 }, line));
  return allowed;
}

describe('what a client is told', () => {
  it('on every answer: what is left of which limit, and for how long', async () => {
    const gateway = await start();
    const { token } = await gateway.issue();
    for (const left of [2, 1, 0]) {
      const answer = await gateway.call('/orders/three', { token });
      expect(answer.status).toBe(200);
      expect(fields(answer)).toEqual([
        expect.stringMatching(new RegExp(`^"orders/three";r=${left};t=(60|5\\d)$`)),
        '"orders/three";q=3;w=60',
      ]);
    }
    const refused = await gateway.call('/orders/three', { token });
    expect(refused).toMatchObject({ status: 429, problem: { reason: 'rate_limited' } });
    const retryAfter = Number(refused.headers['retry-after']);
    expect(retryAfter).toBeGreaterThan(50);
    expect(retryAfter).toBeLessThanOrEqual(60);
    expect(fields(refused)).toEqual([`"orders/three";r=0;t=${retryAfter}`, '"orders/three";q=3;w=60']);
    expect((await gateway.eventOf(refused)).details).toMatchObject({ rate_limit: '3/60000ms by token' });
    expect(fields(await gateway.call('/orders/three'))).toEqual([undefined, undefined]);
  });

  it('to come back when the window is over', async () => {
    const gateway = await start();
    const { token } = await gateway.issue();
    let answer = await gateway.call('/orders/brief', { token });
    while (answer.status === 200) answer = await gateway.call('/orders/brief', { token });
    expect(answer.headers['retry-after']).toBe('1');
    await new Promise((resolve) => setTimeout(resolve, 1000));
    expect((await gateway.call('/orders/brief', { token })).status).toBe(200);
  });
});

describe('a limit counts', () => {
  it('by token, by subject, by address, and starts anew only where it was itself changed', async () => {
    const gateway = await start();
    const [one, two, other] = await Promise.all([
      gateway.issue({ subject: 'anna' }),
      gateway.issue({ subject: 'anna' }),
      gateway.issue({ subject: 'bert' }),
    ]);
    expect(await statuses(gateway, '/orders/three', 4, one.token)).toEqual([200, 200, 200, 429]);
    expect(await statuses(gateway, '/orders/three', 1, two.token)).toEqual([200]);
    expect(await statuses(gateway, '/orders/subject', 2, one.token)).toEqual([200, 200]);
    expect(await statuses(gateway, '/orders/subject', 2, two.token)).toEqual([200, 429]);
    expect(await statuses(gateway, '/orders/subject', 1, other.token)).toEqual([200]);
    expect(await statuses(gateway, '/orders/open', 4)).toEqual([200, 200, 200, 429]);

    const file = join(gateway.folder, 'policies/orders.yaml');
    await replace(file, `${POLICY}  - { name: more, path: /more, scopes: [orders:read] }\n`);
    expect((await gateway.admin('POST', '/v1/policies/reload')).status).toBe(200);
    expect(await statuses(gateway, '/orders/three', 1, one.token)).toEqual([429]);
    await replace(file, POLICY.replace('requests: 3, per: 1m }', 'requests: 4, per: 1m }'));
    expect((await gateway.admin('POST', '/v1/policies/reload')).status).toBe(200);
    expect(await statuses(gateway, '/orders/three', 1, one.token)).toEqual([200]);
  });

  it('only on paper for a rule that reports', async () => {
    const gateway = await start();
    const { token } = await gateway.issue();
    expect(await statuses(gateway, '/orders/tried', 1, token)).toEqual([200]);
    const beyond = await gateway.call('/orders/tried', { token });
    expect(beyond.status).toBe(200);
    expect(await gateway.eventOf(beyond)).toMatchObject({ type: 'access.would_deny', reason: 'rate_limited' });
  });
});

describe('over two replicas on one Redis', () => {
  it('a limit holds within 5 %', { timeout: 60_000 }, async () => {
    const store = onRedis(redis, 'shared');
    const [one, two] = [await start(store), await start(store)];
    const { token } = await one.issue();
    const allowed = await passed([one.url, two.url], '/orders/many', token, 500);
    expect(allowed).toBeGreaterThanOrEqual(200);
    expect(allowed).toBeLessThanOrEqual(210);
    expect(await statuses(two, '/orders/many', 1, token)).toEqual([429]);
  });

  it('a small limit holds exactly', { timeout: 60_000 }, async () => {
    const store = onRedis(redis, 'exact');
    const [one, two] = [await start(store), await start(store)];
    const { token } = await one.issue();
    expect(await passed([one.url, two.url], '/orders/three', token, 40)).toBe(3);
  });

  it('a token far below its limit costs Redis nothing', async () => {
    const store = onRedis(redis, 'idle', '60s');
    const [one, two] = [await start(store), await start(store)];
    const { token } = await one.issue();
    await Promise.all([one, two].map((gateway) => gateway.call('/orders/lots', { token })));
    const client = new Redis(redis.url);
    const scripts = async (): Promise<number> =>
      Number(/cmdstat_evalsha:calls=(\d+)/.exec(await client.info('commandstats'))?.[1] ?? 0);
    const before = await scripts();
    for (const gateway of [one, two])
      expect(new Set(await statuses(gateway, '/orders/lots', 50, token))).toEqual(new Set([200]));
    // The lease and the notes of uses go on; neither grows with the requests.
    expect((await scripts()) - before).toBeLessThan(20);
    expect(await client.keys('idle:rate:*')).toEqual([]);
    client.disconnect();
  });
});

describe('two processes on one embedded store', () => {
  it('share their limits', { timeout: 60_000 }, async () => {
    const gateway = await start();
    const { token } = await gateway.issue();
    const second = await GatewayProgram.start(await gateway.secondConfig());
    try {
      // Each has heard of the other when it has renewed its lease.
      for (const url of [gateway.adminUrl, second.adminUrl]) await untilTwo(url, gateway.adminToken);
      const allowed = await passed([gateway.url, second.trafficUrl], '/orders/many', token, 500);
      expect(allowed).toBeGreaterThanOrEqual(200);
      expect(allowed).toBeLessThanOrEqual(210);
    } finally {
      await second.signal('SIGKILL');
    }
  });
});

describe('without its store', () => {
  it('a limit refuses, or counts alone where the API says serve_cached', async () => {
    const server = await startRedis();
    const gateway = await start(onRedis(server, 'lost', '60s'));
    const { token } = await gateway.issue();
    // The token is remembered, so that only the limit needs the store.
    expect(await statuses(gateway, '/orders/lots', 1, token)).toEqual([200]);
    await server.stop();
    const refused = await gateway.call('/orders/three', { token });
    expect(refused).toMatchObject({ status: 503, problem: { reason: 'store_unavailable' } });
    expect(refused.headers['retry-after']).toBeDefined();
    expect(await statuses(gateway, '/orders/open', 1)).toEqual([503]);
    expect(await statuses(gateway, '/lenient/three', 4, token)).toEqual([200, 200, 200, 429]);
  });
});

async function untilTwo(adminUrl: string, token: string): Promise<void> {
  const deadline = Date.now() + 30_000;
  for (;;) {
    const response = await fetch(`${adminUrl}/v1/status`, { headers: { authorization: `Bearer ${token}` } });
    const { replicas } = (await response.json()) as { replicas: number };
    if (replicas === 2) return;
    if (Date.now() > deadline) throw new Error(`there are ${replicas} replicas`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function replace(file: string, text: string): Promise<void> {
  await writeFile(`${file}.new`, text);
  await rename(`${file}.new`, file);
}
