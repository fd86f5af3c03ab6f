import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { join, resolve } from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { RedisStoreConnection } from '../../src/store/redis/redis-store.ts';

const FIXTURES = resolve(import.meta.dirname, '../fixtures/redis-tls');
const OPEN_AND_CLOSE = resolve(import.meta.dirname, '../store/processes/open-and-close.ts');
const pem = (name: string): string => readFileSync(join(FIXTURES, name), 'utf8');

/** An alert (RFC 8446 §6) in clear text, where only sealed records may come. */
const NONSENSE = Buffer.from('15030300020232', 'hex');

async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/*
 * Whoever answered in the place of a Redis with TLS could end the gateway with one packet: a certificate that is not
 * trusted, and anything that is not TLS right behind it, are two errors of one connection, and the client listened for
 * one. A Redis that was stopped or left in the middle of a handshake did the same by its alert.
 */
describe('a store whose Redis shows a certificate that is not trusted, and says more', () => {
  let redis: Server;
  let relay: Server;
  let port: number;

  beforeEach(async () => {
    redis = createTlsServer({ cert: pem('server.crt'), key: pem('server.key') });
    const behind = await listening(redis);
    relay = createServer((near) => {
      const far = connect(behind, '127.0.0.1');
      near.on('data', (bytes: Buffer) => far.write(bytes));
      far.on('data', (bytes: Buffer) => near.write(Buffer.concat([bytes, NONSENSE])));
      near.on('close', () => far.destroy()).on('error', () => far.destroy());
      far.on('close', () => near.destroy()).on('error', () => near.destroy());
    });
    port = await listening(relay);
  });
  afterEach(() => {
    relay.close();
    redis.close();
  });

  const place = (): string => `127.0.0.1:${port}`;
  const KINDS: Record<string, () => RedisStoreConnection> = {
    'one server': () => ({ kind: 'standalone', url: `rediss://${place()}/0` }),
    sentinels: () => ({ kind: 'sentinel', sentinels: [`rediss://${place()}`], name: 'main', password: null, tls: {} }),
    'a cluster': () => ({ kind: 'cluster', nodes: [`rediss://${place()}`], password: null, tls: {} }),
  };

  it.each(Object.keys(KINDS))('is unavailable, and the process lives: %s', async (kind) => {
    const connection = KINDS[kind]?.();
    const run = await promisify(execFile)(process.execPath, [OPEN_AND_CLOSE, JSON.stringify(connection)]);
    expect(run).toEqual({ stdout: expect.stringContaining('not connected'), stderr: '' });
  });
});
