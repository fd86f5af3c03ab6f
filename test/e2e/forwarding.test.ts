import { createServer, type Server } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestGateway } from '../support/gateway.ts';
import { sendRaw, statusOf } from '../support/raw-client.ts';
import { type SeenRequest, TestUpstream } from '../support/upstream.ts';

const policy = (name: string, more = ''): string => `api: ${name}
upstream: ${name}
base: /${name}
${more}rules:
  - { name: all, path: [/, "/{rest...}"], scopes: [orders:read] }
`;

describe('what the upstream gets', () => {
  let upstream: TestUpstream;
  let gateway: TestGateway;
  let token: string;
  let id: string;

  beforeAll(async () => {
    upstream = await TestUpstream.start();
    gateway = await TestGateway.start({
      upstreams: { orders: upstream.url, kept: upstream.url, under: `${upstream.url}/v2`, swapped: upstream.url },
      upstreamOptions: {
        kept: 'preserve_host: true',
        swapped: 'credential: { header: authorization, value: { env: ORDERS_KEY } }',
      },
      env: { ORDERS_KEY: 'Basic dXBzdHJlYW0=' },
      policies: {
        'orders.yaml': policy('orders'),
        'kept.yaml': policy('kept'),
        'under.yaml': policy('under', 'strip_base: true\n'),
        'swapped.yaml': policy('swapped'),
      },
    });
    ({ token, id } = await gateway.issue({ subject: 'zoe 100%', scopes: ['orders:read', 'orders:write'] }));
  });

  afterAll(async () => {
    await gateway?.close();
    await upstream?.close();
  });

  async function seenFor(raw: string): Promise<SeenRequest> {
    const before = upstream.seen.length;
    const { text } = await sendRaw(
      gateway.port,
      raw.replace('@@', `Authorization: Bearer ${token}\r\nConnection: close`),
    );
    expect(statusOf(text)).toBe(200);
    expect(upstream.seen.length).toBe(before + 1);
    return upstream.seen[before] as SeenRequest;
  }

  it('is the canonical path with the query as it came', async () => {
    const seen = await seenFor('GET /orders//./a/../%7ejoe/?q=a%2fb&&x=%zz HTTP/1.1\r\nHost: a\r\n@@\r\n\r\n').catch(
      () => null,
    );
    expect(seen?.url ?? 'refused').toMatch(/^(\/orders\/~joe\/\?q=a%2fb&&x=%zz|refused)$/);
    expect((await seenFor('GET /orders//./a/../%7ejoe/?q=a%2fb HTTP/1.1\r\nHost: a\r\n@@\r\n\r\n')).url).toBe(
      '/orders/~joe/?q=a%2fb',
    );
    expect((await seenFor('GET /orders HTTP/1.1\r\nHost: a\r\n@@\r\n\r\n')).url).toBe('/orders');
    expect((await seenFor('GET /orders/ HTTP/1.1\r\nHost: a\r\n@@\r\n\r\n')).url).toBe('/orders/');
  });

  it('is under the upstream’s own prefix, without the base where it is stripped', async () => {
    expect((await seenFor('GET /under/x/y?z HTTP/1.1\r\nHost: a\r\n@@\r\n\r\n')).url).toBe('/v2/x/y?z');
    expect((await seenFor('GET /under HTTP/1.1\r\nHost: a\r\n@@\r\n\r\n')).url).toBe('/v2/');
  });

  it('says who calls, and never with the token', async () => {
    const seen = await seenFor('GET /orders HTTP/1.1\r\nHost: shop.example:8443\r\n@@\r\n\r\n');
    expect(seen.headers).toMatchObject({
      'portcullis-token-id': id,
      'portcullis-subject': 'zoe 100%25',
      'portcullis-scopes': 'orders:read orders:write',
      'portcullis-request-id': expect.stringMatching(/^[0-9a-f]{32}$/),
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-proto': 'http',
      'x-forwarded-host': 'shop.example:8443',
      forwarded: 'for=127.0.0.1;proto=http;host="shop.example:8443"',
      traceparent: expect.stringMatching(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/),
      host: `127.0.0.1:${upstream.port}`,
    });
    expect(seen.headers.authorization).toBeUndefined();
    expect(JSON.stringify(seen)).not.toContain(token.slice(-20));
  });

  it('has nothing that only the gateway may say, in no spelling', async () => {
    const forged = [
      'Portcullis-Subject: admin',
      'portcullis_subject: admin',
      'PORTCULLIS-Token_Id: admin',
      'Portcullis-Anything: admin',
      'X-Forwarded-For: 10.9.8.7',
      'X_Forwarded_For: 10.9.8.7',
      'X-Forwarded-Host: evil',
      'X-Forwarded-User: admin',
      'Forwarded: for=10.9.8.7',
      'X-Real-IP: 10.9.8.7',
      'X-Original-URL: /admin',
      'X-Rewrite-URL: /admin',
      'X-HTTP-Method-Override: DELETE',
      'Proxy: http://evil',
      'Proxy-Authorization: Basic eDp5',
    ].join('\r\n');
    const seen = await seenFor(`GET /orders HTTP/1.1\r\nHost: a\r\n${forged}\r\n@@\r\n\r\n`);
    expect(JSON.stringify(seen.rawHeaders)).not.toMatch(/admin|10\.9\.8\.7|evil|DELETE|eDp5/);
    expect(await gateway.event((line) => line.request_id === seen.headers['portcullis-request-id'])).toMatchObject({
      ip: '127.0.0.1',
    });
  });

  it('has no hop-by-hop fields, and none that Connection names, but what the gateway adds survives', async () => {
    const { text } = await sendRaw(
      gateway.port,
      `GET /orders HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\nConnection: close, X-Secret, Portcullis-Subject, traceparent\r\n` +
        'Keep-Alive: timeout=5\r\nTE: trailers, deflate\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nX-Secret: s3cr3t\r\nX-Kept: yes\r\n\r\n',
    );
    expect(statusOf(text)).toBe(200);
    const { headers } = upstream.seen.at(-1) as SeenRequest;
    expect(headers['x-secret']).toBeUndefined();
    expect(headers.upgrade).toBeUndefined();
    expect(headers['http2-settings']).toBeUndefined();
    expect(headers['x-kept']).toBe('yes');
    expect(headers['portcullis-subject']).toBe('zoe 100%25');
    expect(headers.traceparent).toBeDefined();
    expect(headers.te ?? 'trailers').toBe('trailers');
  });

  it('keeps the host where that is wanted, and swaps the credential where one is configured', async () => {
    expect((await seenFor('GET /kept HTTP/1.1\r\nHost: shop.example\r\n@@\r\n\r\n')).headers.host).toBe('shop.example');
    const swapped = await seenFor('GET /swapped HTTP/1.1\r\nHost: a\r\n@@\r\n\r\n');
    expect(swapped.headers.authorization).toBe('Basic dXBzdHJlYW0=');
  });

  it('passes a trace on', async () => {
    const trace = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
    const seen = await seenFor(
      `GET /orders HTTP/1.1\r\nHost: a\r\ntraceparent: ${trace}\r\ntracestate: a=b\r\n@@\r\n\r\n`,
    );
    expect(seen.headers).toMatchObject({ traceparent: trace, tracestate: 'a=b' });
  });

  it.each(['Content-Length: 5\r\n\r\nhello', 'Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n'])(
    're-frames the body it parsed: %j',
    async (framed) => {
      for (const method of ['POST', 'PUT', 'DELETE', 'GET', 'PATCH', 'OPTIONS', 'PROPFIND']) {
        const before = upstream.seen.length;
        const { text } = await sendRaw(
          gateway.port,
          `${method} /orders HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\nConnection: close\r\n${framed}`,
        );
        expect({ method, status: statusOf(text) }).toEqual({ method, status: 200 });
        const seen = upstream.seen.slice(before);
        expect(seen.map(({ method: got, body }) => [got, body.toString()])).toEqual([[method, 'hello']]);
        const framing = [seen[0]?.headers['content-length'], seen[0]?.headers['transfer-encoding']];
        expect(framing).toEqual(framed.startsWith('C') ? ['5', undefined] : [undefined, 'chunked']);
      }
    },
  );

  it('keeps an empty body empty', async () => {
    expect(
      (await seenFor('POST /orders HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n@@\r\n\r\n')).headers,
    ).toMatchObject({
      'content-length': '0',
    });
    const bare = await seenFor('GET /orders HTTP/1.1\r\nHost: a\r\n@@\r\n\r\n');
    expect(bare.headers['content-length']).toBeUndefined();
    expect(bare.headers['transfer-encoding']).toBeUndefined();
  });

  it('answers pipelined requests in order, each judged for itself', async () => {
    const before = upstream.seen.length;
    const auth = `Authorization: Bearer ${token}\r\n`;
    const { text } = await sendRaw(
      gateway.port,
      `GET /orders/1 HTTP/1.1\r\nHost: a\r\n${auth}\r\nGET /orders/2 HTTP/1.1\r\nHost: a\r\n\r\nGET /orders/3 HTTP/1.1\r\nHost: a\r\n${auth}Connection: close\r\n\r\n`,
    );
    expect([...text.matchAll(/HTTP\/1\.1 (\d{3})/g)].map(([, status]) => status)).toEqual(['200', '401', '200']);
    expect(
      upstream.seen
        .slice(before)
        .map(({ url }) => url)
        .toSorted(),
    ).toEqual(['/orders/1', '/orders/3']);
  });
});

