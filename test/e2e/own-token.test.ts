import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Answer, TestGateway } from '../support/gateway.ts';
import { problemOf, sendRaw, statusOf } from '../support/raw-client.ts';
import { TestUpstream } from '../support/upstream.ts';

const ORDERS = `api: orders
upstream: orders
base: /orders
rules: [ { name: read, path: ["/", "/{rest...}"], scopes: [orders:read] } ]
`;

/** Owns every path, and still never gets the gateway's own. */
const EVERYTHING = `api: everything
upstream: orders
hosts: [everything.test]
rules: [ { name: all, path: ["/", "/{rest...}"], public: true } ]
`;

const OWN = '/.portcullis/token';

describe('the holder of a token', () => {
  let upstream: TestUpstream;
  let gateway: TestGateway;

  beforeAll(async () => {
    upstream = await TestUpstream.start();
    gateway = await TestGateway.start({
      upstreams: { orders: upstream.url },
      policies: { 'orders.yaml': ORDERS, 'everything.yaml': EVERYTHING },
    });
  });

  afterAll(async () => {
    await gateway?.close();
    await upstream?.close();
  });

  function post(path: string, token: string | undefined, body?: unknown): Promise<Answer> {
    return gateway.call(path, {
      method: 'POST',
      ...(token === undefined ? {} : { token }),
      ...(body === undefined
        ? {}
        : { body: JSON.stringify(body), headers: { 'content-type': 'application/json; charset=utf-8' } }),
    });
  }

  const allowed = async (token: string): Promise<string> => {
    const answer = await gateway.call('/orders', { token });
    return answer.status === 200 ? 'ok' : String(answer.problem?.reason);
  };

  it('looks at the own token, and at nothing that is not the holder’s', async () => {
    const { id, token } = await gateway.issue({ subject: 'user-7', scopes: ['orders:read'] });
    const answer = await gateway.call(OWN, { token });
    expect([answer.status, answer.headers['cache-control'], answer.headers['content-type']]).toEqual([
      200,
      'no-store',
      'application/json',
    ]);
    const record = JSON.parse(answer.text) as Record<string, unknown>;
    expect(record).toMatchObject({
      id,
      class: 'service',
      status: 'active',
      subject: 'user-7',
      scopes: ['orders:read'],
      roles: [],
      generation: 1,
      presented_generation: 1,
      not_before: null,
      grace_until: null,
    });
    expect(
      Object.keys(record).filter((key) => /digest|created_by|revoked|last_used|use_count|^token$/.test(key)),
    ).toEqual([]);
    expect(answer.text).not.toContain(token.slice(-49));
    const event = await gateway.eventOf(answer);
    expect(event).toMatchObject({ type: 'access.allowed', outcome: 'success', token_id: id, path: OWN, status: 200 });
    const head = await gateway.call(OWN, { method: 'HEAD', token });
    expect([head.status, head.text]).toEqual([200, '']);
  });

  it('rotates its own token without any scope for it, and only with the newest secret', async () => {
    const { id, token: first } = await gateway.issue();
    const rotated = await post(`${OWN}/rotate`, first, { grace: '1h' });
    expect([rotated.status, rotated.headers['cache-control']]).toEqual([200, 'no-store']);
    const record = JSON.parse(rotated.text) as { id: string; token: string; generation: number; grace_until: string };
    expect(record).toMatchObject({ id, generation: 2, presented_generation: 2, status: 'rotating' });
    expect([await allowed(first), await allowed(record.token)]).toEqual(['ok', 'ok']);

    const old = await gateway.call(OWN, { token: first });
    expect(JSON.parse(old.text)).toMatchObject({
      generation: 2,
      presented_generation: 1,
      grace_until: record.grace_until,
    });
    expect(old.headers['portcullis-token-superseded']).toBe(record.grace_until);
    const again = await post(`${OWN}/rotate`, first);
    expect([again.status, again.problem?.reason]).toEqual([409, 'conflict']);
    const event = await gateway.eventOf(again);
    expect(event).toMatchObject({ type: 'access.allowed', outcome: 'failure', reason: 'conflict', status: 409 });

    const next = await post(`${OWN}/rotate`, record.token, { grace: '0s' });
    const newest = JSON.parse(next.text) as { token: string };
    expect([await allowed(record.token), await allowed(newest.token)]).toEqual(['token_superseded', 'ok']);
    const audited = await gateway.event((line) => line.type === 'token.rotated' && line['token_id'] === id);
    expect(audited).toMatchObject({ actor: id, request_id: rotated.headers['portcullis-request-id'] });
  });

  it('gives one new secret where several processes rotate at once', async () => {
    const { token } = await gateway.issue();
    const answers = await Promise.all(Array.from({ length: 6 }, () => post(`${OWN}/rotate`, token, {})));
    expect(answers.map(({ status }) => status).toSorted()).toEqual([200, 409, 409, 409, 409, 409]);
  });

  it('keeps a rotation within the class', async () => {
    const { token } = await gateway.issue();
    const answer = await post(`${OWN}/rotate`, token, { grace: '25h' });
    expect([answer.status, answer.problem?.reason]).toEqual([400, 'request_invalid']);
    expect(answer.problem?.detail).toContain('grace');
    expect(JSON.parse(answer.text)).toMatchObject({ errors: [{ path: 'grace' }] });
  });

  it('ends its own token, also with an old secret that has grace left', async () => {
    const { id, token: first } = await gateway.issue();
    const second = (JSON.parse((await post(`${OWN}/rotate`, first)).text) as { token: string }).token;
    const revoked = await post(`${OWN}/revoke`, first, { reason: 'found in a public repository' });
    expect([revoked.status, JSON.parse(revoked.text)]).toMatchObject([
      200,
      { id, propagation: { replicas: 1, acknowledged: 1, streams_closed: 0 } },
    ]);
    expect([await allowed(first), await allowed(second)]).toEqual(['token_revoked', 'token_revoked']);
    const event = await gateway.event((line) => line.type === 'token.revoked' && line['token_id'] === id);
    expect(event).toMatchObject({ actor: id, details: { reason: 'found in a public repository', repeated: false } });
    expect((await post(`${OWN}/revoke`, first)).problem?.reason).toBe('token_revoked');
  });

  it('uses a bound token from elsewhere for nothing but its end', async () => {
    const { token } = await gateway.issue({ ip: ['192.0.2.0/24'] });
    const answers = [await gateway.call(OWN, { token }), await post(`${OWN}/rotate`, token)];
    expect(answers.map(({ problem }) => problem?.reason)).toEqual(['condition_failed', 'condition_failed']);
    expect((await post(`${OWN}/revoke`, token)).status).toBe(200);
  });

  it('goes through the same authentication as every request', async () => {
    const unknown = `pct_test_${'a'.repeat(12)}${'b'.repeat(43)}cccccc`;
    for (const [path, method] of [
      [OWN, 'GET'],
      [`${OWN}/rotate`, 'POST'],
      [`${OWN}/revoke`, 'POST'],
    ] as const) {
      const none = await gateway.call(path, { method });
      expect([path, none.status, none.problem?.reason, none.headers['www-authenticate']]).toEqual([
        path,
        401,
        'token_missing',
        'Bearer realm="portcullis"',
      ]);
      const wrong = await gateway.call(path, { method, token: unknown });
      expect([path, wrong.status, wrong.problem?.reason]).toEqual([path, 401, 'token_malformed']);
    }
  });

  it.each([
    ['POST', OWN, 'GET, HEAD'],
    ['DELETE', OWN, 'GET, HEAD'],
    ['GET', `${OWN}/rotate`, 'POST'],
    ['OPTIONS', `${OWN}/revoke`, 'POST'],
  ])('answers %s %s with the methods there are', async (method, path, allow) => {
    const { token } = await gateway.issue();
    const answer = await gateway.call(path, { method, token });
    expect([answer.status, answer.problem?.reason, answer.headers['allow']]).toEqual([
      405,
      'method_not_allowed',
      allow,
    ]);
  });

  it.each(['/.portcullis', '/.portcullis/', `${OWN}/`, `${OWN}s`, '/.portcullis/Token', `${OWN}/rotate/x`])(
    'refuses %s as before, whatever a policy says',
    async (path) => {
      const { token } = await gateway.issue();
      const answer = await gateway.call(path, { token, headers: { host: 'everything.test' } });
      expect([answer.status, answer.problem?.reason]).toEqual([403, 'route_not_declared']);
      expect((await gateway.call(path, { headers: { host: 'everything.test' } })).status).toBe(401);
    },
  );

  it.each([
    ['a body that is no JSON', '{', 'application/json', 400, 'request_invalid'],
    ['an unknown member', '{"grace":"1h","ttl":"90d"}', 'application/json', 400, 'request_invalid'],
    ['a list', '[]', 'application/json', 400, 'request_invalid'],
    ['a form', 'grace=1h', 'application/x-www-form-urlencoded', 415, 'media_type_unsupported'],
    ['too much', `{"grace":"${'1'.repeat(5000)}"}`, 'application/json', 413, 'body_too_large'],
  ])('refuses to rotate with %s, and leaves the token as it is', async (_name, body, type, status, reason) => {
    const { id, token } = await gateway.issue();
    const answer = await gateway.call(`${OWN}/rotate`, {
      method: 'POST',
      token,
      body,
      headers: { 'content-type': type },
    });
    expect([answer.status, answer.problem?.reason]).toEqual([status, reason]);
    const record = await gateway.admin('GET', `/v1/tokens/${id}`);
    expect(JSON.parse(record.text)).toMatchObject({ generation: 1, status: 'active' });
  });

  it('never repeats a token that stands in the wrong place', async () => {
    const { token } = await gateway.issue();
    const answer = await post(`${OWN}/rotate`, token, { grace: token.slice(0, 60), [token]: 1 });
    expect([answer.status, answer.text.includes(token.slice(25, 55))]).toEqual([400, false]);
  });

  it('bounds a chunked body, and invites one that waits', async () => {
    const { token } = await gateway.issue();
    const head = `POST ${OWN}/rotate HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${token}\r\ncontent-type: application/json\r\n`;
    const chunk = `1000\r\n${' '.repeat(0x1000)}\r\n`;
    const endless = await sendRaw(gateway.port, `${head}transfer-encoding: chunked\r\n\r\n${chunk}${chunk}`);
    expect([statusOf(endless.text), problemOf(endless.text).reason]).toEqual([413, 'body_too_large']);
    const waiting = await sendRaw(
      gateway.port,
      `${head}content-length: 2\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n{}`,
    );
    expect(waiting.text.startsWith('HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n')).toBe(true);
  });
});
