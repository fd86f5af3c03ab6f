import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import * as oauth from 'oauth4webapi';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ProofKey } from '../support/dpop-proof.ts';
import { TestGateway } from '../support/gateway.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { TestUpstream } from '../support/upstream.ts';

const POLICY = `api: orders
upstream: orders
base: /orders
rules:
  - { name: read, methods: [GET], path: [/, "/{rest...}"], scopes: [orders:read] }
  - { name: write, methods: [POST], path: /, scopes: [orders:write] }
`;

/** Clients that hold the key of their token (RFC 9449), made with oauth4webapi. */
describe('a token that is bound to a key', () => {
  let upstream: TestUpstream;
  let gateway: TestGateway;

  beforeAll(async () => {
    upstream = await TestUpstream.start();
    gateway = await TestGateway.start({ upstreams: { orders: upstream.url }, policies: { 'orders.yaml': POLICY } });
  });
  afterAll(async () => {
    await gateway.close();
    await upstream.close();
  });
  beforeEach(() => {
    upstream.seen.length = 0;
  });

  async function boundClient(alg: string) {
    const keys = await oauth.generateKeyPair(alg, { extractable: true });
    const dpop = oauth.DPoP({}, keys);
    const jkt = await dpop.calculateThumbprint();
    const { id, token } = await gateway.issue({ scopes: ['orders:read', 'orders:write'], bound_to: { jkt } });
    const send = (method: string, path: string, body?: string) =>
      oauth.protectedResourceRequest(token, method, new URL(`${gateway.url}${path}`), new Headers(), body ?? null, {
        DPoP: dpop,
        [oauth.allowInsecureRequests]: true,
      });
    return { id, jkt, token, send };
  }

  it.each(['ES256', 'ES384', 'ES512', 'Ed25519', 'PS256', 'RS256'])('is let in with proofs by %s', async (alg) => {
    const { send } = await boundClient(alg);
    const answers = [
      await send('GET', '/orders?page=1&empty='),
      await send('GET', '/orders/a%20b/%7Ec'),
      await send('POST', '/orders', 'a body'),
      await send('GET', '/orders'),
    ];
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    expect(upstream.seen.map(({ method, url }) => `${method} ${url}`)).toEqual([
      'GET /orders?page=1&empty=',
      'GET /orders/a%20b/~c',
      'POST /orders',
      'GET /orders',
    ]);
  });

  it('leaves nothing of itself or its proof to the upstream', async () => {
    const { send, token } = await boundClient('ES256');
    expect((await send('GET', '/orders')).status).toBe(200);
    const [seen] = upstream.seen;
    expect(Object.keys(seen?.headers ?? {})).not.toContain('dpop');
    expect(seen?.rawHeaders.join('\n')).not.toContain(token);
    expect(seen?.rawHeaders.join('\n')).not.toContain('dpop+jwt');
    expect(seen?.rawHeaders.join('\n')).not.toContain('eyJ');
  });

  it('shows its binding in its record, keeps it through rotations, and cannot lose it', async () => {
    const { id, jkt, send } = await boundClient('ES256');
    const record = async () => JSON.parse((await gateway.admin('GET', `/v1/tokens/${id}`)).text) as object;
    expect(await record()).toMatchObject({ bound_to: { jkt } });
    expect((await gateway.admin('PATCH', `/v1/tokens/${id}`, { bound_to: null })).status).toBe(400);
    expect((await gateway.admin('PATCH', `/v1/tokens/${id}`, { scopes: ['orders:read'] })).status).toBe(200);

    const own = await send('GET', '/.portcullis/token');
    expect(await own.json()).toMatchObject({ id, bound_to: { jkt } });
    const rotated = (await (await send('POST', '/.portcullis/token/rotate')).json()) as { token: string };
    expect(rotated).toMatchObject({ id, bound_to: { jkt }, generation: 2 });
    expect(await record()).toMatchObject({ bound_to: { jkt }, generation: 2 });
    expect((await gateway.call('/orders', { token: rotated.token })).problem?.reason).toBe('token_untrusted');
    const again = await gateway.admin('POST', `/v1/tokens/${id}/rotate`);
    expect(JSON.parse(again.text)).toMatchObject({ bound_to: { jkt }, generation: 3 });
  });

  it('is described with its binding by introspection (RFC 9449 §6.2, RFC 8705 §3.2)', async () => {
    const { jkt, token } = await boundClient('ES256');
    const certificate = 'bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2';
    const other = await gateway.issue({ bound_to: { 'x5t#S256': certificate.replace(/2$/, '0') } });
    const introspect = async (text: string) => {
      const answer = await fetch(`${gateway.adminUrl}/v1/introspect`, {
        method: 'POST',
        headers: { authorization: `Bearer ${gateway.adminToken}` },
        body: new URLSearchParams({ token: text }),
      });
      return (await answer.json()) as object;
    };
    expect(await introspect(token)).toMatchObject({ active: true, token_type: 'DPoP', cnf: { jkt } });
    expect(await introspect(other.token)).toMatchObject({
      active: true,
      token_type: 'Bearer',
      cnf: { 'x5t#S256': certificate.replace(/2$/, '0') },
    });
    expect(await introspect((await gateway.issue()).token)).not.toHaveProperty('cnf');
  });

  it('is not issued with a binding that nobody could meet', async () => {
    const issue = async (bound_to: unknown) => {
      const body = { name: 'x', owner: 'tests', class: 'service', scopes: ['orders:read'], bound_to };
      const answer = await gateway.admin('POST', '/v1/tokens', body);
      const { errors } = JSON.parse(answer.text) as { errors?: { path: string; message: string }[] };
      return [answer.status, ...(errors ?? []).map(({ path }) => path)];
    };
    expect(await issue({})).toEqual([400, 'bound_to']);
    expect(await issue({ jkt: 'short' })).toEqual([400, 'bound_to.jkt']);
    expect(await issue({ jkt: `${'A'.repeat(42)}B` })).toEqual([400, 'bound_to.jkt']);
    expect(await issue({ jkt: 'A'.repeat(43), kid: 'x' })).toEqual([400, 'bound_to.kid']);
    expect(await issue({ 'x5t#S256': `${'A'.repeat(43)}=` })).toEqual([400, 'bound_to.x5t#S256']);
    expect(await issue({ jkt: 'A'.repeat(43) })).toEqual([201]);
    expect(await issue(null)).toEqual([201]);
  });

  it('opens nothing on the admin listener, which sees no proofs', async () => {
    const { token } = await gateway.issue({ class: 'admin', scopes: ['*'], bound_to: { jkt: 'A'.repeat(43) } });
    const answer = await gateway.admin('GET', '/v1/tokens', undefined, token);
    expect([answer.status, answer.problem?.reason]).toEqual([401, 'token_untrusted']);
    expect(answer.problem?.detail).toContain('bound to a key');
  });

  it('can be ended by whoever finds it, also without its key', async () => {
    const { id, token, send } = await boundClient('ES256');
    const revoked = await gateway.call('/.portcullis/token/revoke', { method: 'POST', token });
    expect(revoked.status).toBe(200);
    expect(JSON.parse(revoked.text)).toMatchObject({ id });
    await expect(send('GET', '/orders')).rejects.toMatchObject({ status: 401 });
  });

  it('is refused in words that a client can act on, and that name the token only', async () => {
    const { id, token } = await boundClient('ES256');
    const key = await ProofKey.generate();
    const answer = await gateway.call('/orders', {
      headers: {
        authorization: `DPoP ${token}`,
        dpop: await key.proof({ url: `${gateway.url}/orders`, token }),
      },
    });
    expect(answer).toMatchObject({ status: 401, problem: { reason: 'token_untrusted', status: 401 } });
    const detail = 'The token is bound to another key than that of the DPoP proof.';
    expect(answer.headers['www-authenticate']).toBe(
      `DPoP realm="portcullis", error="invalid_token", error_description="${detail}", ` +
        'algs="ES256 ES384 ES512 Ed25519 EdDSA PS256 PS384 PS512 RS256"',
    );
    const event = await gateway.eventOf(answer);
    expect(event).toMatchObject({ type: 'access.denied', reason: 'token_untrusted', token_id: id });
    expect(event).not.toHaveProperty('subject');
    expect((await gateway.admin('GET', `/v1/tokens/${id}`)).text).toContain('"use_count":0');
  });

  it('is challenged for DPoP also where something else is wrong with the request', async () => {
    const { token } = await boundClient('ES256');
    const key = await ProofKey.generate();
    const { token: unknown } = await gateway.issue({ bound_to: { jkt: key.thumbprint } });
    const proof = await key.proof({ url: `${gateway.url}/elsewhere`, token: unknown });
    const beyond = await gateway.call('/elsewhere', { headers: { authorization: `dpop ${unknown}`, dpop: proof } });
    expect([beyond.status, beyond.problem?.reason]).toEqual([403, 'route_not_declared']);
    expect(beyond.headers['www-authenticate']).toMatch(/^DPoP realm="portcullis", error="insufficient_scope"/);
    const cut = await gateway.call('/orders', { headers: { authorization: `DPoP ${token.slice(0, -1)}` } });
    expect([cut.status, cut.problem?.reason]).toEqual([401, 'token_malformed']);
    expect(cut.headers['www-authenticate']).toMatch(/^DPoP realm="portcullis", error="invalid_token"/);
  });
});

