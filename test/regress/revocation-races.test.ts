import { connect, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openSocket, problemOf, sendRaw } from '../support/raw-client.ts';
import { RawUpstream } from '../support/raw-upstream.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { Listener, type SingleApi, startSingleApi, statusesOf } from '../support/single-api.ts';

const HANDSHAKE =
  'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';

/*
 * Fault: only streams that were open when their token was revoked were closed. One whose request had been let in just
 * before, and whose upstream answered just after, opened all the same and stayed open for ever; and an endless answer
 * that is no event stream (a watch, a log that is followed) was never closed at all.
 */
describe('a token that is revoked', () => {
  let upstream: RawUpstream;
  let api: SingleApi;
  let asked: PromiseWithResolvers<Socket>;

  beforeEach(async () => {
    asked = Promise.withResolvers();
    upstream = await RawUpstream.start((_request, socket) => {
      asked.resolve(socket);
      return null;
    });
    api = await startSingleApi(upstream.url);
  });

  afterEach(async () => {
    await api.gateway.close(0);
    await upstream.close();
  });

  const revoke = async (): Promise<number> => {
    const answer = await api.gateway.admin('POST', `/v1/tokens/${api.id}/revoke`, { reason: 'test' });
    expect(answer.status).toBe(200);
    return (JSON.parse(answer.text) as { propagation: { streams_closed: number } }).propagation.streams_closed;
  };

  it.each([
    ['an event stream', '', 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n'],
    ['an answer without a length', '', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n'],
    [
      'a WebSocket',
      HANDSHAKE,
      'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhi',
    ],
  ])('opens no stream afterwards: %s', async (_what, fields, answer) => {
    const socket = await openSocket(api.gateway.port);
    const listener = new Listener(socket);
    socket.write(api.request('GET /x', fields));
    const answering = await asked.promise;
    // What has no answer yet is under way as well: it is ended and counted.
    expect(await revoke()).toBe(1);
    answering.write(answer);
    const text = await listener.until((got) => got.endsWith('}'));
    expect(problemOf(text)).toMatchObject({ status: 401, reason: 'token_revoked' });
    expect(await api.gateway.metric(/^portcullis_streams_open\{/)).toSatisfy((open) => !(Number(open) > 0));
    socket.destroy();
  });

  it('has its endless answers cut off, whatever they are', async () => {
    const socket = await openSocket(api.gateway.port);
    const listener = new Listener(socket);
    socket.write(api.request('GET /watch'));
    (await asked.promise).write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhi\r\n\r\n');
    await listener.until((got) => got.includes('hi'));
    expect(await revoke()).toBe(1);
    expect((await listener.end()).endsWith('0\r\n\r\n')).toBe(false);
  });
});

/*
 * Fault: a request whose body proved unreadable while the store was asked about its token was answered 400, and then
 * forwarded when the store said yes.
 */
describe('a request that fails while the store is asked', () => {
  it('is not forwarded when the store has answered: neither one with a broken body nor one whose client is gone', async () => {
    const redis: RedisServer = await startRedis();
    const upstream = await RawUpstream.start();
    const api = await startSingleApi(upstream.url, { config: { store: `{ kind: redis, url: "${redis.url}" }` } });
    redis.pause();
    const broken = api.request('POST /broken', 'Transfer-Encoding: chunked\r\n', '2\r\nab\r\nnonsense\r\n');
    const { text } = await sendRaw(api.gateway.port, broken, (got) => got.endsWith('}'));
    expect(problemOf(text)).toMatchObject({ status: 400, reason: 'request_malformed' });
    const gone = connect(api.gateway.port, '127.0.0.1');
    await new Promise<void>((resolve) => gone.write(api.request('GET /gone'), () => resolve()));
    gone.resetAndDestroy();
    await api.gateway.event((line) => line['path'] === '/gone');
    redis.resume();
    const socket = await openSocket(api.gateway.port);
    const listener = new Listener(socket);
    socket.write(api.request('GET /whole'));
    expect(statusesOf(await listener.until((got) => got.includes('\r\n\r\n')))).toEqual([200]);
    expect(upstream.connections.map(({ text: received }) => received.split(' ')[1])).toEqual(['/whole']);
    socket.destroy();
    await api.gateway.close(0);
    await upstream.close();
    await redis.stop();
  });
});
