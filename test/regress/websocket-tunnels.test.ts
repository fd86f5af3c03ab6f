import { once } from 'node:events';
import type { Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readAnswer, valuesOf } from '../support/raw-answer.ts';
import { openSocket, problemOf, sendRaw } from '../support/raw-client.ts';
import { RawUpstream } from '../support/raw-upstream.ts';
import { Listener, type SingleApi, startSingleApi } from '../support/single-api.ts';

const HANDSHAKE =
  'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';
const SWITCH = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n';

/*
 * Faults of tunnels, and of handshakes that the upstream refuses: a 101 to another protocol was relayed; a refusal with a
 * large body was read into memory as fast as the upstream sent it, and one that broke off left its client waiting for
 * ever; a tunnel whose one half was closed, or whose client read nothing, stayed.
 */
describe('a WebSocket', () => {
  let upstream: RawUpstream;
  let api: SingleApi;

  beforeEach(async () => {
    upstream = await RawUpstream.start();
    api = await startSingleApi(upstream.url, { limits: 'idle_timeout: 300ms', upstream: 'response_timeout: 1s' });
  });

  afterEach(async () => {
    await api.gateway.close(0);
    await upstream.close();
  });

  const handshake = (): string => api.request('GET /ws', HANDSHAKE);

  /** An open tunnel: its two ends. */
  async function open(): Promise<{ client: Socket; server: Socket; listener: Listener }> {
    const switched = Promise.withResolvers<Socket>();
    upstream.answer = (_request, socket) => {
      socket.write(`${SWITCH}\r\n`);
      switched.resolve(socket);
      return null;
    };
    const client = await openSocket(api.gateway.port);
    const listener = new Listener(client);
    client.write(handshake());
    await listener.until((text) => text.endsWith('\r\n\r\n'));
    return { client, server: await switched.promise, listener };
  }

  it.each([
    ['another protocol', 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n'],
    ['no protocol', 'HTTP/1.1 101 Switching Protocols\r\n\r\n'],
    ['no connection', 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n'],
    ['garbage', 'garbage\r\n\r\n'],
    ['nothing', ''],
  ])('is not tunnelled to an upstream that switches to %s', async (_what, answer) => {
    upstream.answer = (_request, socket) => {
      if (answer === '') socket.destroy();
      return answer;
    };
    const { text, closed } = await sendRaw(api.gateway.port, handshake());
    expect(problemOf(text)).toMatchObject({ status: 502 });
    expect(closed).toBe(true);
  });

  it('that the upstream never answers is 504', async () => {
    upstream.answer = () => null;
    const { text } = await sendRaw(api.gateway.port, handshake());
    expect(problemOf(text)).toMatchObject({ status: 504, reason: 'upstream_timeout' });
  });

  it('keeps the fields of the 101 apart, and ends what is hop-by-hop', async () => {
    upstream.answer = () =>
      `${SWITCH}Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nKeep-Alive: timeout=5\r\nPortcullis-Token-Id: forged\r\nSec-WebSocket-Accept: x\r\n\r\n`;
    const client = await openSocket(api.gateway.port);
    const listener = new Listener(client);
    client.write(handshake());
    const text = await listener.until((got) => got.endsWith('\r\n\r\n'));
    const [line, ...fields] = text.trimEnd().split('\r\n');
    expect(line).toBe('HTTP/1.1 101 Switching Protocols');
    expect(fields.map((field) => field.replace(/[0-9a-f]{32}$/, 'ID'))).toEqual([
      'connection: Upgrade',
      'upgrade: websocket',
      'Set-Cookie: a=1',
      'Set-Cookie: b=2',
      'Sec-WebSocket-Accept: x',
      'portcullis-request-id: ID',
    ]);
    client.destroy();
  });

  it('gets the upstream’s refusal, however large, only as fast as its client reads', async () => {
    const size = 60_000_000;
    let written = 0;
    upstream.answer = (_request, socket) => {
      socket.write(`HTTP/1.1 403 Forbidden\r\nContent-Length: ${size}\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n`);
      const block = Buffer.alloc(1_000_000);
      const more = (): void => {
        while (written < size) {
          written += block.length;
          if (!socket.write(block)) {
            socket.once('drain', more);
            return;
          }
        }
      };
      more();
      return null;
    };
    const client = await openSocket(api.gateway.port);
    client.write(handshake());
    await once(client, 'readable');
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(written).toBeLessThan(30_000_000);
    const listener = new Listener(client);
    const answer = readAnswer(await listener.end());
    expect({ status: answer.status, length: answer.body.length, complete: answer.complete }).toEqual({
      status: 403,
      length: size,
      complete: true,
    });
    expect(valuesOf(answer, 'set-cookie')).toEqual(['a=1', 'b=2']);
  });

  it('whose refusal breaks off hears so', async () => {
    upstream.answer = (_request, socket) => {
      socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\nnot all');
      return null;
    };
    const answer = readAnswer((await sendRaw(api.gateway.port, handshake())).text);
    expect(answer).toMatchObject({ status: 403, complete: false });
  });

  it('that is silent stays open; half closed it gets what is still sent, and ends when nothing more is', async () => {
    const { client, server, listener } = await open();
    await new Promise((resolve) => setTimeout(resolve, 700));
    expect(listener.closed).toBe(false);
    server.removeAllListeners('end');
    const ended = new Promise((resolve) => server.once('end', resolve));
    const gone = whenClosed(server);
    client.end('last');
    await ended;
    server.write('still here');
    await listener.until((text) => text.endsWith('still here'));
    await listener.end();
    // Nobody is at the other end any more: a write is answered by a reset.
    const writing = setInterval(() => server.write('x'), 10);
    await gone;
    clearInterval(writing);
  });

  it('whose client reads nothing fills no memory, and is ended', async () => {
    const { client, server } = await open();
    client.pause();
    const block = Buffer.alloc(1_000_000);
    let written = 0;
    const gone = whenClosed(server);
    const more = (): void => {
      while (!server.destroyed) {
        written += block.length;
        if (!server.write(block)) {
          server.once('drain', more);
          return;
        }
      }
    };
    more();
    await gone;
    expect(written).toBeLessThan(30_000_000);
    client.destroy();
  });

  it('ends at once when the upstream resets it', async () => {
    const { server, listener } = await open();
    server.resetAndDestroy();
    await listener.end();
  });

  it('counts its bytes in the audit trail', async () => {
    const { client, server } = await open();
    const heard = once(server, 'data');
    client.write('12345');
    await heard;
    server.end('1234567');
    await once(client, 'close');
    expect(await api.gateway.event((line) => line.status === 101)).toMatchObject({
      type: 'access.allowed',
      outcome: 'success',
      bytes_in: 5,
      bytes_out: 7,
    });
  });

  it('without a token opens no connection to the upstream, a hundred times over', async () => {
    const bare = handshake().replace(/Authorization: .*\r\n/, '');
    const answers = await Promise.all(Array.from({ length: 100 }, () => sendRaw(api.gateway.port, bare)));
    expect(new Set(answers.map(({ text }) => problemOf(text).reason))).toEqual(new Set(['token_missing']));
    expect(upstream.connections.length).toBe(0);
  });
});

function whenClosed(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once('close', () => resolve()));
}
