/*
 * "When a revoke call returns, the token is dead on every replica and its open streams are closed", for tokens that somebody else
 * issued: real JWTs, several processes, a real Redis that is emptied, and one embedded store.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { request } from 'undici';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { TestIssuer } from '../support/test-issuer.ts';
import { eventually, Fleet, type Revocation } from './replicas-fleet.ts';

const LEASE_MS = 1500;

/** A revocation, of whatever kind. */
type Revoke = (token: string, claims: { readonly sub: string; readonly jti: string }) => Promise<unknown>;

interface Bulk extends Revocation {
  readonly marks: readonly Readonly<Record<string, unknown>>[];
  readonly streams_open?: number;
}

async function bulk(fleet: Fleet, body: Readonly<Record<string, unknown>>, at = 0): Promise<Bulk> {
  const { status, text } = await fleet.admin(at, 'POST', '/v1/revocations', { reason: 'test', ...body });
  if (status !== 200) throw new Error(`the revocation answered ${status}: ${text}`);
  return JSON.parse(text) as Bulk;
}

async function post(
  url: string,
  token: string,
  type: string,
  body: string,
): Promise<Readonly<Record<string, unknown>>> {
  const headers = { authorization: `Bearer ${token}`, 'content-type': type };
  const { statusCode, body: answer } = await request(url, { method: 'POST', headers, body });
  const text = await answer.text();
  if (statusCode !== 200) throw new Error(`${url} answered ${statusCode}: ${text}`);
  return JSON.parse(text) as Record<string, unknown>;
}

describe('three replicas on one Redis, and JWTs', () => {
  let redis: RedisServer;
  let fleet: Fleet;
  let issuer: TestIssuer;
  let store: (port: number) => string;

  beforeAll(async () => {
    redis = await startRedis();
    issuer = await TestIssuer.create('https://issuer.test');
    store = (port) => `{ kind: redis, url: "redis://127.0.0.1:${port}/0", lease: ${LEASE_MS}ms }`;
    const stores = [store(redis.port), store(redis.port), store(redis.port)];
    fleet = await Fleet.start(stores, 2, { issuers: `[ ${issuer.yaml} ]` });
    // Its keys come in the background.
    const token = issuer.token();
    await eventually(async () => (await everywhere(token)).every((answer) => answer === '200'));
  }, 60_000);

  afterAll(async () => {
    await fleet?.close();
    await redis?.stop();
    await issuer?.close();
  });

  const everywhere = (token: string): Promise<string[]> =>
    Promise.all(fleet.programs.map((_, index) => fleet.call(index, token)));
  const refused = (): string[] => fleet.programs.map(() => '401 token_revoked');
  const allowed = (): string[] => fleet.programs.map(() => '200');

  const WAYS: readonly (readonly [string, Revoke])[] = [
    ['jti', (_, { jti }) => bulk(fleet, { jti })],
    ['jti and issuer', (_, { jti }) => bulk(fleet, { jti, issuer: issuer.name }, 1)],
    ['subject', (_, { sub }) => bulk(fleet, { subject: sub }, 2)],
    [
      'subject, issuer and time of issue',
      (_, { sub }) => bulk(fleet, { subject: sub, issuer: issuer.name, issued_before: soon() }),
    ],
    ['the token itself', (token) => bulk(fleet, { token })],
    [
      'RFC 7009',
      (token) =>
        post(
          `${fleet.at(1).adminUrl}/v1/revoke`,
          fleet.adminToken,
          'application/x-www-form-urlencoded',
          `token=${token}`,
        ),
    ],
    [
      'the id that the audit trail shows',
      async (token) => {
        const { body } = await request(`${fleet.at(0).trafficUrl}/.portcullis/token`, {
          headers: { authorization: `Bearer ${token}` },
        });
        const { id } = (await body.json()) as { id: string };
        return fleet.revoke(id, 2);
      },
    ],
    [
      'its holder',
      (token) => post(`${fleet.at(1).trafficUrl}/.portcullis/token/revoke`, token, 'application/json', '{}'),
    ],
  ];

  it.each(WAYS)(
    'refuse one that was let in by all as soon as its revocation by %s has returned',
    async (way, revoke) => {
      const claims = { sub: `subject of ${way}`, jti: `jti of ${way}` };
      const [token, other] = [issuer.token(claims), issuer.token({ sub: 'somebody else' })];
      expect(await everywhere(token)).toEqual(allowed());
      const answer = await revoke(token, claims);
      expect(await everywhere(token)).toEqual(refused());
      expect(await everywhere(other)).toEqual(allowed());
      if (way !== 'RFC 7009') expect(answer).toMatchObject({ propagation: { replicas: 3, acknowledged: 3 } });
      // Nor one that looks different and is the same to its issuer.
      if (way === 'jti') expect(await everywhere(issuer.token({ jti: claims.jti, sub: 'another' }))).toEqual(refused());
    },
    30_000,
  );

  it('close what is open with one on every replica, and count it', async () => {
    const claims = { sub: 'streams' };
    const [token, other] = [issuer.token(claims), issuer.token()];
    const streams = await Promise.all([
      ...[0, 1, 2].map((index) => fleet.webSocket(index, token)),
      ...[0, 1, 2].map((index) => fleet.events(index, token)),
    ]);
    const good = await fleet.events(1, other);
    const before = fleet.upstream.seen.length;
    const unanswered = fleet.call(1, token, '/orders/never');
    while (fleet.upstream.seen.length === before) await new Promise((resolve) => setImmediate(resolve));
    const dry = await bulk(fleet, { subject: 'streams', dry_run: true }, 1);
    expect(dry).toMatchObject({ streams_open: 3, marks: [{ subject: 'streams' }] });
    const { propagation } = await bulk(fleet, { subject: 'streams' });
    expect(propagation).toMatchObject({ replicas: 3, acknowledged: 3, streams_closed: 7 });
    await Promise.all(streams.map(({ closed }) => closed));
    expect(await unanswered).toBe('401 token_revoked');
    await fleet.say('still here');
    await eventually(async () => good.received.join('').includes('still here'));
  }, 30_000);

  it('pass nothing on that was said after the revocation while they were stopped', async () => {
    const token = issuer.token({ jti: 'stopped' });
    const open = [await fleet.webSocket(2, token), await fleet.events(2, token)] as const;
    fleet.at(2).child.kill('SIGSTOP');
    const { propagation } = await bulk(fleet, { jti: 'stopped' });
    expect(propagation).toMatchObject({ replicas: 3, acknowledged: 2 });
    fleet.heard.length = 0;
    await Promise.all([
      fleet.say('too late'),
      new Promise<void>((sent) => open[0].socket.send('too late', () => sent())),
    ]);
    const asked = fleet.call(2, token);
    fleet.at(2).child.kill('SIGCONT');
    expect(await asked).toBe('401 token_revoked');
    await Promise.all(open.map(({ closed }) => closed));
    expect([open[0].received, open[1].received.join(''), fleet.heard]).toEqual([[], 'data: first\n\n', []]);
  }, 30_000);

  it('remember for a Redis that was emptied, also for one that begins later', async () => {
    const [token, good] = [issuer.token({ jti: 'before' }), issuer.token()];
    await bulk(fleet, { jti: 'before' });
    const admin = new Redis(redis.url);
    await admin.flushall();
    const still = async (): Promise<boolean> =>
      (await everywhere(token)).every((answer) => answer === '401 token_revoked');
    expect(await still()).toBe(true);
    await eventually(async () =>
      Object.values(await admin.hgetall('portcullis:{log}:marks'))
        .join()
        .includes('"before"'),
    );
    await admin.quit();
    await fleet.join(store(redis.port));
    await eventually(async () => (await everywhere(good)).every((answer) => answer === '200'));
    expect(await everywhere(token)).toEqual(refused());
  }, 60_000);
});

