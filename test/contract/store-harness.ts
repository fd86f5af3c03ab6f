import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { Redis } from 'ioredis';
import { openRedisStore } from '../../src/store/redis/redis-store.ts';
import { openEmbeddedStore } from '../../src/store/sqlite/embedded-store.ts';
import type { Store, StoreObserver } from '../../src/store/token-store.ts';
import { startRedis } from '../support/redis-server.ts';

/** Data that stores can be opened over, one instance after the other or several at once. */
export interface StoreData {
  open(observe?: StoreObserver): Promise<Store>;
  /** Overwrites the stored text of a record, past the store. */
  damage(id: string, text: string): Promise<void>;
  /** The same for a revocation of tokens of others. */
  damageMark(id: string, text: string): Promise<void>;
  /** Appends entries to the log, past the store, until the newest one has this number. */
  fillLog(number: number): Promise<void>;
  remove(): Promise<void>;
}

/** One kind of store: what it needs once, and fresh data for each test. */
export interface StoreKind {
  readonly name: 'embedded' | 'redis';
  start(): Promise<{ fresh(): Promise<StoreData>; stop(): Promise<void> }>;
}

export const STORE_KINDS: readonly StoreKind[] = [
  { name: 'embedded', start: async () => ({ fresh: embeddedData, stop: async () => {} }) },
  {
    name: 'redis',
    start: async () => {
      const server = await startRedis();
      return { fresh: async () => redisData(server.url), stop: () => server.stop() };
    },
  },
];

async function embeddedData(): Promise<StoreData> {
  const path = await mkdtemp(join(tmpdir(), 'portcullis-store-'));
  const stores: Store[] = [];
  return {
    open: async (observe) => {
      const store = openEmbeddedStore({ path, observe });
      stores.push(store);
      return store;
    },
    fillLog: async (number) => {
      const database = new DatabaseSync(join(path, 'portcullis.db'), { timeout: 2000 });
      database.exec(`
        WITH RECURSIVE more(n) AS (SELECT max(number) + 1 FROM change_log UNION ALL SELECT n + 1 FROM more WHERE n < ${number})
        INSERT INTO change_log (number, nonce, kind, id) SELECT n, n, 'changed', 'token' FROM more`);
      database.close();
    },
    damage: async (id, text) => {
      const database = new DatabaseSync(join(path, 'portcullis.db'), { timeout: 2000 });
      database.prepare('UPDATE token SET record = ? WHERE id = ?').run(text, id);
      database.close();
    },
    damageMark: async (id, text) => {
      const database = new DatabaseSync(join(path, 'portcullis.db'), { timeout: 2000 });
      database.prepare('UPDATE revocation_mark SET mark = ? WHERE id = ?').run(text, id);
      database.close();
    },
    remove: async () => {
      for (const store of stores) await store.close();
      await rm(path, { recursive: true, force: true });
    },
  };
}

function redisData(url: string): StoreData {
  const keyPrefix = `test-${randomUUID()}`;
  const stores: Store[] = [];
  return {
    open: async (observe) => {
      const store = await openRedisStore({ connection: { kind: 'standalone', url }, keyPrefix, observe });
      stores.push(store);
      return store;
    },
    fillLog: async (number) => {
      const redis = new Redis(url);
      const [newest] = await redis.xrevrange(`${keyPrefix}:{log}:changes`, '+', '-', 'COUNT', 1);
      const pipeline = redis.pipeline();
      for (let next = Number(newest?.[0].split('-')[0]) + 1; next <= number; next += 1) {
        pipeline.xadd(`${keyPrefix}:{log}:changes`, `${next}-${next}`, 'kind', 'changed', 'id', 'token');
      }
      await pipeline.exec();
      await redis.quit();
    },
    damage: async (id, text) => {
      const redis = new Redis(url);
      await redis.hset(`${keyPrefix}:token:{${id}}`, 'record', text);
      await redis.quit();
    },
    damageMark: async (id, text) => {
      const redis = new Redis(url);
      await redis.hset(`${keyPrefix}:{log}:marks`, id, text);
      await redis.quit();
    },
    remove: async () => {
      for (const store of stores) await store.close();
    },
  };
}
