import { createServer, type Server } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Answer, TestGateway } from '../support/gateway.ts';
import { madeUpToken, plantToken } from '../support/planted-token.ts';
import { openSocket, problemOf, sendRaw, statusOf } from '../support/raw-client.ts';
import { TestUpstream } from '../support/upstream.ts';

/** A day of the week that it is not, whatever happens at midnight. */
const ANOTHER_DAY = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'][(new Date().getUTCDay() + 3) % 7];

const ORDERS = `api: orders
upstream: orders
base: /orders
rules:
  - { name: list, methods: [GET, HEAD], path: /, scopes: [orders:read] }
  - { name: health, methods: [GET], path: /health, public: true }
  - { name: write, methods: [POST], path: /, scopes: [orders:write] }
  - { name: one of my tenant, methods: [GET], path: "/{tenant}/{id}", scopes: [orders:read], when: { claims: { tenant: "{tenant}" } } }
  - { name: from afar, methods: [GET], path: /afar, scopes: [orders:read], when: { ip: [203.0.113.0/24] } }
  - { name: never, methods: [GET], path: /never, scopes: [orders:read], when: { time: { days: [${ANOTHER_DAY}], hours: "00:00-24:00", zone: UTC } } }
  - { name: jwt only, methods: [GET], path: /jwt, scopes: [orders:read], when: { token_type: [jwt] } }
  - { name: fresh only, methods: [GET], path: /fresh, scopes: [orders:read], when: { max_token_age: 1h } }
  - { name: limited, methods: [GET], path: /limited, scopes: [orders:read], rate_limit: { requests: 2, per: 1m, by: token } }
`;

const upstreamApi = (name: string): string => `api: ${name}
upstream: ${name}
base: /${name}
rules:
  - { name: all, path: "/{rest...}", scopes: [orders:read] }
`;

