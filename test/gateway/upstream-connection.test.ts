import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type AnswerHead, AnswerHeads } from '../../src/gateway/answer-heads.ts';
import { RequestBody } from '../../src/gateway/request-body.ts';
import type { UpstreamHandler, UpstreamRequest } from '../../src/gateway/upstream-call.ts';
import { type ConnectionOwner, UpstreamConnection } from '../../src/gateway/upstream-connection.ts';
import { reasonOfFailure } from '../../src/gateway/upstream-failure.ts';
import { RawUpstream } from '../support/raw-upstream.ts';

const GET: UpstreamRequest = {
  method: 'GET',
  target: '/',
  lines: '',
  fields: ['host', 'a'],
  body: null,
  chunked: false,
};
const HEAD = 'GET / HTTP/1.1\r\nhost: a\r\n\r\n';
const TICK_MS = 500;

/** What a handler has heard, and the first event of a name. */
class Heard implements UpstreamHandler {
  readonly events: string[] = [];
  #waiting: (() => void) | null = null;

  onHead({ status }: AnswerHead): void {
    this.#note(`head ${status}`);
  }
  onBody(part: Buffer): void {
    this.#note(`body ${part}`);
  }
  onWholeBody(body: string): void {
    this.#note(`body ${body}`);
  }
  onEnd(): void {
    this.#note('end');
  }
  onFailure(error: Error): void {
    this.#note(reasonOfFailure(error));
  }

  async until(event: string): Promise<void> {
    while (!this.events.includes(event)) {
      await new Promise<void>((resolve) => {
        this.#waiting = resolve;
      });
    }
  }

  #note(event: string): void {
    this.events.push(event);
    this.#waiting?.();
  }
}

describe('a connection to an upstream', () => {
  let upstream: RawUpstream;
  let connection: UpstreamConnection;
  const idle = { times: 0 };
  let gone: Promise<void>;

  beforeEach(async () => {
    upstream = await RawUpstream.start();
    idle.times = 0;
    const over = Promise.withResolvers<void>();
    gone = over.promise;
    const owner: ConnectionOwner = {
      address: { host: '127.0.0.1', port: Number(new URL(upstream.url).port), tlsName: null },
      timeouts: { connectMs: 5_000, responseMs: 60_000 },
      buffer: Buffer.alloc(64 * 1024),
      heads: new AnswerHeads(),
      idle: () => {
        idle.times += 1;
      },
      gone: () => over.resolve(),
    };
    connection = new UpstreamConnection(owner);
  });
  afterEach(async () => {
    connection.destroy();
    await gone;
    await upstream.close();
  });

  async function answered(answer: string): Promise<void> {
    upstream.answer = () => answer;
    const heard = new Heard();
    connection.send(GET, HEAD, heard);
    await heard.until('end');
  }

  /** After how much idle time it is ended, where it became so as long before the first check as can be. */
  function idleTime(): number | null {
    for (let moment = TICK_MS; moment <= 120_000; moment += TICK_MS) {
      connection.check(moment, TICK_MS);
      if (!connection.usable) return moment;
    }
    return null;
  }

  it.each([
    ['', 4_000],
    ['Keep-Alive: timeout=5\r\n', 4_000],
    ['Keep-Alive: timeout=2, max=10\r\n', 1_000],
    ['Keep-Alive: timeout=100000000\r\n', 60_000],
  ])('that is idle ends before its upstream may close it (%j)', async (fields, longest) => {
    await answered(`HTTP/1.1 200 OK\r\n${fields}Content-Length: 2\r\n\r\nok`);
    expect(idle.times).toBe(1);
    expect(idleTime()).toBe(longest);
  });

  it.each([0, 1])('is not kept where its upstream keeps it for %i s', async (seconds) => {
    await answered(`HTTP/1.1 200 OK\r\nKeep-Alive: timeout=${seconds}\r\nContent-Length: 2\r\n\r\nok`);
    await gone;
    expect(idle.times).toBe(0);
  });

  it('gives an answer all of its time, and no more', async () => {
    const arrived = Promise.withResolvers<void>();
    upstream.answer = () => {
      arrived.resolve();
      return null;
    };
    const heard = new Heard();
    connection.send(GET, HEAD, heard);
    await arrived.promise;
    connection.check(1_000, TICK_MS);
    connection.check(60_999, TICK_MS);
    expect(heard.events).toEqual([]);
    connection.check(61_000, TICK_MS);
    expect(heard.events).toEqual(['upstream_timeout']);
  });

  it('hears nothing more of a call that was aborted, and is not used again', async () => {
    const heard = new Heard();
    const call = connection.send(GET, HEAD, heard);
    call.abort();
    call.abort();
    call.pause();
    call.resume();
    await gone;
    expect({ events: heard.events, idle: idle.times, usable: connection.usable }).toEqual({
      events: [],
      idle: 0,
      usable: false,
    });
  });

  it('is not used again when bytes come that nobody asked for', async () => {
    await answered('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    upstream.connections[0]?.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison');
    await gone;
    expect(connection.usable).toBe(false);
  });

  it('reads to its end an answer that ends with it, also when it was paused', async () => {
    const part = 'x'.repeat(1000);
    upstream.answer = (_request, socket) => {
      socket.end(`HTTP/1.1 200 OK\r\n\r\n${part}`);
      return null;
    };
    const heard = new Heard();
    const call = connection.send(GET, HEAD, heard);
    await heard.until('head 200');
    call.pause();
    call.resume();
    await heard.until('end');
    await gone;
    expect(heard.events.filter((event) => event.startsWith('body')).join('')).toBe(`body ${part}`);
  });
});

