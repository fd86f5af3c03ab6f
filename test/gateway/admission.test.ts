import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { AuditLog } from '../../src/audit/audit-log.ts';
import { systemClock } from '../../src/base/clock.ts';
import type { GatewayOptions } from '../../src/gateway/options.ts';
import { TrafficServer } from '../../src/gateway/server.ts';
import { createLogger } from '../../src/metrics/log.ts';
import { createMetrics } from '../../src/metrics/recorder.ts';
import type { AuditEventInput } from '../../src/model/audit-event.ts';
import { compilePolicy } from '../../src/policy/compile.ts';
import type { AuthenticationOutcome } from '../../src/token/authenticator.ts';
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
  'api: a\nupstream: a\nrules:\n  - { name: all, path: [/, "/{rest...}"], public: true }\n  - { name: mine, path: /mine, scopes: [corpus] }\n';

/** The data plane by itself: what is around it can be told to misbehave. */
const unwanted = (): Promise<never> => Promise.reject(new Error('nobody should have asked for this'));

describe('the data plane', () => {
  let upstream: RawUpstream;
  let server: TrafficServer;
  let port: number;
  let audit: MemoryAuditLog;
  let authenticate: () => AuthenticationOutcome | Promise<AuthenticationOutcome>;
  let policy: GatewayOptions['policy'];

  beforeEach(async () => {
    upstream = await RawUpstream.start();
    audit = new MemoryAuditLog();
    authenticate = () => ({ ok: false, reason: 'token_unknown', tokenId: null, generation: null });
    const compiled = compilePolicy([{ name: 'a.yaml', text: RULES }], { upstreams: null }).policy;
    policy = { current: () => compiled };
    server = new TrafficServer({
      tls: null,
      trustedProxies: [],
      limits: {
        headerBytes: 16_384,
        headers: 100,
        bodyBytes: null,
        headerTimeoutMs: 1000,
        requestTimeoutMs: 1000,
        idleTimeoutMs: 1000,
        connections: 100,
      },
      accept: [{ header: 'authorization', scheme: 'Bearer' }],
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
          },
        ],
      ]),
      authenticator: {
        authenticate: () => authenticate(),
        resembles: (value) => value.startsWith('pct_'),
      },
      // Nothing here is rotated, and nobody asks about an own token.
      generations: { retireOlder: () => unwanted(), reused: () => undefined },
      ownToken: { show: unwanted, rotate: unwanted, revoke: unwanted },
      policy: { current: () => policy.current() },
      rateLimits: {
        counter: { countRate: unwanted, countsRates: true },
        replicas: () => 1,
        onUnavailable: 'deny',
        maxStaleMs: 0,
      },
      uses: { note: () => undefined },
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
});
