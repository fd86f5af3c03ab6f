import { generateKeyPairSync } from 'node:crypto';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestGateway } from '../support/gateway.ts';
import { TestUpstream } from '../support/upstream.ts';

const POLICIES = {
  'orders.yaml': `api: orders
upstream: signed
base: /orders
rules:
  - { name: open, path: /public, public: true }
  - { name: read, path: ["/", "/{rest...}"], scopes: [orders:read] }
`,
  'plain.yaml': `api: plain
upstream: plain
base: /plain
rules: [ { name: read, path: ["/", "/{rest...}"], scopes: [orders:read] } ]
`,
};

describe('the assertion of a decision for another proxy', () => {
  let upstream: TestUpstream;
  let gateway: TestGateway;

  beforeAll(async () => {
    upstream = await TestUpstream.start();
    gateway = await TestGateway.start({
      upstreams: { signed: upstream.url, plain: upstream.url },
      upstreamOptions: { signed: 'assertion: true' },
      policies: POLICIES,
      env: { KEYS: String(generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' })) },
      config: {
        listen: '{ host: 127.0.0.1, port: 0, trusted_proxies: [127.0.0.1] }',
        assertion: '{ issuer: "https://gateway.example", keys: { env: KEYS } }',
      },
    });
  });
  afterAll(async () => {
    await gateway?.close();
    await upstream?.close();
  });

  /** Of an answer that lets the request in, in both forms of asking. */
  async function assertionsFor(uri: string, token?: string, more: Record<string, string> = {}): Promise<unknown[]> {
    const told = { 'x-forwarded-method': 'GET', 'x-forwarded-uri': uri, 'x-forwarded-for': '192.0.2.1', ...more };
    const presented = token === undefined ? {} : { token };
    const answers = [
      await gateway.call('/.portcullis/authz', { ...presented, headers: told }),
      await gateway.call(`/.portcullis/authz${uri}`, { ...presented, headers: more }),
    ];
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
    return answers.map(({ headers }) => headers['portcullis-assertion']);
  }

  it('is for the upstream that the policy names, and can be verified with the keys of the gateway', async () => {
    const { id, token } = await gateway.issue({ subject: 'user-7' });
    const keys = createRemoteJWKSet(new URL(`${gateway.url}/.portcullis/jwks.json`));
    for (const assertion of await assertionsFor('/orders/7', token, { 'portcullis-assertion': 'forged' })) {
      const { payload } = await jwtVerify(String(assertion), keys, {
        issuer: 'https://gateway.example',
        audience: 'signed',
        typ: 'portcullis-assertion+jwt',
        algorithms: ['EdDSA'],
      });
      expect(payload).toMatchObject({ sub: 'user-7', token_id: id, token_type: 'opaque', scope: 'orders:read' });
    }
  });

  it('is empty where nobody asks, and where the upstream takes none', async () => {
    const { token } = await gateway.issue();
    const forged = { 'portcullis-assertion': 'forged' };
    expect(await assertionsFor('/orders/public', undefined, forged)).toEqual(['', '']);
    expect(await assertionsFor('/orders/public', token, forged)).toEqual(['', '']);
    expect(await assertionsFor('/plain/7', token, forged)).toEqual(['', '']);
  });

  it('is not there where the request is refused', async () => {
    const { token } = await gateway.issue({ scopes: ['items:read'] });
    const { status, headers } = await gateway.call('/.portcullis/authz/orders/7', { token });
    expect([status, headers['portcullis-assertion']]).toEqual([403, undefined]);
  });
});
