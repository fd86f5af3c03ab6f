import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseConfig } from '../../src/config/load.ts';
import { openStore } from '../../src/main/open-store.ts';
import { InvalidCursor, type Store } from '../../src/store/token-store.ts';
import { aMark } from '../contract/mark-fixture.ts';
import { aToken, NOW, revoked } from '../contract/token-fixture.ts';
import { readPage } from '../docs/markdown.ts';
import type { RedisServer } from '../support/redis-server.ts';
import { RedisBench, UNAVAILABLE } from './redis-bench.ts';
import { until, unusedPort } from './redis-topology.ts';

const FIXTURES = resolve(import.meta.dirname, '../fixtures/redis-tls');
const at = (name: string): string => join(FIXTURES, name);
const pem = (name: string): string => readFileSync(at(name), 'utf8');

let bench: RedisBench;
const opened: Store[] = [];
beforeEach(() => {
  bench = new RedisBench();
});
afterEach(async () => {
  for (const store of opened.splice(0)) await store.close();
  await bench.clear();
});

/** A server that speaks TLS only. Nothing is plain on its port. */
async function startTls(
  args: readonly string[] = [],
  options: { config?: string; dir?: string } = {},
): Promise<RedisServer> {
  const port = await unusedPort();
  const certificates = ['--tls-cert-file', at('server.crt'), '--tls-key-file', at('server.key')];
  const listen = ['--port', '0', '--tls-port', String(port), '--tls-ca-cert-file', at('ca.crt')];
  return await bench.redis({ ...options, port, args: [...args, ...listen, ...certificates] });
}

/** As `serve` does: from the text of a configuration. */
async function openFrom(store: string, env: Record<string, string> = {}): Promise<Store> {
  const { config, diagnostics } = parseConfig(`store: ${store}\n`, join(FIXTURES, 'portcullis.yaml'), env);
  expect(diagnostics).toEqual([]);
  if (config === null) throw new Error('no configuration');
  const made = await openStore(config.store);
  opened.push(made);
  return made;
}

async function works(store: Store): Promise<void> {
  const record = aToken();
  expect(await store.create(record)).toBe(true);
  expect(await store.find(record.id)).toEqual(record);
}

describe('Redis over TLS', () => {
  it('is spoken to when its certificate is of the authority that the configuration names, and not else', async () => {
    const { port } = await startTls(['--tls-auth-clients', 'no']);
    const url = `rediss://127.0.0.1:${port}/0`;
    await works(await openFrom(`{ kind: redis, url: "${url}", tls: { ca: ca.crt } }`));
    for (const tls of ['', ', tls: { ca: ../tls/server.crt }']) {
      const stranger = await openFrom(`{ kind: redis, url: "${url}"${tls} }`);
      await expect(stranger.find('nobodyknows1')).rejects.toMatchObject({
        ...UNAVAILABLE,
        message: expect.stringMatching(/unable to (verify|get)|self.signed/),
      });
    }
    const plain = await bench.open(`redis://127.0.0.1:${port}/0`);
    await expect(plain.find('nobodyknows1')).rejects.toMatchObject(UNAVAILABLE);
  });

  it('is shown the certificate of the gateway', async () => {
    const { port } = await startTls(['--tls-auth-clients', 'yes']);
    const url = `rediss://127.0.0.1:${port}/0`;
    const tls = '{ ca: ca.crt, cert: client.crt, key: client.key }';
    await works(await openFrom(`{ kind: redis, url: "${url}", tls: ${tls} }`));
    const unknown = await openFrom(`{ kind: redis, url: "${url}", tls: { ca: ca.crt } }`);
    await expect(unknown.find('nobodyknows1')).rejects.toMatchObject(UNAVAILABLE);
  });

  it('is found through sentinels that speak TLS too', async () => {
    const shared = ['--tls-auth-clients', 'no', '--tls-replication', 'yes'];
    const primary = await startTls(shared);
    const dir = await bench.folder();
    const config = join(dir, 'sentinel.conf');
    await writeFile(config, `sentinel monitor main 127.0.0.1 ${primary.port} 1\n`);
    const sentinel = await startTls([...shared, '--sentinel'], { config, dir });
    const place = `sentinels: ["127.0.0.1:${sentinel.port}"], name: main`;
    await works(await openFrom(`{ kind: redis, ${place}, tls: { ca: ca.crt } }`));
  });

  it('is a cluster', async () => {
    const bus = ['--cluster-port', String(await unusedPort()), '--cluster-announce-ip', '127.0.0.1'];
    const { port } = await startTls([
      '--tls-auth-clients',
      'no',
      '--tls-cluster',
      'yes',
      '--cluster-enabled',
      'yes',
      ...bus,
    ]);
    const admin = new Redis({ host: '127.0.0.1', port, tls: { ca: pem('ca.crt') } });
    try {
      await admin.call('CLUSTER', 'ADDSLOTSRANGE', '0', '16383');
      await until('the cluster is there', async () => String(await admin.cluster('INFO')).includes('cluster_state:ok'));
    } finally {
      admin.disconnect();
    }
    await works(await openFrom(`{ kind: redis, cluster: ["127.0.0.1:${port}"], tls: { ca: ca.crt } }`));
  });
});

