import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openSocket, problemOf } from '../support/raw-client.ts';
import { RawUpstream } from '../support/raw-upstream.ts';
import { Listener, type SingleApi, startSingleApi, statusesOf } from '../support/single-api.ts';

/*
 * Fault: a path that nobody may read in one way only is `path_ambiguous`, but a raw control character or a byte beyond
 * ASCII in it is refused by node's parser before the gateway sees a request, and was answered `request_malformed`:
 * whoever looked for scanners by the reason missed those that do not even encode.
 */
describe('a byte that no path may hold raw', () => {
  let upstream: RawUpstream;
  let api: SingleApi;

  beforeAll(async () => {
    upstream = await RawUpstream.start();
    api = await startSingleApi(upstream.url);
  });

  afterAll(async () => {
    await api.gateway.close(0);
    await upstream.close();
  });

  async function answerTo(target: string, { bytewise = false } = {}): Promise<string> {
    const socket = await openSocket(api.gateway.port);
    socket.setNoDelay();
    const listener = new Listener(socket);
    const bytes = Buffer.from(api.request(`GET ${target}`), 'latin1');
    if (bytewise) {
      for (const byte of bytes) {
        if (socket.destroyed || listener.text !== '') break;
        socket.write(Buffer.from([byte]));
        await new Promise((resolve) => setImmediate(resolve));
      }
    } else socket.write(bytes);
    const text = await listener.until((got) => got.endsWith('}'));
    socket.destroy();
    return text;
  }

  const AMBIGUOUS: readonly (readonly [string, string])[] = [
    ['NUL', '/a\x00b'],
    ['a C0 control', '/a\x01b'],
    ['TAB', '/a\tb'],
    ['VT', '/a\x0bb'],
    ['FF', '/a\x0cb'],
    ['CR', '/a\rb'],
    ['ESC behind a dot segment', '/../\x1b'],
    ['DEL', '/a\x7fb'],
    ['a lone continuation byte', '/a\x80b'],
    ['an overlong slash', '/a\xc0\xafb'],
    ['a byte that UTF-8 never has', '/\xff'],
    ['a control in the path of an absolute form', 'http://a/\x01'],
  ];

  for (const [name, target] of AMBIGUOUS) {
    it(`is path_ambiguous: ${name}`, async () => {
      for (const bytewise of [false, true]) {
        const text = await answerTo(target, { bytewise });
        expect(problemOf(text)).toMatchObject({ status: 400, reason: 'path_ambiguous' });
        expect(statusesOf(text)).toEqual([400]);
      }
      expect(upstream.requests).toEqual([]);
    });
  }

  const MALFORMED: readonly (readonly [string, string])[] = [
    ['a control in the query', '/a?b\x01'],
    ['TAB in the query', '/a?b\tc'],
    ['CR in the query', '/a?b\rc'],
    ['a byte beyond ASCII in the query', '/a?b\x80'],
    ['a control in the authority', 'http://a\x01/b'],
    ['a target of no known form', 'a'],
    ['a space', '/a b'],
  ];

  for (const [name, target] of MALFORMED) {
    it(`stays request_malformed: ${name}`, async () => {
      expect(problemOf(await answerTo(target))).toMatchObject({ status: 400, reason: 'request_malformed' });
      expect(upstream.requests).toEqual([]);
    });
  }

  it('leaves an audit event and a metric with its reason, and ends the connection', async () => {
    const series = /^portcullis_requests_total\{.*reason="path_ambiguous"/;
    const before = (await api.gateway.metric(series)) || 0;
    const socket = await openSocket(api.gateway.port);
    const closed = once(socket, 'close');
    const listener = new Listener(socket);
    socket.write(api.request('GET /a\x01b'), 'latin1');
    const text = await listener.end();
    await closed;
    const { request_id } = JSON.parse(text.slice(text.indexOf('{'))) as { request_id: string };
    expect(await api.gateway.event((line) => line.request_id === request_id)).toMatchObject({
      type: 'access.denied',
      outcome: 'failure',
      reason: 'path_ambiguous',
      status: 400,
      ip: '127.0.0.1',
    });
    expect(await api.gateway.metric(series)).toBe(before + 1);
  });

  it('behind a request that is under way lets that one be answered first', async () => {
    const socket = await openSocket(api.gateway.port);
    const listener = new Listener(socket);
    socket.write(api.request('GET /first') + api.request('GET /a\x7fb'), 'latin1');
    const text = await listener.until((got) => got.endsWith('}'));
    socket.destroy();
    expect(statusesOf(text)).toEqual([200, 400]);
    expect(text).toContain('"reason":"path_ambiguous"');
    expect(upstream.requests.map(({ target }) => target)).toEqual(['/first']);
  });
});
