import { once } from 'node:events';
import { connect } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { openSocket, problemOf } from '../support/raw-client.ts';
import { RawUpstream } from '../support/raw-upstream.ts';
import { Listener, type SingleApi, startSingleApi, statusesOf } from '../support/single-api.ts';

/*
 * Faults of connections that should be over: idle ones were kept for ever, because the listener for slow readers also
 * heard node's keep-alive timeout and re-armed it; and one that had been told `overloaded` or `request_timeout` was
 * still served when its request came after all, so that a client that tries again does everything twice.
 */
describe('a connection', () => {
  let upstream: RawUpstream;
  let api: SingleApi;

  async function start(limits: string, more: { upstream?: string } = {}): Promise<void> {
    upstream = await RawUpstream.start();
    api = await startSingleApi(upstream.url, { limits, ...more });
  }

  afterEach(async () => {
    await api.gateway.close(0);
    await upstream.close();
  });

  it('that is idle after an answer is closed after idle_timeout', async () => {
    await start('idle_timeout: 200ms');
    const socket = await openSocket(api.gateway.port);
    const listener = new Listener(socket);
    socket.write(api.request('GET /x'));
    await listener.until((text) => text.endsWith('ok'));
    await listener.end();
  });

  it('that never says a word is closed after idle_timeout', async () => {
    await start('idle_timeout: 200ms');
    await new Listener(await openSocket(api.gateway.port)).end();
  });

  it('that waits for an answer, or holds a quiet stream, is left alone', async () => {
    await start('idle_timeout: 200ms');
    let finish: () => void = () => undefined;
    upstream.answer = (_request, socket) => {
      finish = () => void socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nfirst');
      return null;
    };
    const socket = await openSocket(api.gateway.port);
    const listener = new Listener(socket);
    socket.write(api.request('GET /x'));
    await new Promise((resolve) => setTimeout(resolve, 600));
    finish();
    await listener.until((text) => text.includes('first'));
    await new Promise((resolve) => setTimeout(resolve, 600));
    expect(listener.closed).toBe(false);
    socket.destroy();
  });

  it('whose client takes nothing of its answer is closed, and its upstream request with it', async () => {
    await start('idle_timeout: 300ms');
    const size = 50_000_000;
    upstream.answer = () => `HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n${'x'.repeat(size)}`;
    const socket = await openSocket(api.gateway.port);
    socket.pause();
    socket.write(api.request('GET /x'));
    const event = await api.gateway.event((line) => line.type === 'access.allowed');
    expect(event).toMatchObject({ status: 200 });
    expect(Number(event['bytes_out'])).toBeLessThan(size);
    const [connection] = upstream.connections;
    if (connection?.socket.destroyed === false) await once(connection.socket, 'close');
    socket.destroy();
  });

  it('over the cap is not served after it has been refused', async () => {
    await start('connections: 1');
    const first = await openSocket(api.gateway.port);
    const second = connect({ port: api.gateway.port, host: '127.0.0.1', allowHalfOpen: true });
    const listener = new Listener(second);
    second.write(api.request('POST /x', 'Content-Length: 0\r\n'));
    const text = await listener.until((got) => got.endsWith('}'));
    second.write(api.request('POST /y', 'Content-Length: 0\r\n'));
    const answered = new Listener(first);
    first.write(api.request('GET /z'));
    await answered.until((got) => got.endsWith('ok'));
    expect(problemOf(text)).toMatchObject({ status: 503, reason: 'overloaded' });
    expect(statusesOf(listener.text)).toEqual([503]);
    expect(upstream.requests.map(({ target }) => target)).toEqual(['/z']);
    first.destroy();
    second.destroy();
  });

  it('whose head came too late is not served after it has been refused', async () => {
    await start('header_timeout: 500ms');
    const socket = connect({ port: api.gateway.port, host: '127.0.0.1', allowHalfOpen: true });
    const listener = new Listener(socket);
    const request = api.request('POST /x', 'Content-Length: 0\r\n');
    socket.write(request.slice(0, 40));
    await listener.until((text) => text.includes('request_timeout'));
    socket.write(request.slice(40));
    expect((await api.gateway.call('/z', { token: api.token })).status).toBe(200);
    expect(statusesOf(listener.text)).toEqual([408]);
    expect(upstream.requests.map(({ target }) => target)).toEqual(['/z']);
    socket.destroy();
  });

  it('is told 408 in the middle of a body that stalls, and the upstream is told that nothing more comes', async () => {
    await start('request_timeout: 500ms, header_timeout: 500ms');
    const socket = await openSocket(api.gateway.port);
    const listener = new Listener(socket);
    socket.write(api.request('POST /x', 'Content-Length: 10\r\n', 'half'));
    const text = await listener.until((got) => got.endsWith('}'));
    expect(problemOf(text)).toMatchObject({ status: 408, reason: 'request_timeout' });
    expect(text).toContain('content-type: application/problem+json');
    const [connection] = upstream.connections;
    if (connection?.socket.destroyed === false) await once(connection.socket, 'close');
    expect(upstream.requests).toEqual([]);
    expect(await api.gateway.event((line) => line.reason === 'request_timeout')).toMatchObject({
      type: 'access.allowed',
      outcome: 'failure',
      status: 408,
      bytes_in: 4,
    });
    socket.destroy();
  });

  it('after a malformed request is not listened to any more', async () => {
    await start('');
    const socket = await openSocket(api.gateway.port);
    const listener = new Listener(socket);
    socket.write(`${api.request('GET http://other/x')}${api.request('GET /x')}`);
    expect(statusesOf(await listener.end())).toEqual([400]);
    expect(upstream.requests).toEqual([]);
  });

  it('may still be sending when it is answered: the answer is not lost to a reset', async () => {
    await start('');
    const size = 8_000_000;
    const socket = await openSocket(api.gateway.port);
    // As clients do that write the whole body before they read.
    socket.pause();
    socket.write(`POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: ${size}\r\n\r\n`);
    const failed = once(socket, 'error').then(([error]) => error as Error);
    const written = new Promise<null>((resolve) => socket.write(Buffer.alloc(size), () => resolve(null)));
    expect(await Promise.race([written, failed])).toBe(null);
    const listener = new Listener(socket);
    socket.resume();
    const text = await listener.end();
    expect(problemOf(text)).toMatchObject({ status: 401, reason: 'token_missing' });
    expect(text).toMatch(/\r\nconnection: close\r\n/i);
  });
});
