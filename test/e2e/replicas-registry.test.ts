/*
 * Fault: a revocation waited for the replicas in the registry, and a store that had lost some of them (a failover to a
 * server that had not heard of them yet, a log and a registry that were lost) made it return at once, while a replica
 * that was cut off from the store still held a lease of before and let the token in.
 */
import { Redis } from 'ioredis';
import { afterEach, describe, expect, it } from 'vitest';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { TcpRelay } from '../support/tcp-relay.ts';
import { eventually, Fleet } from './replicas-fleet.ts';

/** Longer than everything between the last renewal of the replica that is cut off and the revocation. */
const LEASE_MS = 2000;

describe('a revocation that meets a registry without a replica that holds a lease', () => {
  const undo: (() => Promise<unknown>)[] = [];
  afterEach(async () => {
    for (const step of undo.splice(0).reverse()) await step();
  });

  async function redisServer(): Promise<RedisServer> {
    const server = await startRedis();
    undo.push(() => server.kill());
    return server;
  }

  async function client({ url }: RedisServer): Promise<Redis> {
    const redis = new Redis(url);
    undo.push(async () => redis.disconnect());
    return redis;
  }

  async function relayTo({ port }: RedisServer): Promise<TcpRelay> {
    const relay = await TcpRelay.start(port);
    undo.push(() => relay.close());
    return relay;
  }

  async function fleetOn(...relays: TcpRelay[]): Promise<Fleet> {
    const fleet = await Fleet.start(relays.map(storeAt));
    undo.push(() => fleet.close());
    return fleet;
  }

  const storeAt = ({ port }: { port: number }): string =>
    `{ kind: redis, url: "redis://127.0.0.1:${port}/0", lease: ${LEASE_MS}ms }`;

  /** In step for longer than a lease: nothing is left of the caution of those who have just begun. */
  async function settled(fleet: Fleet): Promise<void> {
    await eventually(async () => {
      const { id } = await fleet.issue();
      const { propagation } = await fleet.revoke(id);
      return propagation.elapsed_ms < LEASE_MS / 4;
    }, 60_000);
  }

  /** Revokes at the first replica as soon as it can, and asks the second, which is cut off. */
  async function revokeAndAsk(fleet: Fleet, id: string, token: string): Promise<void> {
    expect(await fleet.call(1, token)).toBe('200');
    let revoked = false;
    await eventually(async () => {
      revoked = await fleet.revoke(id).then(
        () => true,
        () => false,
      );
      return revoked;
    }, 60_000);
    expect(await fleet.call(1, token)).not.toBe('200');
  }

  it('waits a whole lease when the store has lost log and registry', async () => {
    const redis = await redisServer();
    const admin = await client(redis);
    const far = await relayTo(redis);
    const fleet = await fleetOn(await relayTo(redis), far);
    await settled(fleet);
    const { id, token } = await fleet.issue();
    await eventually(async () => (await fleet.call(1, token)) === '200');
    await eventually(async () => (await fleet.status(1)).lease.remaining_ms > LEASE_MS / 2);
    far.hold();
    expect(await admin.del('portcullis:{log}:changes', 'portcullis:{log}:replicas')).toBe(2);
    await revokeAndAsk(fleet, id, token);
    far.release();
    await eventually(async () => (await fleet.call(1, token)) === '401 token_revoked');
  }, 90_000);

  it('waits a whole lease after a failover to a server that has not heard of the replica', async () => {
    const primary = await redisServer();
    const successor = await redisServer();
    const near = await relayTo(primary);
    const far = await relayTo(primary);
    const fleet = await fleetOn(near);
    await settled(fleet);
    const { id, token } = await fleet.issue();
    const standby = await client(successor);
    await standby.replicaof('127.0.0.1', primary.port);
    await eventually(async () => (await standby.exists(`portcullis:token:{${id}}`)) === 1, 30_000);
    await standby.replicaof('NO', 'ONE');
    await fleet.join(storeAt(far));
    await eventually(async () => (await fleet.call(1, token)) === '200');
    await eventually(async () => (await fleet.status(1)).lease.remaining_ms > LEASE_MS / 2);
    far.hold();
    near.leadTo(successor.port);
    await primary.kill();
    await revokeAndAsk(fleet, id, token);
    far.leadTo(successor.port);
    far.release();
    await eventually(async () => (await fleet.call(1, token)) === '401 token_revoked', 30_000);
  }, 90_000);
});