describe('two processes on one embedded store, and JWTs', () => {
  let fleet: Fleet;
  let issuer: TestIssuer;
  let data: string;

  beforeAll(async () => {
    data = await mkdtemp(join(tmpdir(), 'portcullis-shared-'));
    issuer = await TestIssuer.create('https://issuer.test');
    const store = `{ kind: embedded, path: "${data}", lease: ${LEASE_MS}ms }`;
    fleet = await Fleet.start([store, store], 1, { issuers: `[ ${issuer.yaml} ]` });
    await eventually(async () => (await fleet.status(0)).replicas === 2 && (await fleet.status(1)).replicas === 2);
    const token = issuer.token();
    for (const index of [0, 1]) await eventually(async () => (await fleet.call(index, token)) === '200');
  }, 60_000);

  afterAll(async () => {
    await fleet?.close();
    await issuer?.close();
    await rm(data, { recursive: true, force: true });
  });

  it('keep the same promise: refused in both, the streams of both closed and counted', async () => {
    const token = issuer.token({ sub: 'alice' });
    const streams = await Promise.all([0, 1, 1].map((index) => fleet.webSocket(index, token)));
    const { propagation } = await bulk(fleet, { subject: 'alice' });
    expect(propagation).toMatchObject({ replicas: 2, acknowledged: 2, streams_closed: 3 });
    await Promise.all(streams.map(({ closed }) => closed));
    for (const index of [0, 1]) expect(await fleet.call(index, token)).toBe('401 token_revoked');
  }, 30_000);

  it('ask the file at once when one was stopped: the revoked one is cut, the good one goes on', async () => {
    const [token, other] = [issuer.token({ jti: 'stopped' }), issuer.token()];
    const open = [await fleet.webSocket(1, token), await fleet.events(1, token)] as const;
    const good = await fleet.events(1, other);
    fleet.at(1).child.kill('SIGSTOP');
    const { propagation } = await bulk(fleet, { jti: 'stopped' });
    expect(propagation).toMatchObject({ replicas: 2, acknowledged: 1 });
    fleet.heard.length = 0;
    await Promise.all([
      fleet.say('too late'),
      new Promise<void>((sent) => open[0].socket.send('too late', () => sent())),
    ]);
    fleet.at(1).child.kill('SIGCONT');
    const [[code, reason]] = await Promise.all([open[0].closed, open[1].closed]);
    expect([code, String(reason)]).toEqual([1008, 'token_revoked']);
    expect([open[0].received, open[1].received.join(''), fleet.heard]).toEqual([[], 'data: first\n\n', []]);
    await eventually(async () => good.received.join('').includes('too late'));
    await eventually(async () => (await fleet.status(1)).lease.valid);
    await fleet.say('and on');
    await eventually(async () => good.received.join('').includes('and on'));
    expect(await fleet.call(1, token)).toBe('401 token_revoked');
  }, 30_000);
});

/** Tokens say when they were issued in whole seconds. */
function soon(): string {
  return new Date(Date.now() + 2000).toISOString();
}
