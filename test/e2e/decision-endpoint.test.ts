import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Answer, TestGateway } from '../support/gateway.ts';
import { sendRaw, statusOf } from '../support/raw-client.ts';
import { TestUpstream } from '../support/upstream.ts';

const AUTHZ = '/.portcullis/authz';

const ORDERS = `api: orders
upstream: orders
base: /orders
preflight: forward
rules:
  - { name: read, methods: [GET, HEAD], path: ["/", "/{rest...}"], scopes: [orders:read] }
  - { name: write, methods: [POST, DELETE], path: ["/", "/{rest...}"], scopes: [orders:write] }
  - { name: from afar, methods: [GET], path: /afar, scopes: [orders:read], when: { ip: [203.0.113.0/24] } }
  - { name: limited, methods: [GET], path: /limited, scopes: [orders:read], rate_limit: { requests: 2, per: 10m, by: token } }
  - { name: watched, methods: [PUT], path: /watched, scopes: [orders:write], mode: report }
  - { name: health, methods: [GET], path: /health, public: true }
`;

const TENANT = `api: tenant
upstream: orders
hosts: [tenant.test]
rules: [ { name: all, path: ["/", "/{rest...}"], scopes: [items:read] } ]
`;

/** Owns every path, and still never gets the gateway's own. */
const EVERYTHING = `api: everything
upstream: orders
hosts: [everything.test]
rules: [ { name: all, path: ["/", "/{rest...}"], public: true } ]
`;

const policies = { 'orders.yaml': ORDERS, 'tenant.yaml': TENANT, 'everything.yaml': EVERYTHING };

interface Original {
  readonly method?: string;
  readonly uri?: string;
  readonly host?: string;
  readonly ip?: string;
}

/** The fields that Caddy and Traefik send. */
function forwarded({ method = 'GET', uri = '/orders', host = 'api.test', ip = '203.0.113.9' }: Original) {
  return {
    'x-forwarded-method': method,
    'x-forwarded-uri': uri,
    'x-forwarded-host': host,
    'x-forwarded-for': ip,
  };
}

const outcome = ({ status, problem }: Answer): string => (status === 200 ? 'ok' : `${status} ${problem?.reason}`);

