import { readFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import WebSocket, { WebSocketServer } from 'ws';
import { ProofKey } from '../support/dpop-proof.ts';
import { type FrontProxy, type ProxyProgram, proxyProgram, startProxy } from '../support/front-proxy.ts';
import { TestGateway } from '../support/gateway.ts';
import { sendRaw, statusOf } from '../support/raw-client.ts';
import { type SeenRequest, TestUpstream } from '../support/upstream.ts';

/** The shipped examples, run as they are but for the addresses, with clients that mean no good. */

const DEPLOY = join(import.meta.dirname, '../../deploy');

const ORDERS = `api: orders
upstream: orders
base: /orders
rules:
  - { name: read, methods: [GET, HEAD], path: ["/", "/{rest...}"], scopes: [orders:read] }
  - { name: write, methods: [POST], path: ["/", "/{rest...}"], scopes: [orders:write] }
  - { name: nearby, methods: [GET], path: /nearby, scopes: [orders:read], when: { ip: [127.0.0.2] } }
  - { name: limited, methods: [GET], path: /limited, scopes: [orders:read], rate_limit: { requests: 1, per: 1h } }
  - { name: health, methods: [GET], path: /health, public: true }
`;

/** What nobody here may reach. */
const ADMIN = `api: admin
upstream: orders
base: /admin
rules: [ { name: all, path: ["/", "/{rest...}"], scopes: [admin-area] } ]
`;

interface Addresses {
  readonly folder: string;
  readonly port: number;
  readonly gateway: string;
  readonly api: string;
}

/** Each replacement has to hit, or the example is not what is tested. */
function withAddresses(text: string, replacements: readonly (readonly [string, string])[]): string {
  return replacements.reduce((done, [from, to]) => {
    if (!done.includes(from)) throw new Error(`the example has no ${JSON.stringify(from)}`);
    return done.replaceAll(from, to);
  }, text);
}

const EXAMPLES: Readonly<Record<ProxyProgram['name'], (at: Addresses) => string>> = {
  nginx: ({ folder, port, gateway, api }) =>
    withAddresses(readFileSync(join(DEPLOY, 'nginx/nginx.conf'), 'utf8'), [
      ['127.0.0.1:8080', gateway],
      ['127.0.0.1:9000', api],
      ['listen 80;', `listen 127.0.0.1:${port};`],
      // So that it runs as anybody, and leaves nothing behind.
      ['http {', `http {\n  access_log off;\n${scratch(folder)}`],
    ]),
  caddy: ({ port, gateway, api }) =>
    withAddresses(readFileSync(join(DEPLOY, 'caddy/Caddyfile'), 'utf8'), [
      ['127.0.0.1:8080', gateway],
      ['127.0.0.1:9000', api],
      ['api.example.com {', `http://:${port} {\n\tbind 127.0.0.1`],
    ]),
};

function scratch(folder: string): string {
  const kinds = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  return kinds.map((kind) => `  ${kind}_temp_path ${folder}/${kind};\n`).join('');
}

interface Told {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
}

describe.each(['nginx', 'caddy'] as const)('%s, set up as in deploy/', (name) => {
  const installed = proxyProgram(name) !== null;
  if (!installed) it.skip(`needs ${name}: install it (Debian, Ubuntu: apt-get install ${name})`);
  const test = it.skipIf(!installed);
  let upstream: TestUpstream;
  let sockets: WebSocketServer;
  let gateway: TestGateway;
  let proxy: FrontProxy;
  let token: string;
  let id: string;

  beforeAll(async () => {
    if (!installed) return;
    sockets = new WebSocketServer({ noServer: true });
    upstream = await TestUpstream.start(null, {
      onUpgrade: (request, socket, head) => {
        sockets.handleUpgrade(request, socket, head, (client) => client.on('message', (data) => client.send(data)));
      },
    });
    gateway = await TestGateway.start({
      upstreams: { orders: upstream.url },
      policies: { 'orders.yaml': ORDERS, 'admin.yaml': ADMIN },
      config: { listen: '{ host: 127.0.0.1, port: 0, trusted_proxies: [127.0.0.1] }' },
    });
    ({ id, token } = await gateway.issue({ subject: 'user-7' }));
    const gatewayAddress = `127.0.0.1:${gateway.port}`;
    const api = `127.0.0.1:${upstream.port}`;
    proxy = await startProxy({
      name,
      config: ({ folder, port }) => EXAMPLES[name]({ folder, port, gateway: gatewayAddress, api }),
    });
  });

  afterAll(async () => {
    await proxy?.stop();
    await gateway?.close();
    sockets?.close();
    await upstream?.close();
  });

  function call(
    path: string,
    options: {
      method?: string;
      token?: string | null;
      headers?: Record<string, string>;
      body?: string;
      from?: string;
    } = {},
  ): Promise<Told> {
    const presented = options.token === undefined ? token : options.token;
    return new Promise((resolve, reject) => {
      const sent = httpRequest(
        {
          host: '127.0.0.1',
          port: proxy.port,
          path,
          method: options.method ?? 'GET',
          localAddress: options.from ?? '127.0.0.2',
          agent: false,
          headers: { ...options.headers, ...(presented === null ? {} : { authorization: `Bearer ${presented}` }) },
        },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('error', reject);
          response.on('end', () =>
            resolve({
              status: response.statusCode ?? 0,
              headers: response.headers,
              text: Buffer.concat(chunks).toString(),
            }),
          );
        },
      );
      sent.on('error', reject);
      sent.end(options.body);
    });
  }

  /** What the API saw during the call. */
  async function seenBy(work: () => Promise<unknown>): Promise<readonly SeenRequest[]> {
    const before = upstream.seen.length;
    await work();
    return upstream.seen.slice(before);
  }

  test('forwards what is allowed, with who is asking and without the token', async () => {
    const seen = await seenBy(async () => {
      const answer = await call('/orders/7?page=2', { headers: { 'x-api-key': token } });
      expect([answer.status, answer.text]).toEqual([200, '{"ok":true}']);
    });
    expect(seen).toHaveLength(1);
    const [{ method, url, headers }] = seen as [SeenRequest];
    expect([method, url]).toEqual(['GET', '/orders/7?page=2']);
    expect(headers).toMatchObject({
      'portcullis-token-id': id,
      'portcullis-subject': 'user-7',
      'portcullis-scopes': 'orders:read',
      'portcullis-request-id': expect.stringMatching(/^[0-9a-f]{32}$/),
    });
    expect(JSON.stringify(headers)).not.toContain(token.slice(-43));
    const event = await gateway.event((line) => line.request_id === headers['portcullis-request-id']);
    expect(event).toMatchObject({
      type: 'access.allowed',
      method: 'GET',
      path: '/orders/7',
      ip: '127.0.0.2',
      details: { decision_only: true },
    });
  });

  test('sends a body on that the decision was made without', async () => {
    const { token: writer } = await gateway.issue({ scopes: ['orders:write'] });
    const body = 'x'.repeat(100_000);
    const seen = await seenBy(async () => {
      expect((await call('/orders', { method: 'POST', token: writer, body })).status).toBe(200);
      expect((await call('/orders', { method: 'POST', body })).status).toBe(403);
    });
    expect(seen.map((each) => [each.method, each.body.length])).toEqual([['POST', body.length]]);
  });

  test('refuses as the gateway does', async () => {
    const { token: revoked, id: revokedId } = await gateway.issue();
    expect((await call('/orders', { token: revoked })).status).toBe(200);
    const seen = await seenBy(async () => {
      const missing = await call('/orders', { token: null });
      expect([missing.status, missing.headers['www-authenticate']]).toEqual([401, 'Bearer realm="portcullis"']);
      await gateway.admin('POST', `/v1/tokens/${revokedId}/revoke`, { reason: 'test' });
      const ended = await call('/orders', { token: revoked });
      expect([ended.status, ended.headers['www-authenticate']]).toEqual([
        401,
        expect.stringContaining('invalid_token'),
      ]);
      expect((await call('/orders', { method: 'DELETE' })).status).toBe(403);
      expect((await call('/elsewhere')).status).toBe(403);
      expect((await call('/admin')).status).toBe(403);
      expect((await call('/orders', { headers: { 'x-api-key': revoked } })).status).toBe(400);
    });
    expect(seen).toEqual([]);
  });

  test('takes a proof of possession for the URL that the client asked for, once, and ends it here', async () => {
    const key = await ProofKey.generate();
    const { token: bound } = await gateway.issue({ bound_to: { jkt: key.thumbprint } });
    const proof = await key.proof({ url: `http://127.0.0.1:${proxy.port}/orders/7`, token: bound });
    const presented = { authorization: `DPoP ${bound}`, dpop: proof };
    const seen = await seenBy(async () => {
      expect((await call('/orders/7', { token: bound })).status).toBe(401);
      expect((await call('/orders/8', { token: null, headers: presented })).status).toBe(401);
      expect((await call('/orders/7', { token: null, headers: presented })).status).toBe(200);
      expect((await call('/orders/7', { token: null, headers: presented })).status).toBe(401);
    });
    expect(seen.map(({ url, headers }) => [url, headers['dpop'], headers['authorization']])).toEqual([
      ['/orders/7', undefined, undefined],
    ]);
  });

  test('lets no client say under which scheme it came, and so for which URL its proof is', async () => {
    const key = await ProofKey.generate();
    const { token: bound } = await gateway.issue({ bound_to: { jkt: key.thumbprint } });
    const proof = await key.proof({ url: `https://127.0.0.1:${proxy.port}/orders/7`, token: bound });
    const said = { 'x-forwarded-proto': 'https', x_forwarded_proto: 'https', forwarded: 'for=127.0.0.9;proto=https' };
    const headers = { ...said, authorization: `DPoP ${bound}`, dpop: proof };
    expect((await call('/orders/7', { token: null, headers })).status).toBe(401);
  });

  test('hands on nothing by which an API would act on another request, or in another place, than was judged', async () => {
    const claims = ['x-http-method-override', 'x-http-method', 'x-method-override', 'x-original-url', 'x-rewrite-url'];
    const places = ['forwarded', 'x-forwarded-port', 'x-forwarded-prefix', 'x-forwarded-proto', 'x-forwarded-host'];
    const headers = Object.fromEntries([...claims, ...places].map((field) => [field, 'forged']));
    const seen = await seenBy(async () => expect((await call('/orders/7', { headers })).status).toBe(200));
    expect(JSON.stringify(seen.map(({ rawHeaders }) => rawHeaders))).not.toContain('forged');
  });

  test('passes a rate limit on, with when to come again', async () => {
    expect((await call('/orders/limited')).status).toBe(200);
    const second = await call('/orders/limited');
    expect([second.status, Number(second.headers['retry-after']) > 0]).toEqual([429, true]);
  });

  test('lets a client say neither what it asked for nor who it is', async () => {
    const forged = {
      'x-original-method': 'GET',
      'x-original-uri': '/orders/health',
      'x-forwarded-method': 'GET',
      'x-forwarded-uri': '/orders/health',
      'x-forwarded-host': 'other.test',
      'x-forwarded-for': '127.0.0.2',
      'portcullis-token-id': 'forged',
      'portcullis-subject': 'forged',
      'portcullis-scopes': 'forged',
      'portcullis-request-id': 'forged',
      'portcullis-assertion': 'forged',
      portcullis_subject: 'forged',
      'portcullis-token_id': 'forged',
      'portcullis_token-id': 'forged',
      'portcullis.token.id': 'forged',
      'portcullis~subject': 'forged',
    };
    const { token: bare } = await gateway.issue();
    const seen = await seenBy(async () => {
      expect((await call('/admin', { headers: forged })).status).toBe(403);
      expect((await call('/orders', { headers: forged, token: null })).status).toBe(401);
      expect((await call('/orders/nearby', { headers: forged, from: '127.0.0.3' })).status).toBe(403);
      expect((await call('/orders/nearby', { from: '127.0.0.2' })).status).toBe(200);
      // No subject, and on a public path nobody at all.
      expect((await call('/orders', { headers: forged, token: bare })).status).toBe(200);
      expect((await call('/orders/health', { headers: forged, token: null })).status).toBe(200);
    });
    expect(seen).toHaveLength(3);
    for (const { headers } of seen) expect(JSON.stringify(headers)).not.toContain('forged');
    expect(seen[2]?.headers['portcullis-token-id'] ?? '').toBe('');
    expect(seen[2]?.headers['portcullis-request-id']).toMatch(/^[0-9a-f]{32}$/);
  });

  test.each([
    '/orders/..;/admin',
    '/orders/../admin',
    '/admin/../orders',
    '/admin/..%2forders',
    '/orders/%2e%2e/admin',
    '/admin/%2e%2e/orders',
    '/orders/.%2E/admin',
    '/orders//../admin',
    '/admin//../orders',
    '//admin',
    '//orders',
    '/orders//7',
    '/orders/./7',
    '/orders%2f..%2fadmin',
    '/orders/%5c../admin',
    '/orders\\..\\admin',
    '/orders/%00',
    '/orders/%c0%ae%c0%ae/admin',
    '/orders/%zz',
    'http://api.test/admin',
  ])('refuses %s', async (target) => {
    const seen = await seenBy(async () => {
      const lines = [`GET ${target} HTTP/1.1`, 'host: api.test', `authorization: Bearer ${token}`, 'connection: close'];
      const { text } = await sendRaw(proxy.port, `${lines.join('\r\n')}\r\n\r\n`);
      expect([400, 403]).toContain(statusOf(text));
    });
    expect(seen).toEqual([]);
  });

  test('forwards another spelling as what was judged, or so that nobody can take it for anything else', async () => {
    const seen = await seenBy(async () => {
      expect((await call('/orders/%7E7;v=1?a=//..')).status).toBe(200);
      expect((await call('/%6frders/7')).status).toBe(200);
    });
    const expected =
      name === 'nginx' ? ['/orders/~7;v=1?a=//..', '/orders/7'] : ['/orders/%7E7;v=1?a=//..', '/%6frders/7'];
    expect(seen.map(({ url }) => url)).toEqual(expected);
  });

  test('lets a WebSocket through with a token only', async () => {
    const url = `ws://127.0.0.1:${proxy.port}/orders/live`;
    const refused = await new Promise((resolve) => {
      new WebSocket(url).on('error', () => resolve('refused')).on('open', () => resolve('open'));
    });
    expect(refused).toBe('refused');
    const socket = new WebSocket(url, { headers: { authorization: `Bearer ${token}` } });
    const echoed = await new Promise((resolve, reject) => {
      socket.on('open', () => socket.send('hello')).on('error', reject);
      socket.on('message', (data) => resolve(String(data)));
    });
    expect(echoed).toBe('hello');
    socket.terminate();
  });

  test('lets nothing through when the gateway is away', async () => {
    await gateway.close();
    const seen = await seenBy(async () => {
      const { status } = await call('/orders');
      expect(status).toBe(name === 'nginx' ? 503 : 502);
    });
    expect(seen).toEqual([]);
  });
});
