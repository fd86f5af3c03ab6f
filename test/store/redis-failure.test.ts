import { execFile } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { aToken, NOW, revoked } from '../contract/token-fixture.ts';
import { startRedis } from '../support/redis-server.ts';
import { Heard, RedisBench, UNAVAILABLE } from './redis-bench.ts';

const OPEN_AND_CLOSE = join(import.meta.dirname, 'processes/open-and-close.ts');

describe('the store in Redis, when something breaks', () => {
  let bench: RedisBench;

  beforeEach(() => {
    bench = new RedisBench();
  });
  afterEach(() => bench.clear());

  it('loses nothing when Redis is killed and comes back, and says lost and restored once', async () => {
    const dir = await bench.folder();
    const args = ['--appendonly', 'yes', '--appendfsync', 'always'];
    const server = await bench.redis({ dir, args });
    const heard = new Heard();
    const store = await bench.open(server.url, { listen: heard.listen });
    const record = aToken();
    await store.create(record);
    await store.replace(1, revoked(record));
    await server.kill();
    await heard.reaches(1);
    for (let attempt = 0; attempt < 3; attempt += 1)
      await expect(store.find(record.id)).rejects.toMatchObject(UNAVAILABLE);
    await expect(store.ping()).rejects.toMatchObject(UNAVAILABLE);
    await bench.redis({ dir, args, port: server.port });
    await heard.reaches(2);
    expect(await store.find(record.id)).toEqual(revoked(record));
    expect(await store.create(aToken())).toBe(true);
    expect(heard.states).toEqual(['lost', 'restored']);
  });

  it('gives up on a Redis that does not answer within the time limit, then at once, and recovers', async () => {
    const server = await bench.redis();
    const heard = new Heard();
    const store = await bench.open(server.url, { listen: heard.listen, commandTimeoutMs: 1000 });
    const record = aToken();
    await store.create(record);
    server.pause();
    const started = performance.now();
    await expect(store.find(record.id)).rejects.toMatchObject(UNAVAILABLE);
    expect(performance.now() - started).toBeLessThan(2500);
    await heard.reaches(1);
    const again = performance.now();
    await expect(store.find(record.id)).rejects.toMatchObject(UNAVAILABLE);
    expect(performance.now() - again).toBeLessThan(750);
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
    const store = await bench.open(gone.url, { listen: heard.listen });
    expect(performance.now() - started).toBeLessThan(2000);
    expect(heard.states).toEqual(['lost']);
    await expect(store.find('nobodyknows1')).rejects.toMatchObject({
      ...UNAVAILABLE,
      message: `Redis at 127.0.0.1:${gone.port}: not connected: connect ECONNREFUSED 127.0.0.1:${gone.port}`,
    });
    await bench.redis({ port: gone.port });
    await heard.reaches(2);
    expect(await store.find('nobodyknows1')).toBeNull();
    expect(heard.states).toEqual(['lost', 'restored']);
  });

  it('lets the process end after close, whether Redis is there or not', async () => {
    const server = await bench.redis();
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
    const server = await bench.redis({ args: ['--maxmemory', '4mb', '--maxmemory-policy', 'noeviction'] });
    const store = await bench.open(server.url);
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
    await bench.client(server.url).config('SET', 'maxmemory', '0');
    expect(await store.create(aToken())).toBe(true);
  });

  it('refuses changes on a replica and on a Redis that cannot save, and still reads', async () => {
    const dir = await bench.folder();
    const server = await bench.redis({ dir, args: ['--save', '3600 1'] });
    const store = await bench.open(server.url);
    const record = aToken();
    await store.create(record);
    const admin = bench.client(server.url);
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
    const server = await bench.redis({ args: ['--requirepass', 'correct horse'] });
    const messages: string[] = [];
    for (const user of ['', ':wr0ng%20secret@', 'ann:wr0ng%20secret@']) {
      const store = await bench.open(`redis://${user}127.0.0.1:${server.port}`);
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
    const store = await bench.open(`redis://:correct%20horse@127.0.0.1:${server.port}/3`);
    expect(await store.create(aToken())).toBe(true);
  });

  it('does not repeat the password when Redis does', async () => {
    const renamed = ['--rename-command', 'AUTH', '', '--rename-command', 'HELLO', ''];
    const server = await bench.redis({ args: ['--requirepass', 'other', ...renamed] });
    const store = await bench.open(`redis://:s3cret@127.0.0.1:${server.port}`);
    const place = `Redis at 127.0.0.1:${server.port}`;
    await expect(store.load('nobodyknows1')).rejects.toMatchObject({
      ...UNAVAILABLE,
      message: `${place}: not connected: ERR unknown command 'auth'`,
    });
  });
});
