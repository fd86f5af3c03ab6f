import { type Bench, LOAD_CORE } from './bench.ts';
import { findProgram, freePort } from './processes.ts';

export const INSTALL_REDIS = 'apt-get install redis-server';

/** A Redis of the bench's own, on the core of the load, keeping nothing; null where it is not installed. */
export async function startRedis(bench: Bench): Promise<string | null> {
  if (findProgram('redis-server') === null) return null;
  const port = await freePort();
  const args = [
    '--bind',
    '127.0.0.1',
    '--port',
    String(port),
    '--dir',
    bench.folder,
    '--save',
    '',
    '--appendonly',
    'no',
  ];
  await bench.processes.start('redis-server', args, { core: LOAD_CORE, ready: /Ready to accept connections/ });
  return `redis://127.0.0.1:${port}/0`;
}