describe('a gateway behind proxies that it trusts', () => {
  it('continues what they say about the client', async () => {
    const upstream = await TestUpstream.start();
    const gateway = await TestGateway.start({
      upstreams: { orders: upstream.url },
      policies: { 'orders.yaml': policy('orders') },
      config: { listen: '{ host: 127.0.0.1, port: 0, trusted_proxies: [127.0.0.0/8, 10.0.0.0/8] }' },
    });
    const { token } = await gateway.issue();
    const answer = await gateway.call('/orders', {
      token,
      headers: {
        'x-forwarded-for': '1.1.1.1, 198.51.100.7, 10.0.0.5',
        'x-forwarded-proto': 'https',
        'x-forwarded-host': 'shop.example',
        forwarded: 'for=198.51.100.7',
      },
    });
    expect(upstream.seen.at(-1)?.headers).toMatchObject({
      'x-forwarded-for': '1.1.1.1, 198.51.100.7, 10.0.0.5, 127.0.0.1',
      'x-forwarded-proto': 'https',
      'x-forwarded-host': 'shop.example',
      forwarded: expect.stringMatching(/^for=198\.51\.100\.7, for=127\.0\.0\.1;/),
    });
    expect(await gateway.eventOf(answer)).toMatchObject({ ip: '198.51.100.7' });
    await gateway.close();
    await upstream.close();
  });
});

