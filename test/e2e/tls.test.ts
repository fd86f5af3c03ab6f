import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { join, resolve } from 'node:path';
import { connect } from 'node:tls';
import { describe, expect, it } from 'vitest';
import { TestGateway } from '../support/gateway.ts';
import { TestUpstream } from '../support/upstream.ts';

const FIXTURES = resolve(import.meta.dirname, '../fixtures/tls');
const POLICY = `api: orders
upstream: orders
base: /orders
rules:
  - { name: read, methods: [GET], path: /, scopes: [orders:read] }
`;

describe('the TLS listener', () => {
  it('serves requests, and tells the upstream that they came encrypted', async () => {
    const ca = await readFile(join(FIXTURES, 'server.crt'));
    const upstream = await TestUpstream.start();
    const gateway = await TestGateway.start({
      upstreams: { orders: upstream.url },
      policies: { 'orders.yaml': POLICY },
      config: {
        listen: `{ host: 127.0.0.1, port: 0, tls: { cert: ${join(FIXTURES, 'server.crt')}, key: ${join(FIXTURES, 'server.key')} } }`,
      },
    });
    const { token } = await gateway.issue();
    const sent = request({
      host: 'localhost',
      port: gateway.port,
      path: '/orders',
      ca,
      agent: false,
      headers: { authorization: `Bearer ${token}` },
    });
    sent.end();
    const [response] = (await once(sent, 'response')) as IncomingMessage[];
    response?.resume();
    expect(response?.statusCode).toBe(200);
    expect(upstream.seen.at(-1)?.headers['x-forwarded-proto']).toBe('https');

    const old = connect({ host: 'localhost', port: gateway.port, ca, maxVersion: 'TLSv1.1', minVersion: 'TLSv1' });
    const [error] = (await once(old, 'error')) as Error[];
    expect(error).toBeInstanceOf(Error);
    await gateway.close();
    await upstream.close();
  });
});
