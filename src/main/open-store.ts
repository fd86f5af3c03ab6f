import { readFile } from 'node:fs/promises';
import type { RedisConnection, RedisTlsFiles, StoreConfig } from '../config/config.ts';
import { openRedisStore, type RedisStoreConnection, type RedisTls } from '../store/redis/redis-store.ts';
import { openEmbeddedStore } from '../store/sqlite/embedded-store.ts';
import type { Store, StoreListener, StoreObserver } from '../store/token-store.ts';

/** Opens the store that the configuration names. */
export async function openStore(
  config: StoreConfig,
  hooks: {
    readonly observe?: StoreObserver;
    readonly listen?: StoreListener;
    /** Hears, for people, what the user of the store is not allowed to do. */
    readonly complain?: (message: string) => void;
  } = {},
): Promise<Store> {
  if (config.kind === 'embedded') return openEmbeddedStore({ path: config.path, ...hooks });
  const connection = { ...revealed(config.connection), ...(await certificates(config.tls)) };
  const wait = config.wait === null ? {} : { wait: config.wait };
  return openRedisStore({ connection, keyPrefix: config.keyPrefix, ...wait, ...hooks });
}

/** The store's own options hold plain strings: secrets are revealed here, where they are handed over. */
function revealed(connection: RedisConnection): RedisStoreConnection {
  if (connection.kind === 'standalone') return { kind: 'standalone', url: connection.url.reveal() };
  const password = connection.password?.reveal() ?? null;
  const user = connection.username === null ? {} : { username: connection.username };
  if (connection.kind === 'sentinel') {
    return { kind: 'sentinel', sentinels: connection.sentinels, name: connection.name, password, ...user };
  }
  return { kind: 'cluster', nodes: connection.nodes, password, ...user };
}

async function certificates(files: RedisTlsFiles | null): Promise<{ tls?: RedisTls }> {
  if (files === null) return {};
  const read = async (file: string | null) => (file === null ? undefined : await readFile(file, 'utf8'));
  const [ca, cert, key] = await Promise.all([read(files.ca), read(files.cert), read(files.key)]);
  return {
    tls: {
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
    },
  };
}
