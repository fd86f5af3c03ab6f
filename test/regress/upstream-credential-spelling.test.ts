/*
 * An upstream behind CGI or WSGI folds `X_Backend_Key` and `X-Backend-Key` into one variable. A client that sends the first beside
 * the gateway's second would choose, or spoil, the credential with which the gateway identifies itself.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { TestGateway } from '../support/gateway.ts';
import { TestUpstream } from '../support/upstream.ts';

const POLICY = `api: orders
upstream: orders
rules:
  - { name: open, path: /public, public: true }
  - { name: read, path: ["/", "/{rest...}"], scopes: [orders:read] }
`;

let upstream: TestUpstream;
let gateway: TestGateway;
let token: string;

beforeAll(async () => {
  upstream = await TestUpstream.start();
  gateway = await TestGateway.start({
    upstreams: { orders: upstream.url },
    upstreamOptions: { orders: 'credential: { header: x-backend-key, value: { env: KEY } }' },
    policies: { 'orders.yaml': POLICY },
    env: { KEY: 'the-real-one' },
  });
  ({ token } = await gateway.issue());
});
afterAll(async () => {
  await gateway.close();
  await upstream.close();
});

it('sends the credential of the upstream alone, however a client spells it', async () => {
  const headers = { 'x-backend-key': 'a', X_Backend_Key: 'b', 'x-backend_key': 'c' };
  await gateway.call('/orders', { token, headers });
  await gateway.call('/public', { headers });
  const keys = upstream.seen.map(({ rawHeaders }) =>
    rawHeaders.filter((_, i) => i % 2 === 1 && /^x.backend.key$/i.test(rawHeaders[i - 1] ?? '')),
  );
  expect(keys).toEqual([['the-real-one'], ['the-real-one']]);
});
