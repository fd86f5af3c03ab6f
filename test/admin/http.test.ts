import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createAdminServer } from '../../src/admin/server.ts';
import { Fault } from '../../src/model/fault.ts';
import { type Harness, responseTo, startAdmin } from './harness.ts';

let admin: Harness;
beforeEach(async () => {
  admin = await startAdmin();
});
afterEach(() => admin.close());

describe('what is not there', () => {
  it.each([
    '/',
    '/v1',
    '/v1/',

    '/V1/tokens',
    '/v1/token',
    '/v1/revocations/x',
    '/v1/tokens/x/y',
    '//v1/tokens',
  ])('%s is 404 without a look at token or body', async (path) => {
    for (const method of ['GET', 'POST', 'DELETE']) {
      const refused = await admin.call(method, path, { token: null, ...(method === 'GET' ? {} : { body: '{' }) });
      expect([refused.status, refused.json.reason], method).toEqual([404, 'not_found']);
    }
  });

  it.each([
    ['DELETE', '/v1/tokens/000000000000', 'GET, HEAD, PATCH'],
    ['PUT', '/v1/tokens', 'POST, GET, HEAD'],
    ['GET', '/v1/tokens/000000000000/revoke', 'POST'],
    ['OPTIONS', '/v1/tokens', 'POST, GET, HEAD'],
    ['POST', '/metrics', 'GET, HEAD'],
    ['HEAD', '/v1/events', 'GET'],
    ['PROPFIND', '/v1/policies', 'GET, HEAD'],
  ])('%s %s is 405 with Allow', async (method, path, allow) => {
    const refused = await admin.call(method, path, { token: null });
    expect(refused.status).toBe(405);
    expect(refused.headers.get('allow')).toBe(allow);
    if (method !== 'HEAD') expect(refused.json.reason).toBe('method_not_allowed');
  });

  it('a path that is no percent-encoding is 400', async () => {
    const refused = await admin.call('GET', '/v1/tokens/%zz');
    expect([refused.status, refused.json.reason]).toEqual([400, 'request_malformed']);
  });

  it('HEAD answers like GET, without the body', async () => {
    const head = await admin.call('HEAD', '/v1/status');
    expect([head.status, head.text]).toEqual([200, '']);
    expect((await admin.call('HEAD', '/v1/status', { token: null })).status).toBe(401);
  });
});

