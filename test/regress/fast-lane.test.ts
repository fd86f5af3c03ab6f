import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openSocket } from '../support/raw-client.ts';
import { RawUpstream } from '../support/raw-upstream.ts';
import { Listener, type SingleApi, startSingleApi, statusesOf } from '../support/single-api.ts';

/*
 * A connection is read by the gateway itself until something comes that is not of the simplest kind; then node's server
 * has it. Nothing may get lost, doubled or out of order where one hands over to the other.
 */
describe('a connection that changes hands', () => {
  let upstream: RawUpstream;
  let api: SingleApi;
  beforeEach(async () => {
    upstream = await RawUpstream.start();
    api = await startSingleApi(upstream.url);
  });
  afterEach(async () => {
    await api.gateway.close(0);
    await upstream.close();
  });

  const answers = (count: number) => (text: string) => statusesOf(text).length >= count;
  const seen = (): string[] => upstream.requests.map(({ method, target, body }) => `${method} ${target} ${body}`);

  it('answers what came before and what comes after', async () => {
    const socket = await openSocket(api.gateway.port);
    const listener = new Listener(socket);
    socket.write(api.request('GET /1'));
    await listener.until(answers(1));
    socket.write(api.request('POST /2', 'Content-Length: 2\r\n', 'hi'));
    await listener.until(answers(2));
    socket.write(api.request('GET /3'));
    const text = await listener.until(answers(3));
    expect(statusesOf(text)).toEqual([200, 200, 200]);
    expect(seen()).toEqual(['GET /1 ', 'POST /2 hi', 'GET /3 ']);
    socket.destroy();
  });

  it('keeps the order of requests that were sent without waiting', async () => {
    const socket = await openSocket(api.gateway.port);
    const listener = new Listener(socket);
    upstream.answer = ({ target }) => `HTTP/1.1 200 OK\r\nContent-Length: ${target.length}\r\n\r\n${target}`;
    socket.write(api.request('GET /1'));
    // While the first is under way: read when that is answered, the first by the gateway, the rest by node's server.
    await new Promise((resolve) => setImmediate(resolve));
    socket.write(api.request('GET /2'));
    socket.write(api.request('GET /3') + api.request('POST /4', 'Content-Length: 2\r\n', 'hi') + api.request('GET /5'));
    const text = await listener.until((got) => got.endsWith('/5'));
    expect(text.match(/^\/\d|(?<=\r\n\r\n)\/\d/g)).toEqual(['/1', '/2', '/3', '/4', '/5']);
    expect(seen()).toEqual(['GET /1 ', 'GET /2 ', 'GET /3 ', 'POST /4 hi', 'GET /5 ']);
    socket.destroy();
  });

  it('reads a head that comes in pieces, at every place where it may be cut', async () => {
    const request = api.request('GET /pieces', 'Connection: close\r\n');
    for (let cut = 1; cut < request.length; cut += 7) {
      const socket = await openSocket(api.gateway.port);
      socket.setNoDelay(true);
      const listener = new Listener(socket);
      socket.write(request.slice(0, cut));
      await new Promise((resolve) => setImmediate(resolve));
      socket.write(request.slice(cut));
      expect({ cut, statuses: statusesOf(await listener.end()) }).toEqual({ cut, statuses: [200] });
    }
  });

  it('is ended when its client asks for it, and after an answer that was refused', async () => {
    for (const [fields, status] of [
      ['Connection: close\r\n', 200],
      ['Host: twice\r\n', 400],
    ] as const) {
      const socket = await openSocket(api.gateway.port);
      const listener = new Listener(socket);
      socket.write(api.request('GET /x', fields));
      const text = await listener.end();
      expect({ statuses: statusesOf(text), closes: /^connection: close\r$/im.test(text) }).toEqual({
        statuses: [status],
        closes: true,
      });
    }
  });

  it('that brings nothing is ended like one whose head is late', async () => {
    const slow = await startSingleApi(upstream.url, { limits: 'header_timeout: 300ms' });
    const socket = await openSocket(slow.gateway.port);
    expect(statusesOf(await new Listener(socket).end())).toEqual([408]);
    await slow.gateway.close(0);
  });

  it('that brought nothing is not served after it has been told so', async () => {
    const slow = await startSingleApi(upstream.url, { limits: 'header_timeout: 300ms' });
    const socket = connect({ port: slow.gateway.port, host: '127.0.0.1', allowHalfOpen: true });
    const listener = new Listener(socket);
    await listener.until((text) => text.endsWith('}'));
    socket.write(slow.request('DELETE /late'));
    expect((await slow.gateway.call('/x', { token: slow.token })).status).toBe(200);
    socket.destroy();
    expect(statusesOf(listener.text)).toEqual([408]);
    expect(seen()).toEqual(['GET /x ']);
    await slow.gateway.close(0);
  });

  it('is not served after a drain has ended it', async () => {
    const held = Promise.withResolvers<Socket>();
    upstream.answer = ({ target }, socket) => {
      if (target !== '/slow') return 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n';
      held.resolve(socket);
      return null;
    };
    const socket = connect({ port: api.gateway.port, host: '127.0.0.1', allowHalfOpen: true });
    const listener = new Listener(socket);
    socket.write(api.request('GET /first'));
    await listener.until(answers(1));
    const slow = api.gateway.call('/slow', { token: api.token });
    const waiting = await held.promise;
    const ended = once(socket, 'end');
    const closed = api.gateway.running.close();
    await ended;
    socket.write(api.request('DELETE /late'));
    // Its bytes are there before those of the slow answer.
    await new Promise((resolve) => setImmediate(resolve));
    waiting.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
    expect((await slow).status).toBe(200);
    await closed;
    socket.destroy();
    expect(statusesOf(listener.text)).toEqual([200]);
    expect((await api.gateway.auditLines()).filter(({ reason }) => reason === 'draining')).toEqual([]);
  });
});
