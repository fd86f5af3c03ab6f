import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ProofKey } from '../support/dpop-proof.ts';
import { TestGateway } from '../support/gateway.ts';
import { ask, askOnce, CLIENT_FILES, identity, openTls, SERVER_FILES, thumbprintOf } from '../support/tls-client.ts';
import { TestUpstream } from '../support/upstream.ts';

const POLICY = `api: orders
upstream: orders
base: /orders
rules:
  - { name: read, methods: [GET], path: /, scopes: [orders:read] }
  - { name: open, methods: [GET], path: /open, public: true }
`;

const NOT_SHOWN = {
  status: 401,
  reason: 'token_untrusted',
  detail: 'The token is bound to a client certificate that this connection has not shown.',
};

let upstream: TestUpstream;
let ordinary: { readonly authorization: string };
let gateway: TestGateway;

async function start(more: string): Promise<TestGateway> {
  const files = `cert: ${join(SERVER_FILES, 'server.crt')}, key: ${join(SERVER_FILES, 'server.key')}`;
  return await TestGateway.start({
    upstreams: { orders: upstream.url },
    policies: { 'orders.yaml': POLICY },
    config: { listen: `{ host: 127.0.0.1, port: 0, tls: { ${files}${more} } }` },
  });
}

const CLIENT_CA = `, client_ca: ${join(CLIENT_FILES, 'ca.crt')}`;
const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

/** What a handshake ends with where the certificate is refused: a reset, an alert, or the end, before any answer. */
async function isRefused(port: number, who: string | null): Promise<boolean> {
  try {
    await askOnce(port, who, '/orders/open');
    return false;
  } catch {
    return true;
  }
}

beforeAll(async () => {
  upstream = await TestUpstream.start();
});
afterAll(() => upstream.close());
beforeEach(() => {
  upstream.seen.length = 0;
});

