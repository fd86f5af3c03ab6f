import { openRedisStore, type RedisStoreConnection } from '../../../src/store/redis/redis-store.ts';

/* `node open-and-close.ts URL` (or a connection as JSON): opens a store, asks it once, closes it, and has to end by itself. */
const [place = ''] = process.argv.slice(2);
const connection: RedisStoreConnection = place.startsWith('{') ? JSON.parse(place) : { kind: 'standalone', url: place };
const store = await openRedisStore({ connection, keyPrefix: 'test' });
try {
  await store.find('nobodyknows1');
  process.stdout.write('answered\n');
} catch (error) {
  process.stdout.write(`${error instanceof Error ? error.message : error}\n`);
}
await store.close();
