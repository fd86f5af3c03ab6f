import type { RedisConnection, StoreConfig } from '../config/config.ts';
import { openRedisStore, type RedisStoreConnection } from '../store/redis/redis-store.ts';
import { openEmbeddedStore } from '../store/sqlite/embedded-store.ts';
import type { Store, StoreListener, StoreObserver } from '../store/token-store.ts';

/** Opens the store that the configuration names. */
export async function openStore(
  config: StoreConfig,
  hooks: { readonly observe?: StoreObserver; readonly listen?: StoreListener } = {},
): Promise<Store> {
  if (config.kind === 'embedded') return openEmbeddedStore({ path: config.path, ...hooks });
  return openRedisStore({ connection: revealed(config.connection), keyPrefix: config.keyPrefix, ...hooks });
}

/** The store's own options hold plain strings: secrets are revealed here, where they are handed over. */
function revealed(connection: RedisConnection): RedisStoreConnection {
  if (connection.kind === 'standalone') return { kind: 'standalone', url: connection.url.reveal() };
  const password = connection.password?.reveal() ?? null;
  if (connection.kind === 'sentinel') {
    return { kind: 'sentinel', sentinels: connection.sentinels, name: connection.name, password };
  }
  return { kind: 'cluster', nodes: connection.nodes, password };
}
