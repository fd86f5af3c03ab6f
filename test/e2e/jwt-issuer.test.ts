import { readFile } from 'node:fs/promises';
import { decodeJwt, decodeProtectedHeader } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Answer, TestGateway } from '../support/gateway.ts';
import { API, OidcIssuer } from '../support/oidc-issuer.ts';
import { TestUpstream } from '../support/upstream.ts';

const POLICY = (issuer: string): string => `api: orders
upstream: orders
rules:
  - { name: read, methods: [GET], path: /orders, scopes: [orders:read] }
  - { name: write, methods: [POST], path: /orders, scopes: [orders:write] }
  - { name: of a tenant, methods: [GET], path: "/orders/{tenant}", scopes: [orders:read], when: { claims: { tenant: "{tenant}", iss: "${issuer}" } } }
  - { name: jwt only, methods: [GET], path: /jwt, scopes: [orders:read], when: { token_type: jwt } }
  - { name: own only, methods: [GET], path: /own, scopes: [orders:read], when: { token_type: opaque } }
  - { name: fresh, methods: [GET], path: /fresh, scopes: [orders:read], when: { max_token_age: 1h } }
  - { name: limited, methods: [GET], path: /limited, scopes: [orders:read], rate_limit: { requests: 2, per: 1h, by: subject } }
`;
const OWN = '/.portcullis/token';
const REFRESHES = /^portcullis_jwks_refresh_total\{.*result="success"/;
const FAILURES = /^portcullis_jwks_refresh_total\{.*result="failure"/;

const told = ({ status, problem }: Answer): string => (status === 200 ? 'ok' : `${status} ${problem?.reason}`);

describe('a gateway that takes the tokens of an authorization server', () => {
  let issuer: OidcIssuer;
  let upstream: TestUpstream;
  let gateway: TestGateway;
  const others: TestGateway[] = [];

  async function start(): Promise<TestGateway> {
    return await TestGateway.start({
      upstreams: { orders: upstream.url },
      policies: { 'orders.yaml': POLICY(issuer.url) },
      config: { issuers: `[ { issuer: "${issuer.url}", audience: "${API}", discovery: true, typ: at+jwt } ]` },
    });
  }

  beforeAll(async () => {
    [issuer, upstream] = await Promise.all([OidcIssuer.start(), TestUpstream.start()]);
    gateway = await start();
  });

  afterAll(async () => {
    await Promise.all([gateway, ...others].map((each) => each?.close()));
    await Promise.all([issuer?.close(), upstream?.close()]);
  });

  it('lets them in by their scopes, and says upstream who it is', async () => {
    const token = await issuer.token();
    expect(decodeProtectedHeader(token)).toMatchObject({ typ: 'at+jwt', alg: 'ES256', kid: 'k1' });
    upstream.seen.length = 0;
    expect(told(await gateway.call('/orders', { token }))).toBe('ok');
    expect(told(await gateway.call('/orders', { token, method: 'POST' }))).toBe('403 scope_insufficient');
    expect(upstream.seen.map(({ headers }) => headers)).toEqual([
      expect.objectContaining({
        'portcullis-token-id': expect.stringMatching(/^jwt:[\w-]{22}$/),
        'portcullis-subject': 'shop',
        'portcullis-scopes': 'orders:read',
      }),
    ]);
    expect(upstream.seen[0]?.headers['authorization']).toBeUndefined();
    const both = await issuer.token('orders:read orders:write');
    expect(told(await gateway.call('/orders', { method: 'POST', headers: { 'x-api-key': both } }))).toBe('ok');
  });

  it('judges them by the same conditions and limits', async () => {
    const token = await issuer.token();
    const paths = ['/orders/acme', '/orders/other', '/jwt', '/own', '/fresh', '/limited', '/limited', '/limited'];
    const answers: string[] = [];
    for (const path of paths) answers.push(told(await gateway.call(path, { token })));
    expect(answers).toEqual([
      'ok',
      '403 condition_failed',
      'ok',
      '403 condition_failed',
      'ok',
      'ok',
      'ok',
      '429 rate_limited',
    ]);
  });

  it('records who issued it, and nothing of the token itself', async () => {
    const token = await issuer.token();
    const answer = await gateway.call('/orders', { token });
    const { jti } = decodeJwt(token);
    expect(answer.headers['portcullis-token-expires']).toBe(
      new Date(Number(decodeJwt(token).exp) * 1000 + 30_000).toISOString(),
    );
    const event = await gateway.eventOf(answer);
    expect(event).toMatchObject({
      type: 'access.allowed',
      token_type: 'jwt',
      token_id: expect.stringMatching(/^jwt:/),
      subject: 'shop',
      details: {
        token: { issuer: issuer.url, jti, scopes: ['orders:read'], claims: { tenant: 'acme', client_id: 'shop' } },
      },
    });
    expect(event['owner']).toBeUndefined();
    const trail = await readFile(gateway.auditFile, 'utf8');
    for (const part of token.split('.')) expect(trail).not.toContain(part);
  });

  it('shows a holder the own token, and does not rotate it', async () => {
    const token = await issuer.token();
    const shown = await gateway.call(OWN, { token });
    const claims = decodeJwt(token);
    expect(JSON.parse(shown.text)).toMatchObject({
      type: 'jwt',
      issuer: issuer.url,
      jti: claims.jti,
      subject: 'shop',
      scopes: ['orders:read'],
      status: 'active',
      expires_at: new Date(Number(claims.exp) * 1000 + 30_000).toISOString(),
    });
    const rotated = await gateway.call(`${OWN}/rotate`, { method: 'POST', token });
    expect([told(rotated), rotated.problem?.detail]).toEqual([
      '409 conflict',
      'The token was issued by somebody else. A new secret for it comes from its issuer, not from this gateway.',
    ]);
  });

  it('takes none of them for the admin API', async () => {
    const answer = await gateway.admin('GET', '/v1/status', undefined, await issuer.token());
    expect(told(answer)).toBe('401 token_untrusted');
  });

  it('says what is wrong, and challenges for a better token', async () => {
    const token = await issuer.token();
    const forged = `${token.slice(0, token.lastIndexOf('.'))}.${Buffer.alloc(64, 1).toString('base64url')}`;
    const answer = await gateway.call('/orders', { token: forged });
    expect([told(answer), answer.problem?.detail]).toEqual([
      '401 token_untrusted',
      'The token is not trusted here. Its signature is not that of its issuer.',
    ]);
    expect(answer.headers['www-authenticate']).toContain('error="invalid_token"');
    expect(told(await gateway.call('/orders', { token: `${token}=` }))).toBe('401 token_malformed');
    const event = await gateway.eventOf(answer);
    expect(event['token_id']).toBeUndefined();
  });

  it('goes on with old tokens and takes up the new key when keys are rotated', async () => {
    const old = await issuer.token();
    expect(told(await gateway.call('/orders', { token: old }))).toBe('ok');
    issuer.rotate('k2');
    const fresh = await issuer.token();
    expect(decodeProtectedHeader(fresh).kid).toBe('k2');
    const before = issuer.asked.filter((path) => path === '/jwks').length;
    const answers = await Promise.all([fresh, old, fresh].map((token) => gateway.call('/orders', { token })));
    expect(answers.map(told)).toEqual(['ok', 'ok', 'ok']);
    expect(issuer.asked.filter((path) => path === '/jwks').length).toBe(before + 1);
    expect(await gateway.metric(REFRESHES)).toBe(2);
    expect(await gateway.metric(FAILURES)).toBe(0);
  });

  it('asks the server once for thirty tokens with thirty keys that nobody has', async () => {
    const fresh = await start();
    others.push(fresh);
    const token = await issuer.token();
    expect(told(await fresh.call('/orders', { token }))).toBe('ok');
    const before = issuer.asked.filter((path) => path === '/jwks').length;
    const [, ...rest] = token.split('.');
    const strangers = Array.from({ length: 30 }, (_, i) => {
      const header = JSON.stringify({ ...decodeProtectedHeader(token), kid: `unknown-${i}` });
      return [Buffer.from(header).toString('base64url'), ...rest].join('.');
    });
    const answers = await Promise.all(strangers.map((stranger) => fresh.call('/orders', { token: stranger })));
    expect(new Set(answers.map(told))).toEqual(new Set(['401 token_untrusted']));
    expect(issuer.asked.filter((path) => path === '/jwks').length).toBe(before + 1);
  });

  it('serves what it knows while the server is down, and calls nothing bad that it cannot check', async () => {
    const second = await start();
    others.push(second);
    const known = await issuer.token();
    expect(told(await second.call('/orders', { token: known }))).toBe('ok');
    issuer.rotate('k3');
    const unseen = await issuer.token();
    await issuer.close();
    const answer = await second.call('/orders', { token: unseen });
    expect([told(answer), answer.problem?.detail, answer.headers['retry-after']]).toEqual([
      '503 store_unavailable',
      "The token's issuer cannot be asked for its keys at the moment. Try again soon.",
      '1',
    ]);
    expect(told(await second.call('/orders', { token: known }))).toBe('ok');
    expect(await second.metric(FAILURES)).toBeGreaterThanOrEqual(1);
    // One that begins while the server is down has no keys at all.
    const third = await start();
    others.push(third);
    expect(told(await third.call('/orders', { token: known }))).toBe('503 store_unavailable');
    const { token: own } = await third.issue();
    expect(told(await third.call('/orders', { token: own }))).toBe('ok');
  });
});