describe('every way to be refused', () => {
  let upstream: TestUpstream;
  let gateway: TestGateway;
  let silent: Server;
  let garbage: Server;
  let token: string;

  beforeAll(async () => {
    upstream = await TestUpstream.start();
    silent = await listen((socket) => socket.resume());
    garbage = await listen((socket) => {
      socket.on('data', () => socket.end('HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok'));
    });
    const closedPort = await freePort();
    gateway = await TestGateway.start({
      upstreams: {
        orders: upstream.url,
        nobody: `http://127.0.0.1:${closedPort}`,
        silent: urlOf(silent),
        garbage: urlOf(garbage),
      },
      upstreamOptions: { silent: 'response_timeout: 300ms' },
      policies: {
        'orders.yaml': ORDERS,
        'nobody.yaml': upstreamApi('nobody'),
        'silent.yaml': upstreamApi('silent'),
        'garbage.yaml': upstreamApi('garbage'),
      },
      config: {
        listen:
          '{ host: 127.0.0.1, port: 0, limits: { headers: 20, header_bytes: 4KiB, body_bytes: 1KiB, header_timeout: 1s } }',
      },
    });
    ({ token } = await gateway.issue());
  });

  afterAll(async () => {
    await gateway?.close();
    await upstream?.close();
    silent?.close();
    garbage?.close();
  });

  /** The whole outcome: status, reason, body, challenge, request id, no upstream call, and the audit event. */
  async function expectRefusal(answer: Answer, status: number, reason: string, seenBefore: number): Promise<void> {
    expect({ status: answer.status, reason: answer.problem?.reason }).toEqual({ status, reason });
    expect(JSON.parse(answer.text)).toMatchObject({
      type: expect.stringContaining(reason),
      title: expect.any(String),
      status,
      detail: expect.any(String),
      request_id: answer.headers['portcullis-request-id'],
    });
    if (status === 401 || status === 403) expect(answer.headers['www-authenticate']).toMatch(/^Bearer /);
    expect(upstream.seen.length).toBe(seenBefore);
    const event = await gateway.eventOf(answer);
    expect(event).toMatchObject({ type: 'access.denied', outcome: 'failure', reason, status });
  }

  async function refused(
    status: number,
    reason: string,
    path: string,
    options: { method?: string; token?: string; headers?: Record<string, string>; body?: string | Buffer } = {},
  ): Promise<Answer> {
    const seenBefore = upstream.seen.length;
    const answer = await gateway.call(path, options);
    await expectRefusal(answer, status, reason, seenBefore);
    return answer;
  }

  it('lets the right request through, so that the rest means something', async () => {
    const answer = await gateway.call('/orders', { token });
    expect(answer.status).toBe(200);
    expect(await gateway.eventOf(answer)).toMatchObject({ type: 'access.allowed', outcome: 'success', status: 200 });
  });

  it('token_missing, declared or not', async () => {
    const declared = await refused(401, 'token_missing', '/orders');
    await refused(401, 'token_missing', '/nowhere');
    expect(declared.headers['www-authenticate']).not.toContain('error=');
  });

  it('token_malformed: a typo, a foreign word, white space in the middle, too long', async () => {
    await refused(401, 'token_malformed', '/orders', {
      token: `${token.slice(0, -1)}${token.endsWith('a') ? 'b' : 'a'}`,
    });
    await refused(401, 'token_malformed', '/orders', { token: 'hunter2' });
    const pasted = `${token.slice(0, 20)} ${token.slice(20)}`;
    const spaced = await refused(401, 'token_malformed', '/orders', { token: pasted });
    expect(spaced.problem?.detail).toContain('Copy it again, without spaces');
    await refused(401, 'token_malformed', '/orders', { token: 'x'.repeat(2000) });
    await refused(401, 'token_malformed', '/orders', { headers: { authorization: 'Bearer' } });
  });

  it('token_unknown: well-formed, but nobody’s; and the right id with another secret', async () => {
    await refused(401, 'token_unknown', '/orders', { token: madeUpToken() });
  });

  it('token_untrusted: a JWT, and no issuer is configured', async () => {
    await refused(401, 'token_untrusted', '/orders', { token: 'eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.' });
  });

  it('token_wrong_environment', async () => {
    await refused(401, 'token_wrong_environment', '/orders', { token: madeUpToken('prod') });
  });

  it('token_expired and token_not_yet_valid', async () => {
    const expired = await plantToken(gateway.folder, { expires_at: Date.now() - 1000 });
    const early = await plantToken(gateway.folder, { not_before: Date.now() + 3_600_000 });
    await refused(401, 'token_expired', '/orders', { token: expired.token });
    await refused(401, 'token_not_yet_valid', '/orders', { token: early.token });
  });

  it('token_revoked, at once and for good', async () => {
    const doomed = await gateway.issue();
    expect((await gateway.call('/orders', { token: doomed.token })).status).toBe(200);
    expect((await gateway.admin('POST', `/v1/tokens/${doomed.id}/revoke`, { reason: 'leaked' })).status).toBe(200);
    await refused(401, 'token_revoked', '/orders', { token: doomed.token });
  });

  it('token_superseded: an old generation after its grace', async () => {
    const rotated = await gateway.issue();
    const answer = await gateway.admin('POST', `/v1/tokens/${rotated.id}/rotate`, { grace: '0s' });
    expect(answer.status).toBe(200);
    await refused(401, 'token_superseded', '/orders', { token: rotated.token });
    const renewed = (JSON.parse(answer.text) as { token: string }).token;
    expect((await gateway.call('/orders', { token: renewed })).status).toBe(200);
    expect(await gateway.event((line) => line.type === 'token.reuse' && line['token_id'] === rotated.id)).toBeDefined();
  });

  it('token_ambiguous: two different tokens in one request', async () => {
    const other = await gateway.issue();
    await refused(400, 'token_ambiguous', '/orders', { token, headers: { 'x-api-key': other.token } });
    const same = await gateway.call('/orders', { token, headers: { 'x-api-key': token } });
    expect(same.status).toBe(200);
  });

  it('path_ambiguous', async () => {
    for (const path of [
      '/orders/a%2fb',
      '/orders/a%5cb',
      '/orders/%00',
      '/../orders',
      '/orders/..;/admin',
      '/orders/%zz',
    ]) {
      const seenBefore = upstream.seen.length;
      const { text } = await sendRaw(
        gateway.port,
        `GET ${path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\nConnection: close\r\n\r\n`,
      );
      expect({ path, ...problemOf(text) }).toMatchObject({ path, status: 400, reason: 'path_ambiguous' });
      expect(upstream.seen.length).toBe(seenBefore);
    }
  });

  it('request_malformed: no host, two hosts, two framings, a body length that is none', async () => {
    const heads = [
      'GET /orders HTTP/1.1\r\n',
      'GET /orders HTTP/1.1\r\nHost: a\r\nHost: b\r\n',
      'GET /orders HTTP/1.1\r\nHost: a b\r\n',
      'GET /orders HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n',
      'GET /orders HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n',
      'GET /orders HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n',
      'GET /orders HTTP/1.1\r\nHost: a\r\nConnection: content-length\r\n',
      'GET http://other/orders HTTP/1.1\r\nHost: a\r\n',
      'GET * HTTP/1.1\r\nHost: a\r\n',
      'TRACE /orders HTTP/1.1\r\nHost: a\r\n',
      'CONNECT a:80 HTTP/1.1\r\nHost: a\r\n',
      'GE(T /orders HTTP/1.1\r\nHost: a\r\n',
      'GET /orders HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n',
    ];
    for (const head of heads) {
      const seenBefore = upstream.seen.length;
      const { text } = await sendRaw(gateway.port, `${head}Authorization: Bearer ${token}\r\n\r\n`, (got) =>
        got.endsWith('}'),
      );
      expect({ head, ...problemOf(text) }).toMatchObject({ head, status: 400, reason: 'request_malformed' });
      expect(upstream.seen.length).toBe(seenBefore);
    }
  });

  it('scope_insufficient says which scope would do', async () => {
    const answer = await refused(403, 'scope_insufficient', '/orders', { method: 'POST', token, body: '{}' });
    expect(answer.headers['www-authenticate']).toContain('error="insufficient_scope"');
    expect(answer.headers['www-authenticate']).toContain('scope="orders:write"');
  });

  it('route_not_declared', async () => {
    await refused(403, 'route_not_declared', '/nowhere', { token });
    await refused(403, 'route_not_declared', '/orders', { method: 'DELETE', token });
  });

  it.each([
    ['ip', '/orders/afar'],
    ['time', '/orders/never'],
    ['claims', '/orders/acme/1'],
    ['token_type', '/orders/jwt'],
  ])('condition_failed says that it was %s', async (condition, path) => {
    const answer = await refused(403, 'condition_failed', path, { token });
    expect(JSON.parse(answer.text)).toMatchObject({ condition, detail: expect.stringContaining(condition) });
  });

  it('condition_failed for a token that is too old, or used from a foreign address', async () => {
    const old = await plantToken(gateway.folder);
    const bound = await gateway.issue({ ip: ['203.0.113.0/24'] });
    expect((await refused(403, 'condition_failed', '/orders/fresh', { token: old.token })).text).toContain(
      'max_token_age',
    );
    expect((await refused(403, 'condition_failed', '/orders', { token: bound.token })).text).toContain('ip');
  });

  it('rate_limited says when to come back', async () => {
    const eager = await gateway.issue();
    expect((await gateway.call('/orders/limited', { token: eager.token })).status).toBe(200);
    expect((await gateway.call('/orders/limited', { token: eager.token })).status).toBe(200);
    const answer = await refused(429, 'rate_limited', '/orders/limited', { token: eager.token });
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
    expect(answer.headers['ratelimit-policy']).toContain('q=2;w=60');
    expect(answer.headers['ratelimit']).toContain('r=0');
  });

  it('body_too_large: announced, and found out', async () => {
    const writer = await gateway.issue({ scopes: ['orders:write'] });
    await refused(413, 'body_too_large', '/orders', { method: 'POST', token: writer.token, body: 'x'.repeat(1025) });
    const chunk = 'x'.repeat(600);
    const { text } = await sendRaw(
      gateway.port,
      `POST /orders HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${writer.token}\r\nTransfer-Encoding: chunked\r\n\r\n` +
        `258\r\n${chunk}\r\n258\r\n${chunk}\r\n0\r\n\r\n`,
      (got) => got.endsWith('}'),
    );
    expect(problemOf(text)).toMatchObject({ status: 413, reason: 'body_too_large' });
    const exact = await gateway.call('/orders', { method: 'POST', token: writer.token, body: 'x'.repeat(1024) });
    expect(exact.status).toBe(200);
  });

  it('headers_too_large: too many, and too long', async () => {
    const many = Object.fromEntries(Array.from({ length: 25 }, (_, i) => [`x-${i}`, 'a']));
    await refused(431, 'headers_too_large', '/orders', { token, headers: many });
    const { text } = await sendRaw(gateway.port, `GET /orders HTTP/1.1\r\nHost: a\r\nX: ${'a'.repeat(5000)}\r\n\r\n`);
    expect(problemOf(text)).toMatchObject({ status: 431, reason: 'headers_too_large' });
  });

  it('request_timeout: a head that never ends', async () => {
    const { text, closed } = await sendRaw(gateway.port, 'GET /orders HTTP/1.1\r\nHost: a\r\n');
    expect(problemOf(text)).toMatchObject({ status: 408, reason: 'request_timeout' });
    expect(closed).toBe(true);
  });

  it('upstream_unreachable, upstream_invalid, upstream_timeout', async () => {
    for (const [path, status, reason] of [
      ['/nobody/x', 502, 'upstream_unreachable'],
      ['/garbage/x', 502, 'upstream_invalid'],
      ['/silent/x', 504, 'upstream_timeout'],
    ] as const) {
      const answer = await gateway.call(path, { token });
      expect({ status: answer.status, reason: answer.problem?.reason }).toEqual({ status, reason });
      expect(await gateway.eventOf(answer)).toMatchObject({
        type: 'access.allowed',
        outcome: 'failure',
        reason,
        status,
      });
    }
  });

  it('a public path needs no token, and gives no secret away', async () => {
    const answer = await gateway.call('/orders/health', { headers: { 'x-api-key': token } });
    expect(answer.status).toBe(200);
    expect(JSON.stringify(upstream.seen.at(-1)?.rawHeaders)).not.toContain(token);
  });

  it('leaves a metric for each', async () => {
    expect(
      await gateway.metric(/^portcullis_requests_total\{.*decision="deny".*reason="token_missing"/),
    ).toBeGreaterThanOrEqual(2);
  });

  it('writes no secret into the audit file', async () => {
    const lines = JSON.stringify(await gateway.auditLines());
    expect(lines).not.toContain(token);
    expect(lines).not.toContain(token.slice(-40));
  });
});

describe('refusals of a gateway that takes nothing more', () => {
  it('overloaded: one connection too many', async () => {
    const upstream = await TestUpstream.start();
    const gateway = await TestGateway.start({
      upstreams: { orders: upstream.url },
      policies: { 'orders.yaml': ORDERS },
      config: { listen: '{ host: 127.0.0.1, port: 0, limits: { connections: 2 } }' },
    });
    const first = await openSocket(gateway.port);
    const second = await openSocket(gateway.port);
    const { text } = await sendRaw(gateway.port, 'GET /orders HTTP/1.1\r\nHost: a\r\n\r\n');
    expect(problemOf(text)).toMatchObject({ status: 503, reason: 'overloaded' });
    expect(text).toMatch(/\r\nretry-after: \d+\r\n/i);
    first.destroy();
    second.destroy();
    await gateway.close();
    await upstream.close();
  });

  it('draining: a request that comes while the last ones finish', async () => {
    let finish: () => void = () => undefined;
    const arrived = new Promise<void>((resolve) => {
      finish = resolve;
    });
    let answerIt: () => void = () => undefined;
    const upstream = await TestUpstream.start((_request, response) => {
      finish();
      answerIt = () => response.end('done');
    });
    const gateway = await TestGateway.start({
      upstreams: { orders: upstream.url },
      policies: { 'orders.yaml': ORDERS },
    });
    const { token } = await gateway.issue();
    const late = await openSocket(gateway.port);
    late.write('GET /orders HTTP/1.1\r\nHost: a\r\n');
    const inFlight = gateway.call('/orders', { token });
    await arrived;
    const closed = gateway.close();
    const answered = new Promise<string>((resolve) => {
      let text = '';
      late.on('data', (chunk) => {
        text += chunk.toString('latin1');
        if (text.endsWith('}')) resolve(text);
      });
    });
    late.write(`Authorization: Bearer ${token}\r\n\r\n`);
    const text = await answered;
    expect(statusOf(text)).toBe(503);
    expect(problemOf(text)).toMatchObject({ reason: 'draining' });
    answerIt();
    expect((await inFlight).status).toBe(200);
    await closed;
    await upstream.close();
  });
});

function listen(onConnection: (socket: import('node:net').Socket) => void): Promise<Server> {
  const server = createServer(onConnection);
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
}

function urlOf(server: Server): string {
  const address = server.address();
  return `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`;
}

async function freePort(): Promise<number> {
  const server = await listen(() => undefined);
  const port = Number(new URL(urlOf(server)).port);
  await new Promise((resolve) => server.close(resolve));
  return port;
}
