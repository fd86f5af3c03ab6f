import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { AuditLog } from '../../src/audit/audit-log.ts';
import { systemClock } from '../../src/base/clock.ts';
import { DpopNonces } from '../../src/gateway/dpop-nonces.ts';
import type { GatewayOptions } from '../../src/gateway/options.ts';
import { TrafficServer } from '../../src/gateway/server.ts';
import { createLogger } from '../../src/metrics/log.ts';
import { createMetrics } from '../../src/metrics/recorder.ts';
import type { AuditEventInput } from '../../src/model/audit-event.ts';
import { Fault } from '../../src/model/fault.ts';
import { compilePolicy } from '../../src/policy/compile.ts';
import type { ProofMemory } from '../../src/store/proof-memory.ts';
import type { RateCount, RateCounter } from '../../src/store/rate-counter.ts';
import type { AuthenticationOutcome } from '../../src/token/authenticator.ts';
import { ProofKey } from '../support/dpop-proof.ts';
import { problemOf, sendRaw, statusOf } from '../support/raw-client.ts';
import { RawUpstream } from '../support/raw-upstream.ts';

/** An audit trail in memory, which can be as full as a test wants. */
class MemoryAuditLog implements AuditLog {
  readonly events: AuditEventInput[] = [];
  saturated = false;
  record(event: AuditEventInput): void {
    this.events.push(event);
  }
  async recordDurably(event: AuditEventInput): Promise<void> {
    this.events.push(event);
  }
  subscribe(): () => void {
    return () => undefined;
  }
  async close(): Promise<void> {}
}

const RULES =
  'api: a\nupstream: a\nrules:\n  - { name: all, path: [/, "/{rest...}"], public: true }\n  - { name: mine, path: /mine, scopes: [corpus] }\n  - { name: few, path: /few, scopes: [corpus], rate_limit: { requests: 2, per: 1m } }\n';

/** The data plane by itself: what is around it can be told to misbehave. */
const unwanted = (): Promise<never> => Promise.reject(new Error('nobody should have asked for this'));

