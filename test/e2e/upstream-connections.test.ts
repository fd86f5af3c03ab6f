import { pbkdf2 } from 'node:crypto';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openSocket } from '../support/raw-client.ts';
import { headersOf, RawUpstream } from '../support/raw-upstream.ts';
import { Listener, type SingleApi, startSingleApi, statusesOf } from '../support/single-api.ts';
import { TestUpstream } from '../support/upstream.ts';

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

describe('connections to an upstream', () => {
  let upstream: RawUpstream;
  let api: SingleApi;

  beforeEach(async () => {
    upstream = await RawUpstream.start();
    api = await startSingleApi(upstream.url, { upstream: 'response_timeout: 2s' });
  });

  afterEach(async () => {
    await api.gateway.close(0);
    await upstream.close();
  });

  const call = async (method = 'GET', body?: string): Promise<{ status: number; text: string }> =>
    await api.gateway.call('/x', { method, token: api.token, body });

  it('are used again, by whoever comes next', async () => {
    for (let i = 0; i < 5; i += 1) expect((await call()).text).toBe('ok');
    expect((await call('POST', 'body')).text).toBe('ok');
    expect(upstream.connections.length).toBe(1);
    expect(new Set(upstream.requests.map((request) => headersOf(request, 'portcullis-request-id')[0])).size).toBe(6);
  });

  it.each([
    ['said that they end', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok'],
    ['hold more than the answer', `${OK}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison`],
    ['end with their answer', 'HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok'],
  ])('are not used again when they %s', async (_what, answer) => {
    upstream.answer = () => answer;
    expect((await call()).text).toBe('ok');
    expect((await call()).text).toBe('ok');
    expect(upstream.connections.length).toBe(2);
  });

  it('that die under a request are 502, and the request is never sent again', async () => {
    expect((await call()).text).toBe('ok');
    upstream.answer = (_request, socket) => {
      socket.destroy();
      return null;
    };
    expect((await call('POST', 'once')).status).toBe(502);
    expect((await call()).status).toBe(502);
    expect(upstream.requests.map(({ method, body }) => method + body)).toEqual(['GET', 'POSTonce', 'GET']);
    upstream.answer = () => OK;
    expect((await call()).text).toBe('ok');
  });

  it('that were closed while they were idle hurt nobody', async () => {
    expect((await call()).text).toBe('ok');
    const [first] = upstream.connections;
    const gone = once(first?.socket as Socket, 'close');
    first?.socket.end();
    await gone;
    expect((await call('POST', 'x')).text).toBe('ok');
    expect(upstream.connections.length).toBe(2);
  });

  it('carry one request at a time: a slow answer holds nobody up', async () => {
    const held = Promise.withResolvers<Socket>();
    upstream.answer = ({ target }, socket) => {
      if (target !== '/slow') return OK;
      held.resolve(socket);
      return null;
    };
    const slow = api.gateway.call('/slow', { token: api.token });
    const waiting = await held.promise;
    expect((await call()).text).toBe('ok');
    waiting.write(OK);
    expect((await slow).text).toBe('ok');
  });

  it('relay what the upstream says about places and cookies as it is', async () => {
    const fields = 'Location: http://127.0.0.1:1/elsewhere\r\nSet-Cookie: a=1; Domain=other; Path=/deep\r\n';
    upstream.answer = () => `HTTP/1.1 302 Found\r\n${fields}Content-Length: 0\r\n\r\n`;
    const answer = await api.gateway.call('/x', { token: api.token });
    expect(answer.headers).toMatchObject({
      location: 'http://127.0.0.1:1/elsewhere',
      'set-cookie': 'a=1; Domain=other; Path=/deep',
    });
  });

  it('take no more of an upload than the upstream reads', async () => {
    upstream.onConnection = (socket) => socket.pause();
    const size = 120_000_000;
    const socket = await openSocket(api.gateway.port);
    socket.write(api.request('PUT /x', `Content-Length: ${size}\r\n`));
    const block = Buffer.alloc(1_000_000);
    let written = 0;
    // Until nobody has taken anything for a while.
    await new Promise<void>((resolve) => {
      let quiet = setTimeout(resolve, 1000);
      const more = (): void => {
        clearTimeout(quiet);
        quiet = setTimeout(resolve, 1000);
        while (written < size) {
          written += block.length;
          if (!socket.write(block)) {
            socket.once('drain', more);
            return;
          }
        }
      };
      more();
    });
    expect(written).toBeLessThan(40_000_000);
    socket.destroy();
  });

  it('carry a chunked upload piece by piece, not when it is complete', async () => {
    const socket = await openSocket(api.gateway.port);
    const listener = new Listener(socket);
    socket.write(api.request('PUT /x', 'Transfer-Encoding: chunked\r\n', '5\r\nfirst\r\n'));
    const arrived = async (): Promise<void> => {
      while (!upstream.connections.some(({ text }) => text.includes('first'))) {
        await setImmediate();
      }
    };
    await arrived();
    expect(upstream.requests).toEqual([]);
    socket.write('4\r\nlast\r\n0\r\nX-Trailer: dropped\r\n\r\n');
    expect(statusesOf(await listener.until((text) => text.endsWith('ok')))).toEqual([200]);
    expect(upstream.requests.map(({ body }) => body)).toEqual(['firstlast']);
    socket.destroy();
  });
});

describe('a connection that is being made when its client goes', () => {
  it('carries nothing', async () => {
    const upstream = await RawUpstream.start();
    const api = await startSingleApi(upstream.url.replace('127.0.0.1', 'localhost'));
    // The name is looked up on the same threads as these: the connection cannot be made before one of them is free.
    const busy = Array.from({ length: 4 }, () => promisify(pbkdf2)('secret', 'salt', 400_000, 64, 'sha512'));
    const socket = await openSocket(api.gateway.port);
    socket.write(api.request('GET /gone'));
    while ((await api.gateway.metric(/^portcullis_in_flight/)) !== 1) await setImmediate();
    socket.resetAndDestroy();
    while ((await api.gateway.metric(/^portcullis_in_flight/)) !== 0) await setImmediate();
    expect(upstream.connections).toEqual([]);
    await Promise.all(busy);
    expect((await api.gateway.call('/stays', { token: api.token })).text).toBe('ok');
    expect(upstream.requests.map(({ target }) => target)).toEqual(['/stays']);
    await api.gateway.close(0);
    await upstream.close();
  });
});

describe('an upstream with an IPv6 address', () => {
  it('is reached, and told its own host', async () => {
    const upstream = await TestUpstream.start();
    await new Promise<void>((resolve) => upstream.server.close(() => resolve()));
    await new Promise<void>((resolve) => upstream.server.listen(0, '::1', resolve));
    const api = await startSingleApi(`http://[::1]:${upstream.port}`);
    expect((await api.gateway.call('/x', { token: api.token })).status).toBe(200);
    expect(upstream.seen[0]?.headers.host).toBe(`[::1]:${upstream.port}`);
    await api.gateway.close(0);
    await upstream.close();
  });
});
