import { openRedisStore } from '../../../src/store/redis/redis-store.ts';

/* `node open-and-close.ts URL`: opens a store, asks it once, closes it, and has to end by itself. */
const [url = ''] = process.argv.slice(2);
const store = await openRedisStore({ connection: { kind: 'standalone', url }, keyPrefix: 'test' });
try {
  await store.find('nobodyknows1');
  process.stdout.write('answered\n');
} catch (error) {
  process.stdout.write(`${error instanceof Error ? error.message : error}\n`);
}
await store.close();