describe('the data plane', () => {
  let upstream: RawUpstream;
  let server: TrafficServer;
  let port: number;
  let audit: MemoryAuditLog;
  let authenticate: () => AuthenticationOutcome | Promise<AuthenticationOutcome>;
  let policy: GatewayOptions['policy'];
  let countRate: RateCounter['countRate'];
  let nonces: DpopNonces | null;
  let rememberProof: ProofMemory['rememberProof'];
  let isRevoked: GatewayOptions['isRevoked'];
  let standing: GatewayOptions['standing'];
  let noted: string[];

  beforeEach(async () => {
    noted = [];
    upstream = await RawUpstream.start();
    audit = new MemoryAuditLog();
    authenticate = () => ({ ok: false, reason: 'token_unknown', tokenId: null, generation: null });
    const compiled = compilePolicy([{ name: 'a.yaml', text: RULES }], { upstreams: null }).policy;
    policy = { current: () => compiled };
    countRate = unwanted;
    rememberProof = unwanted;
    isRevoked = () => {
      throw new Error('nobody asks this about a token of this gateway');
    };
    standing = () => null;
    nonces = null;
    server = new TrafficServer({
      tls: null,
      trustedProxies: [],
      resource: { configured: null, authorizationServers: [] },
      limits: {
        headerBytes: 16_384,
        headers: 100,
        bodyBytes: null,
        mcpMessageBytes: 65_536,
        headerTimeoutMs: 1000,
        requestTimeoutMs: 1000,
        idleTimeoutMs: 1000,
        connections: 100,
      },
      accept: [{ header: 'authorization', scheme: 'Bearer' }],
      possession: {
        proofs: { rememberProof: (key, keepMs) => rememberProof(key, keepMs) },
        proofLifetimeMs: 60_000,
        clockSkewMs: 0,
        get nonces() {
          return nonces;
        },
      },
      expiryWarningMs: 0,
      upstreams: new Map([
        [
          'a',
          {
            name: 'a',
            url: new URL(upstream.url),
            preserveHost: false,
            connectTimeoutMs: 1000,
            responseTimeoutMs: 1000,
            credential: null,
            assertion: false,
          },
        ],
      ]),
      assertion: null,
      authenticator: {
        authenticate: () => authenticate(),
        resembles: (value) => value.startsWith('pct_'),
      },
      // Nothing here is rotated, and nobody asks about an own token.
      generations: { retireOlder: () => unwanted(), reused: () => undefined },
      standing: (principal, whenUnavailable) => standing(principal, whenUnavailable),
      isRevoked: (principal) => isRevoked(principal),
      ownToken: { show: unwanted, rotate: unwanted, revoke: unwanted },
      policy: { current: () => policy.current() },
      rateLimits: {
        counter: { countRate: (key, add, perMs) => countRate(key, add, perMs), countsRates: true },
        replicas: () => 2,
        onUnavailable: 'deny',
        maxStaleMs: 0,
      },
      uses: { note: ({ id }) => noted.push(id) },
      audit,
      metrics: createMetrics(),
      clock: systemClock,
      log: createLogger({ level: 'silent' }),
    });
    ({ port } = await server.listen('127.0.0.1', 0));
  });

  afterEach(async () => {
    await server.drain(0);
    await upstream.close();
  });

  const get = async (path: string, fields = ''): Promise<{ status: number; reason: string | null }> => {
    const { text } = await sendRaw(port, `GET ${path} HTTP/1.1\r\nHost: a\r\n${fields}Connection: close\r\n\r\n`);
    return { status: statusOf(text), reason: statusOf(text) === 200 ? null : problemOf(text).reason };
  };

  it('lets a public path through, so that the rest means something', async () => {
    expect(await get('/x')).toEqual({ status: 200, reason: null });
  });

  it('takes nothing while the audit trail is full', async () => {
    audit.saturated = true;
    expect(await get('/x')).toEqual({ status: 503, reason: 'overloaded' });
    expect(upstream.connections).toEqual([]);
  });

  it('takes nothing without a policy', async () => {
    policy = { current: () => null };
    expect(await get('/x')).toEqual({ status: 403, reason: 'route_not_declared' });
    expect(upstream.connections).toEqual([]);
  });

  it.each([
    [
      'throws',
      () => {
        throw new TypeError('a fault');
      },
    ],
    ['rejects', () => Promise.reject(new TypeError('a fault'))],
  ])('passes nothing on when what authenticates %s, and stays up', async (_how, fails) => {
    authenticate = fails;
    expect(await get('/mine', 'Authorization: Bearer x\r\n')).toEqual({ status: 503, reason: 'overloaded' });
    expect(upstream.connections).toEqual([]);
    expect(audit.events.at(-1)).toMatchObject({ type: 'access.denied', outcome: 'failure', reason: 'overloaded' });
    expect(await get('/x')).toEqual({ status: 200, reason: null });
  });

  it('hands no path of its own to an upstream, whatever the policy says', async () => {
    for (const path of [
      '/.portcullis',
      '/.portcullis/token',
      '/%2eportcullis/token',
      '//.portcullis/x',
      '/.well-known/oauth-protected-resource',
    ]) {
      expect({ path, ...(await get(path)) }).toEqual({ path, status: 401, reason: 'token_missing' });
    }
    expect(upstream.connections).toEqual([]);
  });

  it('takes what looks like a token of ours out of any field', async () => {
    const fields = [
      'X-Other: pct_test_abc',
      'Authorization: Token pct_test_abc',
      'X-Auth: Bearer  pct_test_abc',
      'X-Kept: pct',
    ];
    expect(await get('/x', `${fields.join('\r\n')}\r\n`)).toMatchObject({ status: 200 });
    expect(JSON.stringify(upstream.requests)).not.toContain('pct_test_abc');
    expect(JSON.stringify(upstream.requests)).toContain('x-kept');
  });

  const holder = (): AuthenticationOutcome => ({
    ok: true,
    generation: 1,
    principal: {
      tokenType: 'opaque',
      tokenId: 'abcdefghijkl',
      subject: null,
      owner: 'tests',
      class: 'service',
      scopes: ['corpus'],
      roles: [],
      claims: {},
      ip: [],
      issuedAt: Date.now(),
      expiresAt: Date.now() + 3_600_000,
      supersededUntil: null,
      foreign: null,
      confirmation: null,
    },
  });
  const few = (): Promise<{ status: number; reason: string | null }> => get('/few', 'Authorization: Bearer x\r\n');

  it('asks again what has become of the token when a request has waited for its limit', async () => {
    authenticate = holder;
    const asked = Promise.withResolvers<void>();
    const answer = Promise.withResolvers<RateCount>();
    countRate = () => {
      asked.resolve();
      return answer.promise;
    };
    const waiting = few();
    await asked.promise;
    server.gateway.streams.closeToken('abcdefghijkl');
    answer.resolve({ count: 1, leftMs: 1000 });
    expect(await waiting).toEqual({ status: 401, reason: 'token_revoked' });
    expect(upstream.connections).toEqual([]);
  });

  /** A process that was stopped for longer than its lease while it waited has heard of nothing. */
  it.each([
    ['nobody can be asked', 'store_unavailable', 'store_unavailable', 503],
    ['it was revoked', 'store_unavailable', 'token_revoked', 401],
    ['it was revoked, as is known at once', 'token_revoked', null, 401],
    ['it is still good', 'store_unavailable', null, 200],
    ['the lease is valid', null, 'token_revoked', 200],
  ] as const)('looks at the token again when its lease ended meanwhile: %s', async (_, known, lookedUp, status) => {
    const key = await ProofKey.generate();
    const confirmation = { keyThumbprint: key.thumbprint, certificateThumbprint: null };
    const letIn = (bound: boolean): AuthenticationOutcome => {
      const outcome = holder();
      if (!outcome.ok || !bound) return outcome;
      return { ...outcome, principal: { ...outcome.principal, confirmation } };
    };
    const proof = await key.proof({ url: 'http://a/mine', token: 'x' });
    const ways: readonly [string, string, boolean][] = [
      ['/few', 'Authorization: Bearer x\r\n', false],
      ['/mine', `Authorization: DPoP x\r\nDPoP: ${proof}\r\n`, true],
    ];
    for (const [path, fields, bound] of ways) {
      const asked = Promise.withResolvers<void>();
      const answer = Promise.withResolvers<void>();
      const wait = async (): Promise<void> => {
        asked.resolve();
        await answer.promise;
      };
      countRate = () => wait().then(() => ({ count: 1, leftMs: 1000 }));
      rememberProof = () => wait().then(() => true);
      standing = () => null;
      authenticate = () => letIn(bound);
      const waiting = get(path, fields);
      await asked.promise;
      standing = () => known;
      authenticate = () => {
        if (lookedUp === null) return Promise.resolve(letIn(bound));
        if (lookedUp === 'store_unavailable') return Promise.reject(new Fault('store_unavailable', 'away'));
        return { ok: false, reason: lookedUp, tokenId: 'abcdefghijkl', generation: null };
      };
      answer.resolve();
      const reason = status === 200 ? null : status === 503 ? 'store_unavailable' : 'token_revoked';
      expect({ path, ...(await waiting) }).toEqual({ path, status, reason });
    }
    expect(upstream.requests).toHaveLength(status === 200 ? 2 : 0);
  });

  it('asks nothing again about a request that has not waited', async () => {
    authenticate = holder;
    standing = () => {
      throw new Error('nobody has waited');
    };
    expect(await get('/mine', 'Authorization: Bearer x\r\n')).toEqual({ status: 200, reason: null });
    // A look-up that took its time is not waiting: it is as fresh as it can be.
    authenticate = () => Promise.resolve(holder());
    expect(await get('/mine', 'Authorization: Bearer x\r\n')).toEqual({ status: 200, reason: null });
  });

  it('asks so about a token of somebody else too, which nobody has revoked by its id', async () => {
    const own = holder();
    if (!own.ok) throw new Error('the holder is let in');
    const foreign = { issuer: 'https://issuer.test', jti: null, subject: null, issuedAt: null };
    authenticate = () => ({ ...own, principal: { ...own.principal, tokenId: 'jwt:one', foreign } });
    const asked = Promise.withResolvers<void>();
    const answer = Promise.withResolvers<RateCount>();
    countRate = () => {
      asked.resolve();
      return answer.promise;
    };
    let revoked = false;
    isRevoked = ({ tokenId }) => revoked && tokenId === 'jwt:one';
    const waiting = few();
    await asked.promise;
    revoked = true;
    expect(server.gateway.streams.closeRevoked()).toBe(0);
    answer.resolve({ count: 1, leftMs: 1000 });
    expect(await waiting).toEqual({ status: 401, reason: 'token_revoked' });
    expect(upstream.connections).toEqual([]);
  });

  it('notes the use of its own tokens, and none of those that have no record here', async () => {
    const own = holder();
    if (!own.ok) throw new Error('the holder is let in');
    authenticate = () => own;
    expect(await get('/mine', 'Authorization: Bearer x\r\n')).toEqual({ status: 200, reason: null });
    const foreign = { issuer: 'https://issuer.test', jti: null, subject: null, issuedAt: null };
    isRevoked = () => false;
    authenticate = () => ({ ...own, principal: { ...own.principal, tokenId: 'jwt:one', foreign } });
    expect(await get('/mine', 'Authorization: Bearer x\r\n')).toEqual({ status: 200, reason: null });
    expect(noted).toEqual(['abcdefghijkl']);
  });

  it('lets those that wait for one limit wait for one answer, and gives each its own place', async () => {
    authenticate = holder;
    const asked = Promise.withResolvers<void>();
    const first = Promise.withResolvers<RateCount>();
    const counts: number[] = [];
    countRate = (_key, add) => {
      counts.push(add);
      asked.resolve();
      return counts.length === 1 ? first.promise : Promise.resolve({ count: 1 + add, leftMs: 1000 });
    };
    const one = few();
    await asked.promise;
    const others = [few(), few(), few()];
    while (server.gateway.inFlight < 4) await new Promise((resolve) => setImmediate(resolve));
    first.resolve({ count: 1, leftMs: 1000 });
    expect(await one).toEqual({ status: 200, reason: null });
    const outcomes = (await Promise.all(others)).map(({ status }) => status).toSorted((a, b) => a - b);
    expect(outcomes).toEqual([200, 429, 429]);
    expect(counts).toEqual([1, 3]);
    expect(await few()).toEqual({ status: 429, reason: 'rate_limited' });
    expect(counts).toEqual([1, 3]);
  });

  it.each([
    ['the store is lost', new Fault('store_unavailable', 'away'), 'store_unavailable'],
    ['the store is full', new Fault('store_full', 'full'), 'store_unavailable'],
    ['something is wrong with us', new TypeError('a fault'), 'overloaded'],
  ])('refuses what cannot be counted because %s, and everybody who waited for it', async (_why, error, reason) => {
    authenticate = holder;
    const asked = Promise.withResolvers<void>();
    const answer = Promise.withResolvers<RateCount>();
    countRate = () => {
      asked.resolve();
      return answer.promise;
    };
    const one = few();
    await asked.promise;
    const other = few();
    while (server.gateway.inFlight < 2) await new Promise((resolve) => setImmediate(resolve));
    answer.reject(error);
    expect([await one, await other]).toEqual([
      { status: 503, reason },
      { status: 503, reason },
    ]);
    countRate = () => Promise.resolve({ count: 1, leftMs: 1000 });
    expect(await few()).toEqual({ status: 200, reason: null });
  });

  it.each([
    ['was revoked', () => server.gateway.streams.closeToken('abcdefghijkl'), { status: 401, reason: 'token_revoked' }],
    ['has ended', () => undefined, { status: 401, reason: 'token_expired' }],
    ['is as it was', () => undefined, { status: 200, reason: null }],
  ])('lets in after a proof what then still may: its token %s meanwhile', async (how, meanwhile, expected) => {
    const key = await ProofKey.generate();
    const asked = Promise.withResolvers<void>();
    const answer = Promise.withResolvers<boolean>();
    rememberProof = () => {
      asked.resolve();
      return answer.promise;
    };
    const expiresAt = how === 'has ended' ? Date.now() + 1000 : Date.now() + 60_000;
    const confirmation = { keyThumbprint: key.thumbprint, certificateThumbprint: null };
    authenticate = () => {
      const outcome = holder();
      return outcome.ok ? { ...outcome, principal: { ...outcome.principal, confirmation, expiresAt } } : outcome;
    };
    const proof = await key.proof({ url: 'http://a/mine', token: 'secret' });
    const request = get('/mine', `Authorization: DPoP secret\r\nDPoP: ${proof}\r\n`);
    await asked.promise;
    meanwhile();
    while (how === 'has ended' && Date.now() < expiresAt) await new Promise((resolve) => setTimeout(resolve, 10));
    answer.resolve(true);
    expect(await request).toEqual(expected);
    expect(upstream.connections).toHaveLength(expected.status === 200 ? 1 : 0);
  });

  it('tells the next nonce with an answer in time, and takes no proof without one (RFC 9449 §8.2, §11.3)', async () => {
    const key = await ProofKey.generate();
    const confirmation = { keyThumbprint: key.thumbprint, certificateThumbprint: null };
    authenticate = () => {
      const outcome = holder();
      return outcome.ok ? { ...outcome, principal: { ...outcome.principal, confirmation } } : outcome;
    };
    rememberProof = () => true;
    nonces = new DpopNonces({ sharedKey: () => Buffer.alloc(32, 1) }, null);
    const send = async (nonce: string | undefined, path = '/mine') => {
      const proof = await key.proof({ url: `http://a${path}`, token: 's' }, { claims: { nonce } });
      const fields = `Host: a\r\nAuthorization: DPoP s\r\nDPoP: ${proof}\r\nConnection: close`;
      const { text } = await sendRaw(port, `GET ${path} HTTP/1.1\r\n${fields}\r\n\r\n`);
      return [statusOf(text), /^dpop-nonce: (.*)$/im.exec(text)?.[1]?.trim()];
    };
    // Not across the end of a minute: what is current has to stay so for the length of the test.
    while (Date.now() % 60_000 > 55_000) await new Promise((resolve) => setTimeout(resolve, 100));
    const current = await nonces.current(Date.now());
    const old = await nonces.current(Date.now() - 60_000);
    expect(await send(current)).toEqual([200, undefined]);
    expect(await send(old)).toEqual([200, current]);
    expect(await send(await nonces.current(Date.now() - 120_000))).toEqual([401, current]);
    expect(await send(undefined)).toEqual([401, current]);
  });

  it('passes nothing on when whether a proof was used before cannot be said', async () => {
    const key = await ProofKey.generate();
    const confirmation = { keyThumbprint: key.thumbprint, certificateThumbprint: null };
    authenticate = () => {
      const outcome = holder();
      return outcome.ok ? { ...outcome, principal: { ...outcome.principal, confirmation } } : outcome;
    };
    const send = async () =>
      get('/mine', `Authorization: DPoP s\r\nDPoP: ${await key.proof({ url: 'http://a/mine', token: 's' })}\r\n`);
    rememberProof = () => Promise.reject(new Fault('store_unavailable', 'away'));
    expect(await send()).toEqual({ status: 503, reason: 'store_unavailable' });
    rememberProof = () => {
      throw new Fault('store_full', 'full');
    };
    expect(await send()).toEqual({ status: 503, reason: 'store_unavailable' });
    rememberProof = () => Promise.reject(new TypeError('a fault'));
    expect(await send()).toEqual({ status: 503, reason: 'overloaded' });
    expect(upstream.connections).toEqual([]);
  });
});
