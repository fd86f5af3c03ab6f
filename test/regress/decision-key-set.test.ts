/*
 * Another proxy asks for a decision on `/.portcullis/jwks.json`. The gateway's own keys are public, so that path is answered
 * without a token: 200. To the proxy every 2xx means "let it in", so anybody's request for that path would reach the proxy's back
 * end, although no policy declares it and nobody showed a token.
 */
import { generateKeyPairSync } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { TestGateway } from '../support/gateway.ts';
import { TestUpstream } from '../support/upstream.ts';

const POLICY = `api: orders
upstream: orders
rules: [ { name: read, path: ["/", "/{rest...}"], scopes: [orders:read] } ]
`;

let upstream: TestUpstream;
let gateway: TestGateway;
let token: string;

beforeAll(async () => {
  const pem = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' });
  upstream = await TestUpstream.start();
  gateway = await TestGateway.start({
    upstreams: { orders: upstream.url },
    upstreamOptions: { orders: 'assertion: true' },
    policies: { 'orders.yaml': POLICY },
    env: { KEYS: String(pem) },
    config: {
      listen: '{ host: 127.0.0.1, port: 0, trusted_proxies: [127.0.0.1] }',
      assertion: '{ keys: { env: KEYS } }',
    },
  });
  ({ token } = await gateway.issue());
});
afterAll(async () => {
  await gateway.close();
  await upstream.close();
});

it('is no allow for whoever asks another proxy for the path of our keys', async () => {
  const fields = {
    'x-original-method': 'GET',
    'x-original-uri': '/.portcullis/jwks.json',
    'x-forwarded-for': '192.0.2.1',
  };
  const outcome = async (path: string, headers: Record<string, string>, presented?: string) => {
    const { status, problem } = await gateway.call(path, {
      headers,
      ...(presented === undefined ? {} : { token: presented }),
    });
    return `${status} ${problem?.reason ?? ''}`;
  };
  expect([
    await outcome('/.portcullis/authz', fields),
    await outcome('/.portcullis/authz', fields, token),
    await outcome('/.portcullis/authz/.portcullis/jwks.json', {}),
    // For themselves they are there.
    await outcome('/.portcullis/jwks.json', {}),
  ]).toEqual(['401 token_missing', '403 route_not_declared', '401 token_missing', '200 ']);
});