describe('the URI of a proof behind a proxy', () => {
  it('is the one that the client addressed, as trusted proxies tell it and nobody else', async () => {
    const upstream = await TestUpstream.start();
    const start = (listen: string) =>
      TestGateway.start({
        upstreams: { orders: upstream.url },
        policies: { 'orders.yaml': POLICY },
        config: { listen },
      });
    const behind = await start('{ host: 127.0.0.1, port: 0, trusted_proxies: [127.0.0.0/8] }');
    const open = await start('{ host: 127.0.0.1, port: 0 }');
    const key = await ProofKey.generate();
    const call = async (gateway: TestGateway, url: string) => {
      const { token } = await gateway.issue({ bound_to: { jkt: key.thumbprint } });
      const answer = await gateway.call('/orders', {
        headers: {
          authorization: `DPoP ${token}`,
          dpop: await key.proof({ url, token }),
          'x-forwarded-proto': 'https',
          'x-forwarded-host': 'api.example.com',
        },
      });
      return answer.status;
    };
    expect(await call(behind, 'https://api.example.com/orders')).toBe(200);
    expect(await call(behind, 'HTTPS://API.example.com:443/orders?x#y')).toBe(200);
    expect(await call(behind, 'http://api.example.com/orders')).toBe(401);
    expect(await call(behind, `${behind.url}/orders`)).toBe(401);
    expect(await call(open, 'https://api.example.com/orders')).toBe(401);
    expect(await call(open, `${open.url}/orders`)).toBe(200);
    for (const gateway of [behind, open]) await gateway.close();
    await upstream.close();
  });
});

