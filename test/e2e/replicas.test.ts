import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { request } from 'undici';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { WebSocket } from 'ws';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { TcpRelay } from '../support/tcp-relay.ts';
import { eventually, Fleet } from './replicas-fleet.ts';

const LEASE_MS = 1500;

describe('three replicas on one Redis', () => {
  let redis: RedisServer;
  let relay: TcpRelay;
  let fleet: Fleet;

  beforeAll(async () => {
    redis = await startRedis();
    relay = await TcpRelay.start(redis.port);
    const store = (port: number): string => `{ kind: redis, url: "redis://127.0.0.1:${port}/0", lease: ${LEASE_MS}ms }`;
    fleet = await Fleet.start([store(redis.port), store(redis.port), store(relay.port)], 2);
  }, 60_000);

  afterAll(async () => {
    await fleet?.close();
    await relay?.close();
    await redis?.stop();
  });

  const everywhere = (token: string): Promise<string[]> =>
    Promise.all([0, 1, 2].map((index) => fleet.call(index, token)));

  it('answer from memory, and refuse a token from the moment its revocation has returned', async () => {
    const took: number[] = [];
    const calls: number[] = [];
    const other = await fleet.issue();
    let loading = true;
    const load = Promise.all(
      [0, 1, 2].map(async (index) => {
        while (loading) {
          // On a machine that is too busy a command to Redis may take longer than a second: that is a 503.
          expect(await fleet.call(index, other.token)).toMatch(/^(200|503 store_unavailable)$/);
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
      }),
    );
    for (let round = 0; round < 30; round += 1) {
      const { id, token } = await fleet.issue();
      await eventually(async () => (await everywhere(token)).every((answer) => answer === '200'));
      const { propagation, tookMs } = await fleet.revoke(id, round % 3);
      expect(await everywhere(token)).toEqual(Array(3).fill('401 token_revoked'));
      expect(propagation).toMatchObject({ replicas: 3, acknowledged: 3, streams_closed: 0 });
      took.push(propagation.elapsed_ms);
      calls.push(tookMs);
    }
    loading = false;
    await load;
    const half = median(took);
    process.stdout.write(
      `revoke under load: p50 ${half.toFixed(1)} ms to three replicas, ${median(calls).toFixed(1)} ms the whole call\n`,
    );
    const { text } = await fleet.admin(0, 'GET', '/metrics');
    expect(Number(/^portcullis_cache_hits_total (\d+)/m.exec(text)?.[1])).toBeGreaterThan(30);
    expect(text).toMatch(/^portcullis_store_lease_valid 1$/m);
    expect(text).toMatch(/^portcullis_revocation_propagation_seconds_count 10$/m);
    // What it is on a quiet machine is printed; a busy one only must not make it wait for leases.
    expect(half).toBeLessThan(LEASE_MS);
  }, 60_000);

  it('close the open streams of a revoked token on every replica, and count them', async () => {
    const { id, token } = await fleet.issue();
    const streams = await Promise.all([
      ...[0, 1, 2].map((index) => fleet.webSocket(index, token)),
      ...[0, 1, 2].map((index) => fleet.events(index, token)),
    ]);
    const before = fleet.upstream.seen.length;
    const unanswered = fleet.call(1, token, '/orders/never');
    while (fleet.upstream.seen.length === before) await new Promise((resolve) => setImmediate(resolve));
    const { propagation } = await fleet.revoke(id);
    expect(propagation).toMatchObject({ replicas: 3, acknowledged: 3, streams_closed: 7 });
    await Promise.all(streams.map(({ closed }) => closed));
    expect(await unanswered).toBe('401 token_revoked');
  }, 30_000);

  it('end the event streams of their admin listeners with the token, and count them', async () => {
    const body = { name: 'follower', owner: 'tests', class: 'admin', scopes: ['portcullis:audit:read'] };
    const { id, token } = JSON.parse((await fleet.admin(0, 'POST', '/v1/tokens', body)).text) as Record<string, string>;
    const headers = { authorization: `Bearer ${token}` };
    const streams = await Promise.all(
      [0, 1, 2].map((index) => request(`${fleet.at(index).adminUrl}/v1/events`, { headers })),
    );
    expect(streams.map(({ statusCode }) => statusCode)).toEqual([200, 200, 200]);
    const texts = streams.map(({ body }) => body.text());
    // From their own side, no stream ends before its heartbeat, 15 seconds later.
    const { propagation } = await fleet.revoke(String(id), 1);
    expect(propagation).toMatchObject({ replicas: 3, acknowledged: 3, streams_closed: 3 });
    for (const text of await Promise.all(texts)) expect(text).not.toContain(': still here');
  }, 30_000);

  it('know a rotated secret, and a narrowed token, everywhere when the call returns', async () => {
    const { id, token } = await fleet.issue();
    expect(await everywhere(token)).toEqual(['200', '200', '200']);
    const rotated = JSON.parse((await fleet.admin(1, 'POST', `/v1/tokens/${id}/rotate`, { grace: '0s' })).text);
    expect(await everywhere(rotated.token)).toEqual(['200', '200', '200']);
    expect(await everywhere(token)).toEqual(Array(3).fill('401 token_superseded'));
  });

  it('do not wait longer than a lease for one that is stopped; it lets nothing in when it wakes', async () => {
    const { id, token } = await fleet.issue();
    expect(await everywhere(token)).toEqual(['200', '200', '200']);
    const { closed } = await fleet.webSocket(1, token);
    fleet.at(1).child.kill('SIGSTOP');
    const { propagation, tookMs } = await fleet.revoke(id);
    expect(tookMs).toBeLessThan(LEASE_MS + 1000);
    expect(propagation).toMatchObject({ replicas: 3, acknowledged: 2 });
    const asked = fleet.call(1, token);
    fleet.at(1).child.kill('SIGCONT');
    expect(await asked).toBe('401 token_revoked');
    await closed;
    expect(await fleet.call(1, token)).toBe('401 token_revoked');
  }, 30_000);

  it('pass nothing on that was said after the revocation while they were stopped', async () => {
    const { id, token } = await fleet.issue();
    const open = [await fleet.webSocket(2, token), await fleet.events(2, token)] as const;
    // Not even a hint is waiting for it when it wakes.
    relay.hold();
    fleet.at(2).child.kill('SIGSTOP');
    await fleet.revoke(id);
    await sayTooLate(fleet, open[0].socket);
    fleet.at(2).child.kill('SIGCONT');
    const [[code, reason]] = await Promise.all([open[0].closed, open[1].closed]);
    relay.release();
    // It cannot know that the token is revoked, only that nobody need have waited for it.
    expect([code, String(reason)]).toEqual([1013, 'store_unavailable']);
    expect([open[0].received, open[1].received, fleet.heard]).toEqual([[], ['data: first\n\n'], []]);
    await eventually(async () => (await fleet.call(2, token)) === '401 token_revoked');
  }, 30_000);

  it('wait one lease for it however many tokens are revoked in one call', async () => {
    const tokens = await Promise.all(Array.from({ length: 40 }, () => fleet.issue('in bulk')));
    const [first, second] = tokens;
    if (first === undefined || second === undefined) throw new Error('nothing was issued');
    const streams = [await fleet.webSocket(0, first.token), await fleet.webSocket(2, second.token)];
    fleet.at(1).child.kill('SIGSTOP');
    const began = performance.now();
    const { text } = await fleet.admin(0, 'POST', '/v1/revocations', { owner: 'in bulk', reason: 'test' });
    const tookMs = performance.now() - began;
    fleet.at(1).child.kill('SIGCONT');
    expect(JSON.parse(text)).toMatchObject({
      revoked: 40,
      failed: 0,
      propagation: { replicas: 3, acknowledged: 2, streams_closed: 2 },
    });
    // Forty leases would be a minute.
    expect(tookMs).toBeLessThan(10 * LEASE_MS);
    await Promise.all(streams.map(({ closed }) => closed));
    for (const { token } of tokens) expect(await fleet.call(1, token)).toBe('401 token_revoked');
  }, 30_000);

  it('do not wait longer than a lease for one that is cut off; it lets nothing in, and its streams are closed', async () => {
    const { id, token } = await fleet.issue();
    expect(await everywhere(token)).toEqual(['200', '200', '200']);
    const { closed } = await fleet.webSocket(2, token);
    let gone = false;
    void closed.then(() => {
      gone = true;
    });
    relay.hold();
    const { propagation, tookMs } = await fleet.revoke(id);
    expect(gone).toBe(true);
    expect(tookMs).toBeLessThan(LEASE_MS + 1000);
    expect(propagation.acknowledged).toBe(propagation.replicas - 1);
    expect(await fleet.call(2, token)).toBe('503 store_unavailable');
    expect((await fleet.admin(2, 'GET', '/readyz')).status).toBe(503);
    relay.release();
    await eventually(async () => (await fleet.call(2, token)) === '401 token_revoked');
    await eventually(async () => (await fleet.status(2)).lease.valid);
    const next = await fleet.issue();
    expect(await everywhere(next.token)).toEqual(['200', '200', '200']);
    expect((await fleet.revoke(next.id)).propagation).toMatchObject({ replicas: 3, acknowledged: 3 });
  }, 30_000);

  it('heal a crash between the record and the log when the revocation is repeated', async () => {
    const { id, token } = await fleet.issue();
    expect(await everywhere(token)).toEqual(['200', '200', '200']);
    const admin = new Redis(redis.url);
    const key = `portcullis:token:{${id}}`;
    const record = JSON.parse((await admin.hget(key, 'record')) ?? '{}');
    const written = { ...record, revoked_at: Date.now(), revoked_by: 'crashed', revoke_reason: null };
    await admin.hset(key, 'record', JSON.stringify(written), 'revoked', '1');
    await admin.quit();
    // Nobody was told that it is revoked, and from memory it is not.
    expect(await fleet.call(1, token)).toBe('200');
    await fleet.revoke(id, 2);
    expect(await everywhere(token)).toEqual(Array(3).fill('401 token_revoked'));
  }, 30_000);

  it('forget what they know when Redis is emptied', async () => {
    const { token } = await fleet.issue();
    expect(await everywhere(token)).toEqual(['200', '200', '200']);
    const { closed } = await fleet.webSocket(1, token);
    const admin = new Redis(redis.url);
    await admin.flushall();
    await admin.quit();
    await closed;
    for (const index of [0, 1, 2]) {
      await eventually(async () => (await fleet.call(index, token)) === '401 token_unknown');
    }
  }, 30_000);
});

describe('two processes on one embedded store', () => {
  let fleet: Fleet;
  let data: string;

  beforeAll(async () => {
    data = await mkdtemp(join(tmpdir(), 'portcullis-shared-'));
    const store = `{ kind: embedded, path: "${data}", lease: ${LEASE_MS}ms }`;
    fleet = await Fleet.start([store, store], 1);
  }, 60_000);

  afterAll(async () => {
    await fleet?.close();
    await rm(data, { recursive: true, force: true });
  });

  it('keep the same promise: refused in both, the streams of both closed and counted', async () => {
    // Each hears of the other with a renewal.
    await eventually(async () => (await fleet.status(0)).replicas === 2 && (await fleet.status(1)).replicas === 2);
    expect(await fleet.status(0)).toMatchObject({ lease: { valid: true } });
    const { id, token } = await fleet.issue();
    const streams = await Promise.all([0, 1, 1].map((index) => fleet.webSocket(index, token)));
    const { propagation } = await fleet.revoke(id);
    expect(propagation).toMatchObject({ replicas: 2, acknowledged: 2, streams_closed: 3 });
    await Promise.all(streams.map(({ closed }) => closed));
    expect(await fleet.call(1, token)).toBe('401 token_revoked');
  }, 30_000);

  it('wait one lease for a process that is stopped, and no longer once it is gone', async () => {
    const first = await fleet.issue();
    const open = [await fleet.webSocket(1, first.token), await fleet.events(1, first.token)] as const;
    const other = await fleet.issue();
    const good = await fleet.events(1, other.token);
    fleet.at(1).child.kill('SIGSTOP');
    const waited = await fleet.revoke(first.id);
    await sayTooLate(fleet, open[0].socket);
    expect(waited.tookMs).toBeLessThan(LEASE_MS + 1000);
    expect(waited.propagation).toMatchObject({ replicas: 2, acknowledged: 1 });
    fleet.at(1).child.kill('SIGCONT');
    const [[code, reason]] = await Promise.all([open[0].closed, open[1].closed]);
    expect([code, String(reason)]).toEqual([1008, 'token_revoked']);
    expect([open[0].received, open[1].received, fleet.heard]).toEqual([[], ['data: first\n\n'], []]);
    // The file says at once that this one is good.
    await eventually(async () => good.received.join('') === `data: first\n\ndata: ${TOO_LATE}\n\n`);
    expect(await fleet.call(1, first.token)).toBe('401 token_revoked');
    await fleet.at(1).signal('SIGKILL');
    const second = await fleet.issue();
    await fleet.revoke(second.id);
    const third = await fleet.issue();
    const quick = await fleet.revoke(third.id);
    expect(quick.propagation).toMatchObject({ replicas: 1, acknowledged: 1 });
    expect(quick.tookMs).toBeLessThan(LEASE_MS);
  }, 30_000);
});

const TOO_LATE = 'said after the revocation had returned';

/** On every open stream, from the upstream and from this client; all of it waits in sockets when that resolves. */
async function sayTooLate(fleet: Fleet, socket: WebSocket): Promise<void> {
  await Promise.all([fleet.say(TOO_LATE), new Promise<void>((resolve) => socket.send(TOO_LATE, () => resolve()))]);
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}