describe('a body', () => {
  const post = (body: string, type: string | null = 'application/json'): ReturnType<Harness['call']> =>
    admin.call('POST', '/v1/tokens', { body, headers: type === null ? {} : { 'content-type': type } });

  it('that is not JSON is 400', async () => {
    for (const body of [
      '{',
      '{"a":1}x',
      "{'a':1}",
      'null x',
      '\u0000',
      '{"__proto__":{"x":1}}',
      '{"constructor":{"prototype":1}}',
    ]) {
      const refused = await post(body);
      expect([refused.status, refused.json.reason], body).toEqual([400, 'request_malformed']);
    }
    for (const body of ['null', '[]', '1', '"x"', '']) {
      const refused = await post(body);
      expect([refused.status, refused.json.reason], body).toEqual([400, 'request_invalid']);
    }
  });

  it('of another content type is 415', async () => {
    for (const type of [
      'text/plain',
      'application/x-www-form-urlencoded',
      'multipart/form-data; boundary=x',
      'nonsense',
      'application/jsonx',
    ]) {
      const refused = await post('{}', type);
      expect([refused.status, refused.json.reason], type).toEqual([415, 'media_type_unsupported']);
    }
    expect((await post('{}', 'Application/JSON; charset=UTF-8')).status).toBe(400);
  });

  it('over 64 KiB is 413, announced or not', async () => {
    const body = JSON.stringify({ name: 'x'.repeat(65_536) });
    const refused = await post(body);
    expect([refused.status, refused.json.reason]).toEqual([413, 'body_too_large']);
    const chunked = httpRequest(`${admin.url}/v1/tokens`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${admin.root}`,
        'content-type': 'application/json',
        'transfer-encoding': 'chunked',
      },
    });
    chunked.on('error', () => undefined);
    chunked.end(body);
    const response = await responseTo(chunked);
    expect(response.statusCode).toBe(413);
    response.resume();
  });

  it('is not read from a caller who may not call', async () => {
    const started = httpRequest(`${admin.url}/v1/tokens`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'content-length': '1000' },
    });
    started.flushHeaders();
    const response = await responseTo(started);
    expect(response.statusCode).toBe(401);
    expect(response.headers.connection).toBe('close');
    started.on('error', () => undefined).destroy();
  });
});

describe('a connection', () => {
  const raw = async (text: string): Promise<string> => {
    const socket = connect(admin.port, '127.0.0.1');
    socket.write(text, 'latin1');
    return (await socket.setEncoding('latin1').toArray()).join('');
  };

  it('that does not speak HTTP/1.1 gets a problem document', async () => {
    for (const text of [
      'GARBAGE\r\n\r\n',
      'GET / HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n',
      'GET / HTTP/1.1\r\n\r\n',
    ]) {
      const answer = await raw(text);
      expect(answer, text).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
    }
    expect(await raw('GARBAGE\r\n\r\n')).toMatch(
      /content-type: application\/problem\+json\r\n[\s\S]*"reason":"request_malformed"/,
    );
  });

  it('with a head over 16 KiB is 431', async () => {
    const answer = await raw(`GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: ${'x'.repeat(20_000)}\r\n\r\n`);
    expect(answer).toMatch(/^HTTP\/1\.1 431 [\s\S]*"reason":"headers_too_large"/);
  });
});

describe('a page of another site', () => {
  const status = async (headers: Record<string, string>): Promise<number | undefined> => {
    const request = httpRequest(`${admin.url}/healthz`, { headers, setHost: false });
    request.end();
    const response = await responseTo(request);
    response.resume();
    return response.statusCode;
  };

  it('is refused by its Origin', async () => {
    const own = `127.0.0.1:${admin.port}`;
    expect(await status({ host: own, origin: `http://${own}` })).toBe(200);
    for (const origin of [
      'http://evil.example',
      'null',
      `http://127.0.0.1:${admin.port + 1}`,
      'https://127.0.0.1',
      `http://${own}@evil.example`,
    ]) {
      expect(await status({ host: own, origin }), origin).toBe(403);
    }
    const refused = await admin.call('POST', '/v1/tokens', { json: {}, headers: { origin: 'http://evil.example' } });
    expect(refused.json.reason).toBe('origin_refused');
  });

  it('is refused by its Host on a loopback listener (DNS rebinding)', async () => {
    for (const host of ['localhost', 'localhost:9090', 'admin.localhost', '127.0.0.1', '[::1]:80', '10.1.2.3:9']) {
      expect(await status({ host }), host).toBe(200);
    }
    for (const host of ['evil.example', 'localhost.evil.example', '127.0.0.1.evil.example:80', '']) {
      expect(await status({ host }), host).toBe(403);
    }
  });

  it('is told by nothing but the token on a listener that a network reaches by names', async () => {
    const server = createAdminServer(admin.options);
    const { port } = await server.listen('0.0.0.0', 0);
    const request = httpRequest({
      port,
      path: '/healthz',
      headers: { host: 'portcullis.internal:9090' },
      setHost: false,
    });
    request.end();
    const response = await responseTo(request);
    response.resume();
    expect(response.statusCode).toBe(200);
    await server.close();
  });
});

describe('a fault', () => {
  const SECRET_CAUSE = 'redis://user:hunter2@10.0.0.1';
  it.each([
    [new Fault('store_unavailable', SECRET_CAUSE), 503, 'store_unavailable', '1'],
    [new Fault('store_full', SECRET_CAUSE), 503, 'store_unavailable', '1'],
    [new Fault('conflict', SECRET_CAUSE), 409, 'conflict', null],
    [new Fault('internal', SECRET_CAUSE), 500, 'internal_error', null],
    [new Error(SECRET_CAUSE), 500, 'internal_error', null],
    [Object.assign(new Error(SECRET_CAUSE), { statusCode: 418, code: 'toString' }), 500, 'internal_error', null],
  ])('%s is %i %s, and its cause goes to the log alone', async (fault, status, reason, retryAfter) => {
    admin.store.load = () => Promise.reject(fault);
    const failed = await admin.call('GET', '/v1/tokens/000000000000');
    expect([failed.status, failed.json.reason, failed.headers.get('retry-after')]).toEqual([
      status,
      reason,
      retryAfter,
    ]);
    expect(failed.text).not.toContain('hunter2');
    if (status === 409) return;
    expect(admin.logged.filter((line) => line.includes(failed.json.request_id))).toHaveLength(1);
  });

  it('of the audit trail says what has become of the change', async () => {
    const { id } = await admin.issue();
    const other = await startAdmin((options) => ({
      ...options,
      lifecycle: {
        ...options.lifecycle,
        store: admin.store,
        audit: {
          record: (event) => options.audit.record(event),
          recordDurably: () => Promise.reject(new Fault('audit_unavailable', SECRET_CAUSE)),
        },
      },
    }));
    const revoked = await other.call('POST', `/v1/tokens/${id}/revoke`, { json: { reason: 'x' } });
    expect([revoked.status, revoked.json.reason, revoked.headers.get('retry-after')]).toEqual([
      503,
      'audit_unavailable',
      '1',
    ]);
    expect(revoked.json.detail).toMatch(/^Token \w{12} is revoked, but the audit event could not be recorded/);
    const issued = await other.call('POST', '/v1/tokens', {
      json: { name: 'n', owner: 'o', class: 'service', scopes: [] },
    });
    expect(issued.json.detail).toMatch(/^The token was not issued because/);
    expect(revoked.text + issued.text).not.toContain('hunter2');
    await other.close();
  });

  it('of the store while the caller is judged is 503, never 401', async () => {
    admin.store.find = () => {
      throw new Fault('store_unavailable', 'away');
    };
    const failed = await admin.call('GET', '/v1/status');
    expect([failed.status, failed.json.reason]).toEqual([503, 'store_unavailable']);
  });
});

describe('health', () => {
  it('says that the process is alive, whatever the store does, and whether it is ready', async () => {
    let reasons: string[] = [];
    const other = await startAdmin((options) => ({
      ...options,
      ready: () => ({ ready: reasons.length === 0, reasons }),
    }));
    expect((await other.call('GET', '/readyz')).json).toEqual({ ready: true, reasons: [] });
    reasons = ['the store cannot be reached'];
    const notReady = await other.call('GET', '/readyz');
    expect([notReady.status, notReady.json]).toEqual([503, { ready: false, reasons }]);
    expect((await other.call('GET', '/healthz')).json).toEqual({ status: 'ok' });
    await other.close();
  });

  it('metrics come in the format that Accept asks for', async () => {
    const text = await admin.call('GET', '/metrics');
    expect(text.headers.get('content-type')).toMatch(/^text\/plain/);
    expect(text.text).toMatch(/^# HELP portcullis_/m);
  });

  it('status tells store, policy and uptime', async () => {
    const status = (await admin.call('GET', '/v1/status')).json;
    // It is the time until the answer, and that takes a while.
    expect(status['uptime_ms']).toBeGreaterThanOrEqual(5000);
    expect(status).toMatchObject({
      version: '1.2.3',
      environment: 'test',
      store: { kind: 'embedded', up: true },
      lease: null,
      replicas: 1,
      draining: false,
      policy: { version: admin.options.policy.current()?.version, last_reload_failed: false },
    });
  });
});

describe('the server', () => {
  it('answers the calls in flight before it closes', async () => {
    const server = createAdminServer(admin.options);
    const { url } = await server.listen('127.0.0.1', 0);
    let go: () => void = () => undefined;
    const reached = new Promise<void>((resolve) => {
      const load = admin.store.load.bind(admin.store);
      admin.store.load = async (id) => {
        resolve();
        await new Promise<void>((released) => {
          go = released;
        });
        return await load(id);
      };
    });
    const answer = fetch(`${url}/v1/tokens/${admin.rootId}`, { headers: { authorization: `Bearer ${admin.root}` } });
    await reached;
    const closed = server.close();
    go();
    expect((await answer).status).toBe(200);
    await closed;
    await expect(fetch(`${url}/healthz`)).rejects.toThrow();
  });

  it('says where it listens, and rejects when it cannot', async () => {
    expect(admin.url).toBe(`http://127.0.0.1:${admin.port}`);
    const second = createAdminServer(admin.options);
    await expect(second.listen('127.0.0.1', admin.port)).rejects.toMatchObject({ code: 'EADDRINUSE' });
    await second.close();
    const six = createAdminServer(admin.options);
    const { url } = await six.listen('::1', 0);
    expect(url).toMatch(/^http:\/\/\[::1\]:\d+$/);
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
    await six.close();
  });
});