describe('a body on its way to an upstream', () => {
  it('takes the time that its client takes: that is not the upstream’s', async () => {
    const upstream = await RawUpstream.start();
    const requests = createServer();
    requests.listen(0, '127.0.0.1');
    await once(requests, 'listening');
    const client = connect((requests.address() as AddressInfo).port, '127.0.0.1');
    client.on('error', () => undefined);
    client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nhalf');
    const [source] = (await once(requests, 'request')) as [IncomingMessage, ServerResponse];

    const gone = Promise.withResolvers<void>();
    const connection = new UpstreamConnection({
      address: { host: '127.0.0.1', port: Number(new URL(upstream.url).port), tlsName: null },
      timeouts: { connectMs: 5_000, responseMs: 60_000 },
      buffer: Buffer.alloc(64 * 1024),
      heads: new AnswerHeads(),
      idle: () => undefined,
      gone: () => gone.resolve(),
    });
    const arrived = Promise.withResolvers<void>();
    upstream.answer = () => {
      arrived.resolve();
      return null;
    };
    const heard = new Heard();
    const fields = ['host', 'a', 'content-length', '8'];
    const body = new RequestBody(source, null, null);
    const head = 'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\n';
    connection.send({ method: 'POST', target: '/', lines: '', fields, body, chunked: false }, head, heard);
    while (upstream.connections[0]?.text.endsWith('half') !== true) await new Promise(setImmediate);
    connection.check(0, TICK_MS);
    connection.check(1_000_000, TICK_MS);
    expect(heard.events).toEqual([]);

    client.write('rest');
    await arrived.promise;
    connection.check(2_000_000, TICK_MS);
    connection.check(2_059_999, TICK_MS);
    expect(heard.events).toEqual([]);
    connection.check(2_060_000, TICK_MS);
    expect(heard.events).toEqual(['upstream_timeout']);
    await gone.promise;
    client.destroy();
    requests.closeAllConnections();
    await new Promise((resolve) => requests.close(resolve));
    await upstream.close();
  });
});

describe('a failure of the way to an upstream', () => {
  it.each([
    ['EADDRNOTAVAIL', 'upstream_unreachable'],
    ['EAI_FAIL', 'upstream_unreachable'],
    ['EPERM', 'upstream_unreachable'],
    ['ENOBUFS', 'overloaded'],
    ['EMFILE', 'overloaded'],
    ['CERT_HAS_EXPIRED', 'upstream_invalid'],
  ])('%s is %s', (code, reason) => {
    expect(reasonOfFailure(Object.assign(new Error(code), { code }))).toBe(reason);
  });
});
