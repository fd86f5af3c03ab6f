import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { openRedisStore, type RedisStoreOptions } from '../../src/store/redis/redis-store.ts';
import type { Store } from '../../src/store/token-store.ts';
import { type RedisServer, type RedisServerOptions, startRedis } from '../support/redis-server.ts';

export const UNAVAILABLE = { name: 'Fault', code: 'store_unavailable' };

/** What the store's listener heard, and a way to wait until it has heard a number of things. */
export class Heard {
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

/** Servers, stores, clients and folders of one test, and the way to be rid of them all. */
export class RedisBench {
  readonly #undo: (() => Promise<unknown>)[] = [];

  async redis(options: RedisServerOptions = {}): Promise<RedisServer> {
    const server = await startRedis(options);
    this.#undo.push(() => server.stop());
    return server;
  }

  async open(url: string, options: Partial<RedisStoreOptions> = {}): Promise<Store> {
    const store = await openRedisStore({ connection: { kind: 'standalone', url }, keyPrefix: 'test', ...options });
    this.#undo.push(() => store.close());
    return store;
  }

  client(url: string): Redis {
    const made = new Redis(url);
    // Some tests kill the server under it.
    made.on('error', () => {});
    this.#undo.push(async () => made.disconnect());
    return made;
  }

  async folder(): Promise<string> {
    const path = await mkdtemp(join(tmpdir(), 'portcullis-redis-data-'));
    this.#undo.push(() => rm(path, { recursive: true, force: true }));
    return path;
  }

  async clear(): Promise<void> {
    for (const step of this.#undo.splice(0).toReversed()) await step();
  }
}