describe('what the client gets', () => {
  let raw: Server;
  let gateway: TestGateway;
  let token: string;
  let answerWith = '';
  let got = '';

  beforeAll(async () => {
    raw = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.on('data', (chunk) => {
        got += chunk.toString('latin1');
        if (got.includes('\r\n\r\n') && answerWith !== '') {
          socket.end(answerWith, 'latin1');
          answerWith = '';
        }
      });
    });
    await new Promise<void>((resolve) => raw.listen(0, '127.0.0.1', resolve));
    const address = raw.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    gateway = await TestGateway.start({
      upstreams: { orders: `http://127.0.0.1:${port}` },
      policies: { 'orders.yaml': policy('orders') },
    });
    ({ token } = await gateway.issue());
  });

  afterAll(async () => {
    await gateway?.close();
    raw?.close();
  });

  async function relayed(answer: string, method = 'GET', version = '1.1'): Promise<string> {
    answerWith = answer;
    got = '';
    const { text } = await sendRaw(
      gateway.port,
      `${method} /orders HTTP/${version}\r\nHost: a\r\nAuthorization: Bearer ${token}\r\nConnection: close\r\n\r\n`,
    );
    return text;
  }

  it('is the upstream’s answer, with a request id, and without hop-by-hop or forged fields', async () => {
    const text = await relayed(
      'HTTP/1.1 201 Made It\r\nContent-Length: 2\r\nConnection: X-Gone\r\nX-Gone: 1\r\nKeep-Alive: timeout=1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nPortcullis-Request-Id: forged\r\nX-Mixed-Case: Kept\r\n\r\nok',
    );
    expect(text).toMatch(/^HTTP\/1\.1 201 Made It\r\n/);
    expect(text).toContain('X-Mixed-Case: Kept\r\n');
    expect(text.match(/set-cookie: /gi)).toHaveLength(2);
    expect(text).not.toMatch(/x-gone|forged/i);
    expect(text).toMatch(/portcullis-request-id: [0-9a-f]{32}\r\n/);
    expect(text.endsWith('\r\n\r\nok')).toBe(true);
  });

  it('keeps the length that HEAD, 304 and 204 may tell, and sends no body', async () => {
    const head = await relayed('HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n', 'HEAD');
    expect(head).toMatch(/content-length: 1000\r\n/i);
    expect(head.endsWith('\r\n\r\n')).toBe(true);
    const unchanged = await relayed('HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n');
    expect(unchanged).toMatch(/^HTTP\/1\.1 304/);
    expect(unchanged).not.toMatch(/transfer-encoding/i);
    const empty = await relayed('HTTP/1.1 204 No Content\r\n\r\n');
    expect(empty).toMatch(/^HTTP\/1\.1 204/);
    expect(empty).not.toMatch(/transfer-encoding|content-length/i);
  });

  it('has the interim answers, and the final one after them', async () => {
    const text = await relayed(
      'HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok',
    );
    expect(text).toMatch(/^HTTP\/1\.1 103 Early Hints\r\n(.+\r\n)*link: <\/a\.css>/i);
    expect(text).toMatch(/\r\n\r\nHTTP\/1\.1 200 OK\r\n/);
    expect(text.endsWith('ok')).toBe(true);
  });

  it('has the trailers', async () => {
    const text = await relayed(
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 42\r\nSet-Cookie: no=1\r\n\r\n',
    );
    expect(text).toMatch(/0\r\nX-Sum: 42\r\n\r\n$/i);
  });

  it('is re-framed where the upstream’s answer ends with its connection', async () => {
    const text = await relayed('HTTP/1.1 200 OK\r\n\r\nuntil the end');
    expect(text).toMatch(/transfer-encoding: chunked/i);
    expect(text).toContain('until the end');
    expect(text.endsWith('0\r\n\r\n')).toBe(true);
    const old = await relayed('HTTP/1.1 200 OK\r\n\r\nuntil the end', 'GET', '1.0');
    expect(old).not.toMatch(/transfer-encoding/i);
    expect(old.endsWith('until the end')).toBe(true);
  });

  it('is visibly cut off when the upstream dies in the middle', async () => {
    const counted = await relayed('HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nonly this');
    expect(counted).toMatch(/content-length: 100000/i);
    expect(counted.endsWith('only this')).toBe(true);
    const chunked = await relayed('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n');
    expect(chunked).not.toMatch(/\r\n0\r\n\r\n$/);
    const id = /portcullis-request-id: (\S+)/i.exec(chunked)?.[1];
    expect(await gateway.event((line) => line.request_id === id)).toMatchObject({
      type: 'access.allowed',
      outcome: 'failure',
      status: 200,
    });
  });

  it.each([
    'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokX',
    'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
    'HTTP/1.1 -1 X\r\n\r\n',
    'not http at all\r\n\r\n',
    `HTTP/1.1 200 OK\r\nX: ${'a'.repeat(100_000)}\r\n\r\n`,
  ])('is 502 upstream_invalid for an answer that cannot be trusted: %.50j', async (answer) => {
    const text = await relayed(answer);
    expect(statusOf(text)).toBe(502);
    expect(text).toContain('"reason":"upstream_invalid"');
  });
});