describe('the decision for another proxy', () => {
  let upstream: TestUpstream;
  let gateway: TestGateway;
  let token: string;
  let id: string;

  beforeAll(async () => {
    upstream = await TestUpstream.start();
    gateway = await TestGateway.start({
      upstreams: { orders: upstream.url },
      policies,
      config: { listen: '{ host: 127.0.0.1, port: 0, trusted_proxies: [127.0.0.1, 10.0.0.0/8] }' },
    });
    ({ id, token } = await gateway.issue({ subject: 'user 7%', scopes: ['orders:read'] }));
  });

  afterAll(async () => {
    // Whatever was asked, and in whatever form: the gateway itself has forwarded nothing.
    const seen = upstream?.seen.map(({ method, url }) => `${method} ${url}`);
    await gateway?.close();
    await upstream?.close();
    expect(seen).toEqual([]);
  });

  const ask = (original: Original, more: Parameters<TestGateway['call']>[1] = {}): Promise<Answer> =>
    gateway.call(AUTHZ, { token, ...more, headers: { ...forwarded(original), ...more.headers } });

  it('says who is asking, and which path was judged', async () => {
    const answer = await ask({ uri: '/orders/%7e7?page=2' });
    expect([answer.status, answer.text]).toEqual([200, '']);
    expect(answer.headers).toMatchObject({
      'portcullis-token-id': id,
      'portcullis-subject': 'user 7%25',
      'portcullis-scopes': 'orders:read',
      'portcullis-path': '/orders/~7',
      'portcullis-request-id': expect.stringMatching(/^[0-9a-f]{32}$/),
      'cache-control': 'no-store',
      'content-length': '0',
    });
    expect(await gateway.eventOf(answer)).toMatchObject({
      type: 'access.allowed',
      outcome: 'success',
      api: 'orders',
      rule: 'read',
      method: 'GET',
      host: 'api.test',
      path: '/orders/~7',
      ip: '203.0.113.9',
      status: 200,
      token_id: id,
      details: { decision_only: true, token: { scopes: ['orders:read'] } },
    });
    expect(await gateway.metric(/^portcullis_requests_total\{.*rule="read".*decision="allow"/)).toBeGreaterThan(0);
  });

  it('takes the fields that nginx is usually given as well', async () => {
    const headers = { 'x-original-method': 'DELETE', 'x-original-uri': '/orders/7', 'x-forwarded-for': '203.0.113.9' };
    const answer = await gateway.call(AUTHZ, { token, headers });
    expect(outcome(answer)).toBe('403 scope_insufficient');
    expect(answer.headers['www-authenticate']).toContain('scope="orders:write"');
    expect(await gateway.eventOf(answer)).toMatchObject({
      type: 'access.denied',
      method: 'DELETE',
      path: '/orders/7',
      details: { decision_only: true },
    });
  });

  it('takes the method itself, and the path behind the prefix, as Envoy sends them', async () => {
    const headers = { 'x-forwarded-for': '203.0.113.9' };
    const read = await gateway.call(`${AUTHZ}/orders/7?x=%2F`, { token, headers });
    expect([outcome(read), read.headers['portcullis-path']]).toEqual(['ok', '/orders/7']);
    const written = await gateway.call(`${AUTHZ}/orders/7`, { method: 'POST', token, headers, body: 'never read' });
    expect(outcome(written)).toBe('403 scope_insufficient');
    const root = await gateway.call(`${AUTHZ}/`, { token, headers });
    expect(outcome(root)).toBe('403 route_not_declared');
    const repeated = await gateway.call(`${AUTHZ}/orders`, {
      token,
      headers: { ...headers, ...forwarded({ host: '' }) },
    });
    expect(outcome(repeated)).toBe('400 request_malformed');
  });

  it('gives the refusal that the gateway would give', async () => {
    const { token: revoked, id: revokedId } = await gateway.issue();
    await gateway.admin('POST', `/v1/tokens/${revokedId}/revoke`, { reason: 'test' });
    const answers = {
      'no token': await gateway.call(AUTHZ, { headers: forwarded({}) }),
      malformed: await ask({}, { token: 'nonsense' }),
      revoked: await ask({}, { token: revoked }),
      'another path': await ask({ uri: '/elsewhere' }),
      'another host': await ask({ uri: '/', host: 'tenant.test:8443' }),
      'two tokens': await ask({}, { headers: { 'x-api-key': revoked } }),
    };
    expect(Object.entries(answers).map(([what, answer]) => [what, outcome(answer)])).toEqual([
      ['no token', '401 token_missing'],
      ['malformed', '401 token_malformed'],
      ['revoked', '401 token_revoked'],
      ['another path', '403 route_not_declared'],
      ['another host', '403 scope_insufficient'],
      ['two tokens', '400 token_ambiguous'],
    ]);
    expect(answers['no token'].headers['www-authenticate']).toBe('Bearer realm="portcullis"');
    expect(answers['another path'].headers['content-type']).toBe('application/problem+json');
  });

  it('lets through what is public, without looking at who asks, and preflights', async () => {
    const open = await gateway.call(AUTHZ, { headers: forwarded({ uri: '/orders/health' }) });
    // Empty, and not absent: a proxy copies them over what the client has sent.
    expect([open.status, open.headers]).toMatchObject([
      200,
      {
        'portcullis-token-id': '',
        'portcullis-subject': '',
        'portcullis-scopes': '',
        'portcullis-assertion': '',
        'portcullis-path': '/orders/health',
      },
    ]);
    const cors = { origin: 'https://shop.test', 'access-control-request-method': 'GET' };
    const preflight = await gateway.call(AUTHZ, { headers: { ...forwarded({ method: 'OPTIONS' }), ...cors } });
    expect(outcome(preflight)).toBe('ok');
    const byEnvoy = await gateway.call(`${AUTHZ}/orders`, {
      method: 'OPTIONS',
      headers: { ...cors, 'content-length': '0' },
    });
    expect(outcome(byEnvoy)).toBe('ok');
  });

  it('judges conditions by the address of the client, and knows none that nobody has told', async () => {
    const outcomes = [
      await ask({ uri: '/orders/afar' }),
      await ask({ uri: '/orders/afar', ip: '198.51.100.7' }),
      // What a client wrote itself stands to the left of what the proxy has seen.
      await ask({ uri: '/orders/afar', ip: '203.0.113.9, 198.51.100.7, 10.1.2.3' }),
      await gateway.call(AUTHZ, { token, headers: { 'x-original-method': 'GET', 'x-original-uri': '/orders/afar' } }),
    ];
    expect(outcomes.map(outcome)).toEqual(['ok', ...Array(3).fill('403 condition_failed')]);
    const [, , , unknown] = outcomes;
    expect((await gateway.eventOf(unknown as Answer)).ip).toBeUndefined();
  });

  it('counts rate limits and says so', async () => {
    const answers = [];
    for (let i = 0; i < 3; i += 1) answers.push(await ask({ uri: '/orders/limited' }));
    expect(answers.map(outcome)).toEqual(['ok', 'ok', '429 rate_limited']);
    expect(answers[2]?.headers['retry-after']).toMatch(/^\d+$/);
    expect(answers[0]?.headers['ratelimit']).toContain('r=1');
  });

  it('reports under report mode', async () => {
    const answer = await ask({ method: 'PUT', uri: '/orders/watched' });
    expect([outcome(answer), answer.headers['portcullis-token-id']]).toEqual(['ok', id]);
    const event = await gateway.eventOf(answer);
    expect([event.type, event.reason]).toEqual(['access.would_deny', 'scope_insufficient']);
  });

  it.each([
    ['/orders/..;/admin', 'path_ambiguous'],
    ['/orders/../orders', 'path_ambiguous'],
    ['/orders/%2e%2e/orders', 'path_ambiguous'],
    ['/orders/%2E./orders', 'path_ambiguous'],
    ['/orders/.', 'path_ambiguous'],
    ['/orders/./7', 'path_ambiguous'],
    ['/orders//7', 'path_ambiguous'],
    ['//orders', 'path_ambiguous'],
    ['http://api.test//orders', 'path_ambiguous'],
    ['/orders%2f7', 'path_ambiguous'],
    ['/orders/%5c..%5cadmin', 'path_ambiguous'],
    ['/orders\\7', 'path_ambiguous'],
    ['/orders/%00', 'path_ambiguous'],
    ['/orders/%zz', 'path_ambiguous'],
    ['/orders/%c0%af', 'path_ambiguous'],
    ['/../orders', 'path_ambiguous'],
    ['orders', 'request_malformed'],
    ['*', 'request_malformed'],
    ['', 'request_malformed'],
    ['/orders#x', 'request_malformed'],
    ['http://other.test/orders', 'request_malformed'],
    ['/orders?a b', 'request_malformed'],
  ])('refuses %s: the proxy would forward another path than was judged', async (uri, reason) => {
    expect(outcome(await ask({ uri }))).toBe(`400 ${reason}`);
    if (!uri.startsWith('/') || reason === 'request_malformed') return;
    // The same path behind the prefix must not climb out of it, and become a request to the upstream.
    const bytes = `GET ${AUTHZ}${uri} HTTP/1.1\r\nhost: api.test\r\nauthorization: Bearer ${token}\r\nconnection: close\r\n\r\n`;
    expect(statusOf((await sendRaw(gateway.port, bytes)).text)).toBe(400);
  });

  it('keeps the path without further ado where only its spelling differs', async () => {
    const answer = await ask({ uri: '/orders/caf%c3%a9;v=1?q=//..' });
    expect([outcome(answer), answer.headers['portcullis-path']]).toEqual(['ok', '/orders/caf%C3%A9;v=1']);
  });

  it.each([
    ['no method', { 'x-forwarded-method': undefined }],
    ['no path', { 'x-forwarded-uri': undefined }],
    ['two paths', { 'x-original-uri': '/orders/health' }],
    ['two methods', { 'x-original-method': 'POST' }],
    ['a path twice', { 'x-forwarded-uri': ['/orders', '/orders'] }],
    ['a host twice', { 'x-forwarded-host': ['api.test', 'api.test'] }],
    ['a list of hosts', { 'x-forwarded-host': 'api.test, everything.test' }],
    ['a method in lower case', { 'x-forwarded-method': 'get' }],
    ['a method that nobody knows', { 'x-forwarded-method': 'FETCH' }],
    ['a method that is never forwarded', { 'x-forwarded-method': 'TRACE' }],
  ])('refuses a request with %s', async (_, change: Record<string, string | string[] | undefined>) => {
    const fields = Object.entries({ ...forwarded({}), ...change }).flatMap(([name, value]) =>
      [value ?? []].flat().map((each) => `${name}: ${each}`),
    );
    const lines = [`GET ${AUTHZ} HTTP/1.1`, 'host: gateway', `authorization: Bearer ${token}`, ...fields];
    const { text } = await sendRaw(gateway.port, `${lines.join('\r\n')}\r\n\r\n`);
    expect([statusOf(text), text.includes('"reason":"request_malformed"')]).toEqual([400, true]);
  });

  it('takes the same value from both kinds of fields', async () => {
    const same = { 'x-original-uri': '/orders', 'x-original-method': 'GET' };
    expect(outcome(await ask({}, { headers: same }))).toBe('ok');
  });

  it('decides nothing about the paths of the gateway itself', async () => {
    const own = [
      `${AUTHZ}/x`,
      '/.portcullis/token/revoke',
      '/.portcullis/jwks.json',
      '/.well-known/oauth-protected-resource',
    ];
    for (const uri of own) {
      expect(outcome(await ask({ method: 'POST', uri, host: 'everything.test' }))).toBe('403 route_not_declared');
      expect(outcome(await gateway.call(`${AUTHZ}${uri}`, { method: 'POST', token }))).toBe('403 route_not_declared');
    }
    expect(outcome(await ask({}))).toBe('ok');
  });

  it('reads no body, announced or not, and the connection ends', async () => {
    const fields = Object.entries(forwarded({})).map(([name, value]) => `${name}: ${value}\r\n`);
    const head = `POST ${AUTHZ} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer ${token}\r\n${fields.join('')}`;
    for (const body of [
      'content-length: 5\r\n\r\n',
      'expect: 100-continue\r\ncontent-length: 5\r\n\r\n',
      'transfer-encoding: chunked\r\n\r\n5\r\nab',
    ]) {
      const { text, closed } = await sendRaw(gateway.port, head + body);
      expect([statusOf(text), /connection: close/i.test(text), closed]).toEqual([200, true, true]);
    }
  });

  it('answers the handshake of a WebSocket like any other request', async () => {
    const fields = Object.entries(forwarded({})).map(([name, value]) => `${name}: ${value}\r\n`);
    const upgrade = `connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n`;
    const head = `GET ${AUTHZ} HTTP/1.1\r\nhost: gateway\r\n${fields.join('')}${upgrade}`;
    expect(statusOf((await sendRaw(gateway.port, `${head}authorization: Bearer ${token}\r\n\r\n`)).text)).toBe(200);
    expect(statusOf((await sendRaw(gateway.port, `${head}\r\n`)).text)).toBe(401);
  });

  it('refuses a token from the moment on that it is revoked', async () => {
    const { token: other, id: otherId } = await gateway.issue();
    expect(outcome(await ask({}, { token: other }))).toBe('ok');
    await gateway.admin('POST', `/v1/tokens/${otherId}/revoke`, { reason: 'test' });
    expect(outcome(await ask({}, { token: other }))).toBe('401 token_revoked');
  });
});

describe('a client that is no trusted proxy', () => {
  it('is told nothing about other requests, and it is recorded', async () => {
    const upstream = await TestUpstream.start();
    const gateway = await TestGateway.start({
      upstreams: { orders: upstream.url },
      policies,
      config: { listen: '{ host: 127.0.0.1, port: 0, trusted_proxies: [10.0.0.0/8] }' },
    });
    try {
      const { token } = await gateway.issue();
      const headers = forwarded({});
      const refused = await gateway.call(AUTHZ, { token, headers });
      expect([outcome(refused), refused.problem?.detail]).toEqual([
        '403 route_not_declared',
        expect.stringContaining('trusted_proxies'),
      ]);
      const event = await gateway.eventOf(refused);
      expect(event).toMatchObject({ type: 'access.denied', reason: 'route_not_declared', method: 'GET', path: AUTHZ });
      expect(event['ip']).toBe('127.0.0.1');
      expect(outcome(await gateway.call(AUTHZ, { headers }))).toBe('401 token_missing');
      const open = { 'x-original-method': 'GET', 'x-original-uri': '/orders/health' };
      expect(outcome(await gateway.call(AUTHZ, { headers: open }))).toBe('401 token_missing');
      expect(outcome(await gateway.call(`${AUTHZ}/orders`, { token }))).toBe('403 route_not_declared');
      expect(upstream.seen).toEqual([]);
    } finally {
      await gateway.close();
      await upstream.close();
    }
  });
});