describe('a decision for another proxy', () => {
  it('takes the proof of the request that the proxy was sent, and of no other', async () => {
    const upstream = await TestUpstream.start();
    const gateway = await TestGateway.start({
      upstreams: { orders: upstream.url },
      policies: { 'orders.yaml': POLICY },
      config: { listen: '{ host: 127.0.0.1, port: 0, trusted_proxies: [127.0.0.0/8] }' },
    });
    const key = await ProofKey.generate();
    const { token } = await gateway.issue({ bound_to: { jkt: key.thumbprint } });
    const ask = async (method: string, url: string) => {
      const answer = await gateway.call('/.portcullis/authz', {
        headers: {
          authorization: `DPoP ${token}`,
          dpop: await key.proof({ method, url, token }),
          'x-forwarded-for': '192.0.2.1',
          'x-forwarded-proto': 'https',
          'x-forwarded-host': 'api.example.com',
          'x-forwarded-method': 'GET',
          'x-forwarded-uri': '/orders/7?a=b',
        },
      });
      return answer.status;
    };
    expect(await ask('GET', 'https://api.example.com/orders/7')).toBe(200);
    expect(await ask('POST', 'https://api.example.com/orders/7')).toBe(401);
    expect(await ask('GET', 'https://api.example.com/orders/8')).toBe(401);
    expect(await ask('GET', `${gateway.url}/.portcullis/authz`)).toBe(401);
    expect((await gateway.call('/.portcullis/authz', { token })).status).not.toBe(200);
    await gateway.close();
    await upstream.close();
  });
});