describe('the ACL user of docs/operations.md', () => {
  /** The block stands there as it would in an ACL file, over several lines. */
  function documentedRules(): string[] {
    const [block] = readPage('docs/operations.md').blocks.filter(({ info }) => info === 'text acl');
    const words = (block?.text ?? '').split(/\s+/).filter((word) => word !== '');
    expect(words.slice(0, 2)).toEqual(['user', 'portcullis']);
    return words.slice(2).map((word) => (word.startsWith('>') ? '>p@ss/word' : word));
  }

  it('may do what the store does, and nothing else', async () => {
    const server = await bench.redis();
    await bench.client(server.url).call('ACL', 'SETUSER', 'portcullis', ...documentedRules());
    const url = `redis://portcullis:p%40ss%2Fword@127.0.0.1:${server.port}/0`;
    const store = await openFrom('{ kind: redis, url: { env: URL } }', { URL: url });
    await everyOperation(store);
    // WAIT for nobody: what it needs is the permission.
    await everyOperation(await bench.open(url, { keyPrefix: 'portcullis', wait: { replicas: 0, timeoutMs: 100 } }));

    const user = bench.client(url);
    for (const [command = '', ...args] of FORBIDDEN) {
      await expect(user.call(command, ...args)).rejects.toThrow(/^NOPERM|^ERR The user executing the script can't/);
    }
  });

  const FORBIDDEN = [
    ['GET', 'portcullis:token:{x}'],
    ['HGETALL', 'another:key'],
    ['EVAL', "return redis.call('HGETALL', 'another:key')", '0'],
    ['KEYS', '*'],
    ['FLUSHALL'],
    ['CONFIG', 'GET', 'requirepass'],
    ['ACL', 'LIST'],
    ['SUBSCRIBE', 'another'],
    ['REPLICAOF', 'NO', 'ONE'],
  ];

  it('is named by username where there are sentinels or a cluster', async () => {
    const data = await bench.redis();
    await bench.client(data.url).call('ACL', 'SETUSER', 'portcullis', ...documentedRules());
    await bench.client(data.url).call('ACL', 'SETUSER', 'default', 'off');
    const dir = await bench.folder();
    const config = join(dir, 'sentinel.conf');
    await writeFile(config, `sentinel monitor main 127.0.0.1 ${data.port} 1\n`);
    const sentinel = await bench.redis({ config, dir, args: ['--sentinel'] });
    const place = `sentinels: ["127.0.0.1:${sentinel.port}"], name: main`;
    const password = 'password: { env: PASSWORD }';
    const env = { PASSWORD: 'p@ss/word' };
    await works(await openFrom(`{ kind: redis, ${place}, username: portcullis, ${password} }`, env));
    const nobody = await openFrom(`{ kind: redis, ${place}, ${password} }`, env);
    await expect(nobody.find('nobodyknows1')).rejects.toMatchObject(UNAVAILABLE);
  });
});

describe('a Redis user that lacks a permission', () => {
  it.each([
    ['a command', '-hgetall', /the 'hgetall' command/],
    ['a command of a script', '-hincrby', /lacks a permission to run one of .*\bHINCRBY\b.*ACL LOG/],
    ['the scripts themselves', '-evalsha -eval', /the 'eval(sha)?' command/],
    ['the keys', 'resetkeys ~another:*', /NOPERM .*key/i],
  ])(
    'is told apart from a fault of the gateway, and told of once, by place and command: %s',
    async (_what, less, told) => {
      const server = await bench.redis();
      const admin = bench.client(server.url);
      await admin.call('ACL', 'SETUSER', 'limited', 'on', '>word', '~*', '&*', '+@all');
      const complaints: string[] = [];
      const url = `redis://limited:word@127.0.0.1:${server.port}/0`;
      const store = await bench.open(url, { complain: (message) => complaints.push(message) });
      const record = aToken();
      await store.create(record);
      await admin.call('ACL', 'SETUSER', 'limited', ...less.split(' '));
      const both = async (): Promise<unknown> => {
        await store.load(record.id);
        return await store.replace(1, { ...record, name: 'other' });
      };
      for (let i = 0; i < 2; i += 1) {
        await expect(both()).rejects.toMatchObject({ ...UNAVAILABLE, message: expect.stringMatching(told) });
      }
      expect(complaints.length).toBeGreaterThan(0);
      expect(new Set(complaints).size).toBe(complaints.length);
      for (const complaint of complaints) expect(complaint).toMatch(told);
      expect(complaints[0]).toContain(`127.0.0.1:${server.port}`);
      expect(complaints[0]).not.toMatch(new RegExp(`word@|${record.digest}`));
    },
  );
});

async function everyOperation(store: Store): Promise<void> {
  const record = aToken({ created_at: NOW });
  expect(await store.create(record)).toBe(true);
  expect(await store.find(record.id)).toEqual(record);
  await store.recordUses([{ id: record.id, at: NOW, ip: '::1', count: 1, generation: 1 }]);
  expect(await store.replace(1, revoked(record))).toBe(true);
  expect((await store.load(record.id))?.record.revoked_at).not.toBeNull();
  const other = aToken();
  await store.create(other);
  await store.withdraw(other.id);
  expect((await store.list({}, { limit: 10, cursor: null, now: NOW })).tokens.length).toBeGreaterThan(0);
  await expect(store.list({}, { limit: 10, cursor: 'x', now: NOW })).rejects.toBeInstanceOf(InvalidCursor);
  expect((await store.count(NOW, [])).byClass.length).toBeGreaterThan(0);
  const [mark, ended] = [aMark({ jti: 'one' }), aMark({ jti: 'two', keepUntil: 1 })];
  for (const each of [ended, mark, mark]) expect(await store.putMark(each, 10)).not.toBeNull();
  expect(await store.findMarks([mark.id, ended.id])).toEqual([mark]);
  expect(await store.allMarks()).toEqual([mark]);
  expect(await store.claim(record.id, 'f', NOW)).toBeNull();
  await store.remember(record.id, 'f', 'v', NOW);
  await store.release(record.id);
  expect((await store.countRate(record.id, 1, 1000)).count).toBe(1);
  expect(await store.sharedKey('k')).toHaveLength(32);
  expect(await store.rememberProof(record.id, 1000)).toBe(true);
  await store.saveCheckpoint({ chain: 'c', seq: 1, hash: 'h', time: NOW });
  expect((await store.lastCheckpoint('c'))?.seq).toBe(1);
  await store.ping();
}
