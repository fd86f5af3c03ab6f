import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openRedisStore } from '../../src/store/redis/redis-store.ts';
import { aToken, DAY, NOW, revoked } from '../contract/token-fixture.ts';
import { startRedis } from '../support/redis-server.ts';
import { Heard, RedisBench, UNAVAILABLE } from './redis-bench.ts';

describe('the store in Redis', () => {
  let bench: RedisBench;

  beforeEach(() => {
    bench = new RedisBench();
  });
  afterEach(() => bench.clear());

  it('keeps a record 30 days longer than its token, and never less than 30 days', async () => {
    const server = await bench.redis();
    const store = await bench.open(server.url);
    const admin = bench.client(server.url);
    const keptMs = async (id: string): Promise<number> => admin.pttl(`test:token:{${id}}`);
    const now = Date.now();
    const long = aToken({ created_at: now, expires_at: now + 5 * DAY });
    const ended = aToken({ created_at: now - 100 * DAY, expires_at: now - 90 * DAY });
    await store.create(long);
    await store.create(ended);
    expect(await keptMs(long.id)).toBeGreaterThan(35 * DAY - 60_000);
    expect(await keptMs(long.id)).toBeLessThanOrEqual(35 * DAY + 60_000);
    expect(await keptMs(ended.id)).toBeGreaterThan(30 * DAY - 60_000);
    await store.replace(1, { ...long, expires_at: now + DAY });
    expect(await keptMs(long.id)).toBeLessThanOrEqual(31 * DAY + 60_000);
  });

  it('passes over list entries without a record, and sweeps them after a day', async () => {
    const server = await bench.redis();
    const store = await bench.open(server.url);
    const admin = bench.client(server.url);
    const record = aToken();
    await store.create(record);
    const prefix = String(NOW + 1).padStart(16, '0');
    const [recent, old] = [`${prefix}:underway0001:${Date.now()}`, `${prefix}:crashed00001:${Date.now() - 2 * DAY}`];
    await admin.zadd('test:tokens', '0', recent, '0', old, '0', `${prefix}:${record.id}:${Date.now() - 2 * DAY}`);
    const page = await store.list({}, { limit: 10, cursor: null, now: NOW });
    expect(page.tokens.map((token) => token.record)).toEqual([record]);
    expect((await store.count(NOW, [])).byClass).toEqual([{ class: 'service', status: 'active', count: 1 }]);
    const own = await admin.hget(`test:token:{${record.id}}`, 'index');
    expect(await admin.zrange('test:tokens', '0', '-1')).toEqual([own, recent]);
  });

  it('takes the list entry of a create that lost out again', async () => {
    const server = await bench.redis();
    const store = await bench.open(server.url);
    const record = aToken();
    await store.create(record);
    expect(await store.create({ ...record, created_at: NOW + 1 })).toBe(false);
    expect(await bench.client(server.url).zcard('test:tokens')).toBe(1);
  });

  it('forgets the uses of generations that the record has forgotten', async () => {
    const server = await bench.redis();
    const store = await bench.open(server.url);
    const record = aToken();
    await store.create(record);
    for (let generation = 1; generation <= 5; generation += 1) {
      await store.replace(generation, { ...record, generation });
      await store.recordUses([{ id: record.id, at: NOW, ip: '::1', count: 1, generation }]);
    }
    const fields = await bench.client(server.url).hkeys(`test:token:{${record.id}}`);
    expect(fields.filter((field) => field.startsWith('at:'))).toEqual(['at:5']);
  });

  it('calls a key that holds something else a fault', async () => {
    const server = await bench.redis();
    const store = await bench.open(server.url);
    const admin = bench.client(server.url);
    await admin.set('test:token:{textinstead}', 'x');
    await expect(store.find('textinstead')).rejects.toMatchObject({ name: 'Fault', code: 'internal' });
    await admin.hset('test:token:{textmissing}', 'version', '1');
    await expect(store.find('textmissing')).rejects.toMatchObject({ name: 'Fault', code: 'internal' });
    await expect(store.load('textmissing')).rejects.toMatchObject({ name: 'Fault', code: 'internal' });
  });

  it('goes on after Redis has forgotten its scripts', async () => {
    const server = await bench.redis();
    const store = await bench.open(server.url);
    await store.create(aToken());
    await bench.client(server.url).script('FLUSH');
    const record = aToken();
    expect(await store.create(record)).toBe(true);
    expect(await store.find(record.id)).toEqual(record);
  });

  it('spreads tokens over the slots of a cluster, and works through one', async () => {
    const bus = ['--cluster-port', String(await unusedPort()), '--cluster-announce-ip', '127.0.0.1'];
    const server = await bench.redis({ args: ['--cluster-enabled', 'yes', ...bus] });
    const admin = bench.client(server.url);
    await admin.call('CLUSTER', 'ADDSLOTSRANGE', '0', '16383');
    while (!String(await admin.cluster('INFO')).includes('cluster_state:ok')) await admin.ping();
    const store = await bench.open(server.url, {
      connection: { kind: 'cluster', nodes: [`127.0.0.1:${server.port}`], password: null },
    });
    const records = Array.from({ length: 30 }, (_, index) => aToken({ created_at: NOW + index }));
    for (const record of records) expect(await store.create(record)).toBe(true);
    expect(await store.replace(1, revoked(records[0] ?? aToken()))).toBe(true);
    const { tokens } = await store.list({ status: 'active' }, { limit: 100, cursor: null, now: NOW });
    expect(tokens.map(({ record }) => record)).toEqual(records.slice(1).toReversed());
    const slots = await Promise.all(records.map(({ id }) => admin.cluster('KEYSLOT', `test:token:{${id}}`)));
    expect(new Set(slots).size).toBeGreaterThan(20);
    await server.kill();
    await expect(store.find(records[0]?.id ?? '')).rejects.toMatchObject(UNAVAILABLE);
  });

  it('asks the sentinels where the primary is, and waits for them without giving up', async () => {
    const primary = await bench.redis();
    const dir = await bench.folder();
    const config = join(dir, 'sentinel.conf');
    await writeFile(config, `sentinel monitor main 127.0.0.1 ${primary.port} 1\n`);
    const sentinel = await bench.redis({ config, dir, args: ['--sentinel'] });
    const connection = {
      kind: 'sentinel' as const,
      sentinels: [`127.0.0.1:${sentinel.port}`],
      name: 'main',
      password: null,
    };
    const store = await bench.open('', { connection });
    const record = aToken();
    expect(await store.create(record)).toBe(true);
    expect(await (await bench.open(primary.url)).find(record.id)).toEqual(record);
    await sentinel.kill();
    const heard = new Heard();
    const late = await bench.open('', { connection, listen: heard.listen });
    expect(heard.states).toEqual(['lost']);
    await expect(late.find(record.id)).rejects.toMatchObject(UNAVAILABLE);
    await bench.redis({ config, dir, args: ['--sentinel'], port: sentinel.port });
    await heard.reaches(2);
    expect(await late.find(record.id)).toEqual(record);
  });

  it.each([
    ['http://127.0.0.1', 'unknown scheme'],
    ['redis://:s3cret@:6379', 'not a URL'],
    ['redis://:s3cret@host:99999', 'not a URL'],
    ['redis://:s3cret@host/zero', 'the database is a number'],
    ['redis://:s3cret%@host', 'user or password is not well percent-encoded'],
    ['redis://:s3cret@host?family=6', 'nothing may follow'],
  ])('refuses the address %s without repeating it', async (url, why) => {
    const opening = openRedisStore({ connection: { kind: 'standalone', url }, keyPrefix: 'test' });
    await expect(opening).rejects.toMatchObject({
      code: 'internal',
      message: expect.stringContaining(`store.url: ${why}`),
    });
    await opening.catch((error: unknown) => expect(String(error)).not.toContain('s3cret'));
  });

  it('refuses a key prefix that would put every token into one slot', async () => {
    const opening = openRedisStore({
      connection: { kind: 'standalone', url: 'redis://127.0.0.1:1' },
      keyPrefix: 'a{b}',
    });
    await expect(opening).rejects.toMatchObject({ code: 'internal', message: expect.stringContaining('key_prefix') });
  });
});

/** A port that nobody uses now, for the cluster's bus: Redis would take its own plus 10000, which may be no port at all. */
async function unusedPort(): Promise<number> {
  const probe = await startRedis();
  await probe.stop();
  return probe.port;
}
