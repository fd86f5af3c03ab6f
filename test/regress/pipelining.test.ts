import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openSocket } from '../support/raw-client.ts';
import { type RawRequest, RawUpstream } from '../support/raw-upstream.ts';
import { Listener, type SingleApi, startSingleApi, statusesOf } from '../support/single-api.ts';

/*
 * Fault: requests that a client sends ahead were all judged and forwarded at once. One connection could hold any number
 * of upstream connections; a WebSocket handshake or a CONNECT behind an unanswered request was answered before it, in
 * its place; and a token revoked while its requests waited was let in all the same.
 */
describe('requests that are sent ahead on one connection', () => {
  let upstream: RawUpstream;
  let api: SingleApi;
  let held: (() => void)[] = [];

  beforeEach(async () => {
    held = [];
    upstream = await RawUpstream.start();
    api = await startSingleApi(upstream.url);
    upstream.answer = ({ target }, socket) => {
      const text = `HTTP/1.1 200 OK\r\nContent-Length: ${target.length}\r\n\r\n${target}`;
      if (!target.startsWith('/slow')) return text;
      held.push(() => socket.write(text));
      onHeld();
      return null;
    };
  });

  afterEach(async () => {
    await api.gateway.close(0);
    await upstream.close();
  });

  let onHeld: () => void = () => undefined;
  const whenHeld = (): Promise<void> =>
    new Promise((resolve) => {
      onHeld = resolve;
      if (held.length > 0) resolve();
    });
  const targets = (): string[] => upstream.requests.map(({ target }: RawRequest) => target);

  it('are forwarded one at a time, in their order', async () => {
    const socket = await openSocket(api.gateway.port);
    const listener = new Listener(socket);
    socket.write(
      api.request('GET /slow') + api.request('POST /2', 'Content-Length: 2\r\n', 'ab') + api.request('GET /3'),
    );
    await whenHeld();
    expect((await api.gateway.call('/other', { token: api.token })).status).toBe(200);
    expect(targets()).toEqual(['/slow', '/other']);
    held[0]?.();
    const text = await listener.until((got) => statusesOf(got).length === 3);
    expect(text.replaceAll(/HTTP.*?\r\n\r\n/gs, '')).toBe('/slow/2/3');
    expect(targets().toSorted()).toEqual(['/2', '/3', '/other', '/slow']);
    socket.destroy();
  });

  it('are judged when their turn comes: a token revoked meanwhile ends what is under way and lets nothing in', async () => {
    const socket = await openSocket(api.gateway.port);
    const listener = new Listener(socket);
    socket.write(api.request('GET /slow') + api.request('GET /2'));
    await whenHeld();
    await api.gateway.admin('POST', `/v1/tokens/${api.id}/revoke`, { reason: 'test' });
    held[0]?.();
    expect(statusesOf(await listener.until((got) => statusesOf(got).length === 2))).toEqual([401, 401]);
    expect(targets()).toEqual(['/slow']);
    socket.destroy();
  });

  it('open no tunnel out of turn: a handshake behind an unanswered request is an ordinary request', async () => {
    const socket = await openSocket(api.gateway.port);
    const listener = new Listener(socket);
    const handshake =
      'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';
    socket.write(api.request('GET /slow') + api.request('GET /ws', handshake));
    await whenHeld();
    held[0]?.();
    expect(statusesOf(await listener.until((got) => statusesOf(got).length === 2))).toEqual([200, 200]);
    expect(JSON.stringify(upstream.requests)).not.toContain('websocket"');
    socket.destroy();
  });

  it('get no answer to a CONNECT in the place of their own', async () => {
    const socket = await openSocket(api.gateway.port);
    const listener = new Listener(socket);
    socket.write(`${api.request('GET /slow')}CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n`);
    expect(await listener.end()).toBe('');
  });

  it('are answered before the bytes that follow them and that nobody can read', async () => {
    const socket = await openSocket(api.gateway.port);
    const listener = new Listener(socket);
    socket.write(`${api.request('GET /slow')}${api.request('GET /2')}\0\0\0 not http\r\n\r\n`);
    await whenHeld();
    held[0]?.();
    expect(statusesOf(await listener.end())).toEqual([200, 200, 400]);
    expect(targets()).toEqual(['/slow', '/2']);
  });

  it('are refused, not forwarded, when it is their own body that cannot be read', async () => {
    const socket = await openSocket(api.gateway.port);
    const listener = new Listener(socket);
    socket.write(api.request('GET /slow') + api.request('POST /2', 'Transfer-Encoding: chunked\r\n', 'nonsense\r\n'));
    await whenHeld();
    held[0]?.();
    expect(statusesOf(await listener.end())).toEqual([200, 400]);
    expect(targets()).toEqual(['/slow']);
  });

  it('are refused beyond a bound, in their place, and the connection ends', async () => {
    const socket = await openSocket(api.gateway.port);
    const listener = new Listener(socket);
    socket.write(api.request('GET /slow') + api.request('GET /x').repeat(500));
    await whenHeld();
    held[0]?.();
    const statuses = statusesOf(await listener.end());
    expect(statuses.slice(0, 129)).toEqual(Array.from({ length: 129 }, () => 200));
    expect(statuses.slice(129)).toEqual([503]);
    expect(upstream.requests.length).toBe(129);
  });

  it('are forgotten when the client goes', async () => {
    const socket = await openSocket(api.gateway.port);
    socket.write(api.request('GET /slow') + api.request('GET /2') + api.request('GET /3'));
    await whenHeld();
    const [first] = upstream.connections;
    const gone = new Promise((resolve) => first?.socket.once('close', resolve));
    socket.destroy();
    await gone;
    expect((await api.gateway.call('/other', { token: api.token })).status).toBe(200);
    expect(targets()).toEqual(['/slow', '/other']);
    expect(await api.gateway.metric(/^portcullis_in_flight/)).toBe(0);
  });
});