describe('client_auth: request', () => {
  beforeAll(async () => {
    gateway = await start(`${CLIENT_CA}, client_auth: request`);
    ordinary = bearer((await gateway.issue()).token);
  });
  afterAll(() => gateway.close());

  it('lets clients in with and without a certificate, but not with a wrong one', async () => {
    for (const who of ['alice', null]) {
      expect((await askOnce(gateway.port, who, '/orders', { headers: ordinary })).status).toBe(200);
    }
    expect(upstream.seen).toHaveLength(2);
    for (const who of ['mallory', 'late']) expect([who, await isRefused(gateway.port, who)]).toEqual([who, true]);
    expect(upstream.seen).toHaveLength(2);
  });

  it('has tokens that are bound to a certificate beside others (RFC 8705)', async () => {
    const x5t = await thumbprintOf('alice');
    const { id, token } = await gateway.issue({ bound_to: { 'x5t#S256': x5t } });
    const headers = bearer(token);
    const alice = await openTls(gateway.port, await identity('alice'));
    for (const _again of [1, 2]) expect((await ask(alice, '/orders', { headers })).status).toBe(200);
    alice.destroy();
    expect((await askOnce(gateway.port, 'alice', '/orders', { headers: { 'x-api-key': token } })).status).toBe(200);
    for (const who of ['bob', null]) {
      const answer = await askOnce(gateway.port, who, '/orders', { headers });
      expect(answer).toMatchObject(NOT_SHOWN);
      expect(answer.headers['www-authenticate']).toMatch(/^Bearer realm="portcullis", error="invalid_token"/);
    }
    // Under DPoP there is nothing that a proof could show.
    const dpop = { authorization: `DPoP ${token}` };
    expect(await askOnce(gateway.port, 'alice', '/orders', { headers: dpop })).toMatchObject({ status: 401 });
    expect(upstream.seen).toHaveLength(3);
    const record = JSON.parse((await gateway.admin('GET', `/v1/tokens/${id}`)).text) as object;
    expect(record).toMatchObject({ bound_to: { 'x5t#S256': x5t } });
  });

  it('never believes a header about it: a client could write one as well as a proxy', async () => {
    const { token } = await gateway.issue({ bound_to: { 'x5t#S256': await thumbprintOf('alice') } });
    const pem = await readFile(join(CLIENT_FILES, 'alice.crt'), 'latin1');
    const x5t = await thumbprintOf('alice');
    const der = pem.replace(/-----[A-Z ]+-----|\n/g, '');
    const headers = {
      ...bearer(token),
      'client-cert': `:${der}:`,
      'x-client-cert': encodeURIComponent(pem),
      'x-ssl-client-cert': encodeURIComponent(pem),
      'x-forwarded-client-cert': `Hash=${Buffer.from(x5t, 'base64url').toString('hex')};Cert="${encodeURIComponent(pem)}"`,
      'x-amzn-mtls-clientcert': encodeURIComponent(pem),
      'ssl-client-verify': 'SUCCESS',
    };
    for (const who of ['bob', null]) {
      expect(await askOnce(gateway.port, who, '/orders', { headers })).toMatchObject(NOT_SHOWN);
    }
  });

  it('needs both where a token is bound to both', async () => {
    const key = await ProofKey.generate();
    const { token } = await gateway.issue({
      bound_to: { jkt: key.thumbprint, 'x5t#S256': await thumbprintOf('alice') },
    });
    const call = async (who: string | null, proven: boolean) => {
      const proof = await key.proof({ url: `https://localhost:${gateway.port}/orders`, token });
      const headers = proven
        ? { host: `localhost:${gateway.port}`, authorization: `DPoP ${token}`, dpop: proof }
        : bearer(token);
      return (await askOnce(gateway.port, who, '/orders', { headers })).status;
    };
    expect(await call('alice', true)).toBe(200);
    expect([await call('alice', false), await call('bob', true), await call(null, true)]).toEqual([401, 401, 401]);
  });

  it('takes a session that is resumed for what it was: with its certificate, or without one', async () => {
    const { token } = await gateway.issue({ bound_to: { 'x5t#S256': await thumbprintOf('alice') } });
    const headers = bearer(token);
    for (const [who, status] of [
      ['alice', 200],
      [null, 401],
    ] as const) {
      const first = await openTls(gateway.port, await identity(who));
      const session = once(first, 'session');
      expect((await ask(first, '/orders', { headers })).status).toBe(status);
      const [ticket] = (await session) as [Buffer];
      first.destroy();
      const again = await openTls(gateway.port, { ...(await identity(who)), session: ticket });
      expect([who, again.isSessionReused()]).toEqual([who, true]);
      expect((await ask(again, '/orders', { headers })).status).toBe(status);
      again.destroy();
    }
  });
});

describe('client_auth: require, which is the default', () => {
  it('lets in nobody without a certificate of an authority of client_ca', async () => {
    const strict = await start(CLIENT_CA);
    const { token } = await strict.issue({ bound_to: { 'x5t#S256': await thumbprintOf('bob') } });
    const headers = bearer(token);
    expect((await askOnce(strict.port, 'bob', '/orders', { headers })).status).toBe(200);
    expect(await askOnce(strict.port, 'alice', '/orders', { headers })).toMatchObject(NOT_SHOWN);
    for (const who of [null, 'mallory', 'late']) expect([who, await isRefused(strict.port, who)]).toEqual([who, true]);
    expect(upstream.seen).toHaveLength(1);
    await strict.close();
  });
});

describe('without client_ca', () => {
  it('a token that is bound to a certificate works for nobody', async () => {
    const open = await start('');
    const { token } = await open.issue({ bound_to: { 'x5t#S256': await thumbprintOf('alice') } });
    expect(await askOnce(open.port, 'alice', '/orders', { headers: bearer(token) })).toMatchObject(NOT_SHOWN);
    await open.close();
  });

  it('nor does it without TLS', async () => {
    const plain = await TestGateway.start({
      upstreams: { orders: upstream.url },
      policies: { 'orders.yaml': POLICY },
    });
    const { token } = await plain.issue({ bound_to: { 'x5t#S256': await thumbprintOf('alice') } });
    expect((await plain.call('/orders', { token })).problem).toMatchObject(NOT_SHOWN);
    await plain.close();
  });
});
