import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openRedisStore, type RedisStoreOptions } from '../../src/store/redis/redis-store.ts';
import type { Store } from '../../src/store/token-store.ts';
import { aToken, DAY, NOW, revoked } from '../contract/token-fixture.ts';
import { type RedisServer, type RedisServerOptions, startRedis } from '../support/redis-server.ts';

const OPEN_AND_CLOSE = join(import.meta.dirname, 'processes/open-and-close.ts');
const UNAVAILABLE = { name: 'Fault', code: 'store_unavailable' };

/** What the store's listener heard, and a way to wait until it has heard a number of things. */
class Heard {
  readonly states: string[] = [];
  #waiting: { readonly count: number; readonly resolve: () => void }[] = [];

  readonly listen = (state: 'lost' | 'restored'): void => {
    this.states.push(state);
    for (const { count, resolve } of this.#waiting) if (this.states.length >= count) resolve();
  };

  reaches(count: number): Promise<void> {
    if (this.states.length >= count) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({ count, resolve }));
  }
}

describe('the store in Redis', () => {
  let undo: (() => Promise<unknown>)[];

  beforeEach(() => {
    undo = [];
  });
  afterEach(async () => {
    for (const step of undo.toReversed()) await step();
  });

  async function redis(options: RedisServerOptions = {}): Promise<RedisServer> {
    const server = await startRedis(options);
    undo.push(() => server.stop());
    return server;
  }

  async function open(url: string, options: Partial<RedisStoreOptions> = {}): Promise<Store> {
    const store = await openRedisStore({ connection: { kind: 'standalone', url }, keyPrefix: 'test', ...options });
    undo.push(() => store.close());
    return store;
  }

  function client(url: string): Redis {
    const made = new Redis(url);
    // Some tests kill the server under it.
    made.on('error', () => {});
    undo.push(async () => made.disconnect());
    return made;
  }

  async function folder(): Promise<string> {
    const path = await mkdtemp(join(tmpdir(), 'portcullis-redis-data-'));
    undo.push(() => rm(path, { recursive: true, force: true }));
    return path;
  }

  it('loses nothing when Redis is killed and comes back, and says lost and restored once', async () => {
    const dir = await folder();
    const args = ['--appendonly', 'yes', '--appendfsync', 'always'];
    const server = await redis({ dir, args });
    const heard = new Heard();
    const store = await open(server.url, { listen: heard.listen });
    const record = aToken();
    await store.create(record);
    await store.replace(1, revoked(record));
    await server.kill();
    await heard.reaches(1);
    for (let attempt = 0; attempt < 3; attempt += 1)
      await expect(store.find(record.id)).rejects.toMatchObject(UNAVAILABLE);
    await expect(store.ping()).rejects.toMatchObject(UNAVAILABLE);
    await redis({ dir, args, port: server.port });
    await heard.reaches(2);
    expect(await store.find(record.id)).toEqual(revoked(record));
    expect(await store.create(aToken())).toBe(true);
    expect(heard.states).toEqual(['lost', 'restored']);
  });

  it('gives up on a Redis that does not answer within the time limit, then at once, and recovers', async () => {
    const server = await redis();
    const heard = new Heard();
    const store = await open(server.url, { listen: heard.listen, commandTimeoutMs: 300 });
    const record = aToken();
    await store.create(record);
    server.pause();
    const started = performance.now();
    await expect(store.find(record.id)).rejects.toMatchObject(UNAVAILABLE);
    expect(performance.now() - started).toBeLessThan(1300);
    await heard.reaches(1);
    const again = performance.now();
    await expect(store.find(record.id)).rejects.toMatchObject(UNAVAILABLE);
    expect(performance.now() - again).toBeLessThan(250);
    server.resume();
    await heard.reaches(2);
    expect(await store.find(record.id)).toEqual(record);
    expect(heard.states).toEqual(['lost', 'restored']);
  });

  it('opens while Redis cannot be reached, fails at once, and works when Redis is there', async () => {
    const gone = await startRedis();
    await gone.stop();
    const heard = new Heard();
    const started = performance.now();
    const store = await open(gone.url, { listen: heard.listen });
    expect(performance.now() - started).toBeLessThan(2000);
    expect(heard.states).toEqual(['lost']);
    await expect(store.find('nobodyknows1')).rejects.toMatchObject({
      ...UNAVAILABLE,
      message: `Redis at 127.0.0.1:${gone.port}: not connected: connect ECONNREFUSED 127.0.0.1:${gone.port}`,
    });
    await redis({ port: gone.port });
    await heard.reaches(2);
    expect(await store.find('nobodyknows1')).toBeNull();
    expect(heard.states).toEqual(['lost', 'restored']);
  });

  it('lets the process end after close, whether Redis is there or not', async () => {
    const server = await redis();
    const run = promisify(execFile);
    expect(await run(process.execPath, [OPEN_AND_CLOSE, server.url])).toEqual({ stdout: 'answered\n', stderr: '' });
    server.pause();
    const paused = await run(process.execPath, [OPEN_AND_CLOSE, server.url], { timeout: 15_000 });
    expect(paused).toEqual({ stdout: expect.stringContaining('not connected'), stderr: '' });
    await server.kill();
    const down = await run(process.execPath, [OPEN_AND_CLOSE, server.url], { timeout: 15_000 });
    expect(down).toEqual({ stdout: expect.stringContaining('ECONNREFUSED'), stderr: '' });
  });

  it('refuses changes when Redis is full, and keeps what it acknowledged', async () => {
    const server = await redis({ args: ['--maxmemory', '4mb', '--maxmemory-policy', 'noeviction'] });
    const store = await open(server.url);
    const records = [];
    let failure: unknown;
    while (failure === undefined && records.length < 10_000) {
      const record = aToken({ created_at: NOW + records.length, claims: { filler: 'x'.repeat(4000) } });
      try {
        await store.create(record);
        records.push(record);
      } catch (error) {
        failure = error;
      }
    }
    expect(failure).toMatchObject({ code: 'store_full', message: expect.stringContaining('maxmemory') });
    expect(records.length).toBeGreaterThan(50);
    for (const record of records) expect(await store.find(record.id)).toEqual(record);
    const newest = await store.list({}, { limit: 1, cursor: null, now: NOW });
    expect(newest.tokens.map(({ record }) => record)).toEqual(records.slice(-1));
    await client(server.url).config('SET', 'maxmemory', '0');
    expect(await store.create(aToken())).toBe(true);
  });

  it('refuses changes on a replica and on a Redis that cannot save, and still reads', async () => {
    const dir = await folder();
    const server = await redis({ dir, args: ['--save', '3600 1'] });
    const store = await open(server.url);
    const record = aToken();
    await store.create(record);
    const admin = client(server.url);
    await rm(dir, { recursive: true });
    await admin.bgsave();
    let persistence = '';
    while (!persistence.includes('rdb_last_bgsave_status:err')) persistence = await admin.info('persistence');
    await expect(store.create(aToken())).rejects.toMatchObject({
      ...UNAVAILABLE,
      message: expect.stringContaining('cannot save to its disk'),
    });
    expect(await store.find(record.id)).toEqual(record);
    // Redis refuses a PING then, although it answers every read.
    await expect(store.ping()).resolves.toBeUndefined();
    await admin.config('SET', 'save', '');
    await admin.replicaof('127.0.0.1', String(server.port));
    await expect(store.replace(1, revoked(record))).rejects.toMatchObject({
      ...UNAVAILABLE,
      message: expect.stringContaining('replica'),
    });
    await admin.replicaof('NO', 'ONE');
  });

  it('says which user or password was refused, without the password', async () => {
    const server = await redis({ args: ['--requirepass', 'correct horse'] });
    const messages: string[] = [];
    for (const user of ['', ':wr0ng%20secret@', 'ann:wr0ng%20secret@']) {
      const store = await open(`redis://${user}127.0.0.1:${server.port}`);
      await store.load('nobodyknows1').catch((error: unknown) => {
        expect(error).toMatchObject(UNAVAILABLE);
        expect(JSON.stringify(error, Object.getOwnPropertyNames(error))).not.toContain('wr0ng');
        messages.push(String(error));
      });
    }
    expect(messages).toEqual([
      expect.stringContaining('NOAUTH'),
      expect.stringContaining('WRONGPASS'),
      expect.stringContaining('WRONGPASS'),
    ]);
    const store = await open(`redis://:correct%20horse@127.0.0.1:${server.port}/3`);
    expect(await store.create(aToken())).toBe(true);
  });

  it('does not repeat the password when Redis does', async () => {
    const renamed = ['--rename-command', 'AUTH', '', '--rename-command', 'HELLO', ''];
    const server = await redis({ args: ['--requirepass', 'other', ...renamed] });
    const store = await open(`redis://:s3cret@127.0.0.1:${server.port}`);
    const place = `Redis at 127.0.0.1:${server.port}`;
    await expect(store.load('nobodyknows1')).rejects.toMatchObject({
      ...UNAVAILABLE,
      message: `${place}: not connected: ERR unknown command 'auth'`,
    });
  });

  it('keeps a record 30 days longer than its token, and never less than 30 days', async () => {
    const server = await redis();
    const store = await open(server.url);
    const admin = client(server.url);
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
    const server = await redis();
    const store = await open(server.url);
    const admin = client(server.url);
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
    const server = await redis();
    const store = await open(server.url);
    const record = aToken();
    await store.create(record);
    expect(await store.create({ ...record, created_at: NOW + 1 })).toBe(false);
    expect(await client(server.url).zcard('test:tokens')).toBe(1);
  });

  it('forgets the uses of generations that the record has forgotten', async () => {
    const server = await redis();
    const store = await open(server.url);
    const record = aToken();
    await store.create(record);
    for (let generation = 1; generation <= 5; generation += 1) {
      await store.replace(generation, { ...record, generation });
      await store.recordUses([{ id: record.id, at: NOW, ip: '::1', count: 1, generation }]);
    }
    const fields = await client(server.url).hkeys(`test:token:{${record.id}}`);
    expect(fields.filter((field) => field.startsWith('at:'))).toEqual(['at:5']);
  });

  it('calls a key that holds something else a fault', async () => {
    const server = await redis();
    const store = await open(server.url);
    const admin = client(server.url);
    await admin.set('test:token:{textinstead}', 'x');
    await expect(store.find('textinstead')).rejects.toMatchObject({ name: 'Fault', code: 'internal' });
    await admin.hset('test:token:{textmissing}', 'version', '1');
    await expect(store.find('textmissing')).rejects.toMatchObject({ name: 'Fault', code: 'internal' });
    await expect(store.load('textmissing')).rejects.toMatchObject({ name: 'Fault', code: 'internal' });
  });

  it('goes on after Redis has forgotten its scripts', async () => {
    const server = await redis();
    const store = await open(server.url);
    await store.create(aToken());
    await client(server.url).script('FLUSH');
    const record = aToken();
    expect(await store.create(record)).toBe(true);
    expect(await store.find(record.id)).toEqual(record);
  });

  it('spreads tokens over the slots of a cluster, and works through one', async () => {
    const bus = ['--cluster-port', String(await unusedPort()), '--cluster-announce-ip', '127.0.0.1'];
    const server = await redis({ args: ['--cluster-enabled', 'yes', ...bus] });
    const admin = client(server.url);
    await admin.call('CLUSTER', 'ADDSLOTSRANGE', '0', '16383');
    while (!String(await admin.cluster('INFO')).includes('cluster_state:ok')) await admin.ping();
    const store = await open(server.url, {
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
    const primary = await redis();
    const dir = await folder();
    const config = join(dir, 'sentinel.conf');
    await writeFile(config, `sentinel monitor main 127.0.0.1 ${primary.port} 1\n`);
    const sentinel = await redis({ config, dir, args: ['--sentinel'] });
    const connection = {
      kind: 'sentinel' as const,
      sentinels: [`127.0.0.1:${sentinel.port}`],
      name: 'main',
      password: null,
    };
    const store = await open('', { connection });
    const record = aToken();
    expect(await store.create(record)).toBe(true);
    expect(await (await open(primary.url)).find(record.id)).toEqual(record);
    await sentinel.kill();
    const heard = new Heard();
    const late = await open('', { connection, listen: heard.listen });
    expect(heard.states).toEqual(['lost']);
    await expect(late.find(record.id)).rejects.toMatchObject(UNAVAILABLE);
    await redis({ config, dir, args: ['--sentinel'], port: sentinel.port });
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