describe('a JWT of an issuer that is bound to a key (cnf.jkt)', () => {
  it('needs proofs as a token of the gateway does, and is no bearer token', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'portcullis-dpop-'));
    const issuer = await generateKeyPair('ES256', { extractable: true });
    const jwks = { keys: [{ ...(await exportJWK(issuer.publicKey)), kid: 'k', alg: 'ES256' }] };
    await writeFile(join(folder, 'jwks.json'), JSON.stringify(jwks));
    const upstream = await TestUpstream.start();
    const gateway = await TestGateway.start({
      upstreams: { orders: upstream.url },
      policies: { 'orders.yaml': POLICY },
      config: {
        issuers: `[ { issuer: "https://issuer.example", audience: orders, jwks_file: ${join(folder, 'jwks.json')}, algorithms: [ES256] } ]`,
      },
    });
    const dpop = oauth.DPoP({}, await oauth.generateKeyPair('Ed25519', { extractable: true }));
    const jwt = async (cnf: object | undefined) =>
      new SignJWT({ scope: 'orders:read', ...(cnf === undefined ? {} : { cnf }) })
        .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid: 'k' })
        .setIssuer('https://issuer.example')
        .setAudience('orders')
        .setSubject('alice')
        .setJti(crypto.randomUUID())
        .setIssuedAt()
        .setExpirationTime('5m')
        .sign(issuer.privateKey);
    const send = async (token: string) => {
      const url = new URL(`${gateway.url}/orders`);
      const options = { DPoP: dpop, [oauth.allowInsecureRequests]: true };
      try {
        return (await oauth.protectedResourceRequest(token, 'GET', url, new Headers(), null, options)).status;
      } catch (error) {
        return error instanceof oauth.WWWAuthenticateChallengeError ? error.status : error;
      }
    };
    const bound = await jwt({ jkt: await dpop.calculateThumbprint() });
    expect([await send(bound), await send(bound)]).toEqual([200, 200]);
    expect((await gateway.call('/orders', { token: bound })).problem?.reason).toBe('token_untrusted');
    expect(await send(await jwt({ jkt: (await ProofKey.generate()).thumbprint }))).toBe(401);
    expect(await send(await jwt({ 'x5t#S256': 'A'.repeat(43) }))).toBe(401);
    const unbound = await jwt(undefined);
    expect(await send(unbound)).toBe(401);
    expect((await gateway.call('/orders', { token: unbound })).status).toBe(200);
    expect(upstream.seen.map(({ headers }) => headers['portcullis-subject'])).toEqual(['alice', 'alice', 'alice']);

    // Revoked here, it is refused with the best of proofs.
    const { jti } = JSON.parse(Buffer.from(bound.split('.')[1] ?? '', 'base64url').toString()) as { jti: string };
    const body = { jti, issuer: 'https://issuer.example', reason: 'test' };
    expect((await gateway.admin('POST', '/v1/revocations', body)).status).toBe(200);
    expect(await send(bound)).toBe(401);
    await gateway.close();
    await upstream.close();
    await rm(folder, { recursive: true, force: true });
  });
});

