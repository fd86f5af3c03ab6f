import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openSocket } from '../support/raw-client.ts';
import { headersOf, RawUpstream } from '../support/raw-upstream.ts';
import { Listener, type SingleApi, startSingleApi, statusesOf } from '../support/single-api.ts';

/*
 * What was read of a header section, its token included, is not read again when the same section comes again on the same
 * connection. That must show in nothing: a proxy in front may send many clients' requests over one connection, and a token
 * that is the same may not be worth the same.
 */
describe('a header section that comes again', () => {
  let upstream: RawUpstream;
  let api: SingleApi;
  let listener: Listener;
  let ask: (path: string, token: string, fields?: string) => Promise<number>;

  beforeEach(async () => {
    upstream = await RawUpstream.start();
    api = await startSingleApi(upstream.url);
    const socket = await openSocket(api.gateway.port);
    listener = new Listener(socket);
    let asked = 0;
    ask = async (path, token, fields = '') => {
      asked += 1;
      const wanted = asked;
      socket.write(`GET ${path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\n${fields}\r\n`);
      const text = await listener.until(
        (got, closed) => closed || (statusesOf(got).length >= wanted && /\r\n\r\n[^\r]*$/.test(got)),
      );
      return statusesOf(text)[wanted - 1] ?? 0;
    };
  });
  afterEach(async () => {
    await api.gateway.close(0);
    await upstream.close();
  });

  it('speaks for its own token each time, however the tokens alternate', async () => {
    const other = await api.gateway.issue({ scopes: ['corpus'], subject: 'other' });
    const expected: string[] = [];
    for (let i = 0; i < 12; i += 1) {
      const [token, id] = i % 4 < 2 ? [api.token, api.id] : [other.token, other.id];
      expected.push(id);
      expect(await ask(`/${i}`, token)).toBe(200);
    }
    expect(upstream.requests.map((request) => headersOf(request, 'portcullis-token-id'))).toEqual(
      expected.map((id) => [id]),
    );
    expect(upstream.requests.map((request) => headersOf(request, 'portcullis-subject').length)).toEqual(
      expected.map((id) => Number(id === other.id)),
    );
  });

  it('has an id and a trace of its own with each request, and no token upstream', async () => {
    for (let i = 0; i < 4; i += 1) expect(await ask(`/${i}`, api.token, 'X-A: b\r\n')).toBe(200);
    for (const name of ['portcullis-request-id', 'traceparent']) {
      expect(new Set(upstream.requests.flatMap((request) => headersOf(request, name))).size).toBe(4);
    }
    const told = upstream.requests.map(({ headers }) =>
      headers.filter(([name]) => name !== 'portcullis-request-id' && name !== 'traceparent'),
    );
    expect(told).toEqual(Array(4).fill(told[0]));
    expect(JSON.stringify(upstream.requests)).not.toContain(api.token);
    expect(upstream.requests.map(({ target }) => target)).toEqual(['/0', '/1', '/2', '/3']);
  });

  it('is refused once its token is revoked, and known by no other secret of the same length', async () => {
    expect([await ask('/1', api.token), await ask('/2', api.token)]).toEqual([200, 200]);
    const at = api.token.length - 20;
    const wrong = api.token.slice(0, at) + (api.token[at] === 'a' ? 'b' : 'a') + api.token.slice(at + 1);
    expect([await ask('/3', wrong), await ask('/4', api.token)]).toEqual([401, 200]);
    expect((await api.gateway.admin('POST', `/v1/tokens/${api.id}/revoke`, { reason: 'test' })).status).toBe(200);
    expect([await ask('/5', api.token), await ask('/6', api.token)]).toEqual([401, 401]);
    expect(upstream.requests).toHaveLength(3);
    expect(listener.text.match(/"reason":"\w+"/g)).toEqual([
      '"reason":"token_malformed"',
      '"reason":"token_revoked"',
      '"reason":"token_revoked"',
    ]);
  });

  it('follows its token when that is narrowed or rotated', async () => {
    expect([await ask('/1', api.token), await ask('/2', api.token)]).toEqual([200, 200]);
    const rotated = await api.gateway.admin('POST', `/v1/tokens/${api.id}/rotate`, { grace: '1h' });
    expect(rotated.status).toBe(200);
    expect(await ask('/3', api.token)).toBe(200);
    expect(listener.text.match(/^portcullis-token-superseded: /gim)).toHaveLength(1);
    const { token } = JSON.parse(rotated.text) as { token: string };
    expect([await ask('/4', token), await ask('/5', token)]).toEqual([200, 200]);
    expect(listener.text.match(/^portcullis-token-superseded: /gim)).toHaveLength(1);
    const narrowed = await api.gateway.admin('PATCH', `/v1/tokens/${api.id}`, { ip: ['192.0.2.1/32'] });
    expect(narrowed.status).toBe(200);
    expect([await ask('/6', token), await ask('/7', token)]).toEqual([403, 403]);
  });
});
