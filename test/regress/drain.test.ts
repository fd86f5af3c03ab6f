import type { Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readAnswer, valuesOf } from '../support/raw-answer.ts';
import { openSocket, problemOf } from '../support/raw-client.ts';
import { RawUpstream } from '../support/raw-upstream.ts';
import { Listener, type SingleApi, startSingleApi } from '../support/single-api.ts';

const HANDSHAKE =
  'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';

/*
 * Faults of the drain: an answer given while it lasts left its connection open for a next request, and an endless stream
 * whose first byte came after the drain had begun held it up until the end of its grace.
 */
describe('a gateway that drains', () => {
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

  async function inFlight(fields = ''): Promise<{ listener: Listener; answering: Socket; client: Socket }> {
    const client = await openSocket(api.gateway.port);
    const listener = new Listener(client);
    client.write(api.request('GET /x', fields));
    return { listener, answering: await asked.promise, client };
  }

  it('finishes what is in flight, and says that it is the last answer', async () => {
    const { listener, answering } = await inFlight();
    const drained = api.gateway.close();
    answering.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    const answer = readAnswer(await listener.end());
    expect(answer).toMatchObject({ status: 200, body: 'ok', complete: true });
    expect(valuesOf(answer, 'connection')).toEqual(['close']);
    await drained;
  });

  it('finishes a download that has begun', async () => {
    const { listener, answering } = await inFlight();
    const half = 'x'.repeat(500_000);
    answering.write(`HTTP/1.1 200 OK\r\nContent-Length: ${2 * half.length}\r\n\r\n${half}`);
    await listener.until((text) => text.length > half.length);
    const drained = api.gateway.close();
    answering.write(half);
    expect(readAnswer(await listener.end())).toMatchObject({ status: 200, complete: true });
    await drained;
  });

  it.each([
    ['an event stream', '', 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n'],
    ['a WebSocket', HANDSHAKE, 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n'],
  ])('lets %s neither open nor stay open, without waiting for its grace', async (_what, fields, answer) => {
    const open = await inFlight(fields);
    open.answering.write(answer);
    await open.listener.until((text) => text.includes('\r\n\r\n'));
    asked = Promise.withResolvers();
    const late = await inFlight(fields);
    const began = performance.now();
    const drained = api.gateway.close();
    await open.listener.end();
    late.answering.write(answer);
    expect(problemOf(await late.listener.end())).toMatchObject({ status: 503, reason: 'draining' });
    await drained;
    expect(performance.now() - began).toBeLessThan(10_000);
  });
});