describe('tokens.dpop.nonce: required', () => {
  let redis: RedisServer;
  let upstream: TestUpstream;
  let gateways: TestGateway[] = [];

  beforeAll(async () => {
    [redis, upstream] = await Promise.all([startRedis(), TestUpstream.start()]);
    const options = {
      upstreams: { orders: upstream.url },
      policies: { 'orders.yaml': POLICY },
      config: { store: `{ kind: redis, url: "${redis.url}", key_prefix: n }`, tokens: '{ dpop: { nonce: required } }' },
    };
    gateways = [await TestGateway.start(options), await TestGateway.start(options)];
  });
  afterAll(async () => {
    for (const gateway of gateways) await gateway.close();
    await Promise.all([redis.stop(), upstream.close()]);
  });

  it('is learned by a client from its first refusal, and good at every replica (RFC 9449 §9)', async () => {
    const [first, second] = gateways as [TestGateway, TestGateway];
    const dpop = oauth.DPoP({}, await oauth.generateKeyPair('ES256', { extractable: true }));
    const { token } = await first.issue({ bound_to: { jkt: await dpop.calculateThumbprint() } });
    const send = (gateway: TestGateway) =>
      oauth.protectedResourceRequest(token, 'GET', new URL(`${gateway.url}/orders`), new Headers(), null, {
        DPoP: dpop,
        [oauth.allowInsecureRequests]: true,
      });
    const refused = await send(first).catch((error: unknown) => error);
    expect(oauth.isDPoPNonceError(refused)).toBe(true);
    expect(refused).toMatchObject({ status: 401 });
    for (const _again of [1, 2]) expect((await send(first)).status).toBe(200);
    expect(upstream.seen).toHaveLength(2);

    const key = await ProofKey.generate();
    const { token: other } = await first.issue({ bound_to: { jkt: key.thumbprint } });
    const call = async (gateway: TestGateway, nonce: unknown) =>
      gateway.call('/orders', {
        headers: {
          authorization: `DPoP ${other}`,
          dpop: await key.proof({ url: `${gateway.url}/orders`, token: other }, { claims: { nonce } }),
        },
      });
    const told = await call(first, undefined);
    const nonce = told.headers['dpop-nonce'];
    expect(nonce).toMatch(/^[A-Za-z0-9_-]{27}$/);
    expect(told.headers['www-authenticate']).toMatch(/^DPoP realm="portcullis", error="use_dpop_nonce"/);
    const answers = [await call(first, nonce), await call(second, nonce)];
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
    for (const wrong of ['', 'made-up', `${String(nonce).slice(0, -2)}AA`]) {
      const answer = await call(second, wrong);
      expect([wrong, answer.status, answer.problem?.reason]).toEqual([wrong, 401, 'token_untrusted']);
      expect(answer.headers['dpop-nonce']).toMatch(/^[A-Za-z0-9_-]{27}$/);
    }
  });

  it('is not told to whoever has not the key: without it nothing is to be had with one', async () => {
    const [gateway] = gateways as [TestGateway];
    const [key, attacker] = [await ProofKey.generate(), await ProofKey.generate()];
    const { token } = await gateway.issue({ bound_to: { jkt: key.thumbprint } });
    const proof = await attacker.proof({ url: `${gateway.url}/orders`, token });
    const answer = await gateway.call('/orders', { headers: { authorization: `DPoP ${token}`, dpop: proof } });
    expect([answer.status, answer.headers['dpop-nonce']]).toEqual([401, undefined]);
    // A bearer token needs neither.
    const { token: plain } = await gateway.issue();
    expect((await gateway.call('/orders', { token: plain })).status).toBe(200);
  });
});
