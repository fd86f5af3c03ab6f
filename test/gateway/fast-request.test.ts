import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import { type AddressInfo, connect, Socket } from 'node:net';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readFastRequest } from '../../src/gateway/fast-request.ts';
import { LastSection } from '../../src/gateway/header-section.ts';

interface Read {
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly rawHeaders: readonly string[];
  readonly last: boolean;
}

function readFast(text: string, before = new LastSection()): Read | null {
  const request = readFastRequest(Buffer.from(text, 'latin1'), new Socket(), 16_384, before);
  if (request === null) return null;
  const { method, url, rawHeaders, last } = request;
  return { method, url, rawHeaders, last };
}

/*
 * What the gateway reads by itself must mean the same to node's parser, which reads everything else: two readings of one
 * request are what request smuggling is made of.
 */
describe('a request of the simplest kind', () => {
  const server = createServer({ httpValidation: 'strict', requireHostHeader: false } as object);
  server.maxHeadersCount = 0;
  beforeAll(async () => {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
  });
  afterAll(() => {
    server.closeAllConnections();
    server.close();
  });

  /** What node makes of the bytes: the one request in them, or null where it refuses them or finds another number. */
  async function readByNode(text: string): Promise<Read | null> {
    const found: Read[] = [];
    let last = true;
    const note = (request: IncomingMessage, response: import('node:http').ServerResponse): void => {
      const { method, url, rawHeaders } = request;
      last = !response.shouldKeepAlive;
      found.push({ method, url, rawHeaders, last });
      response.end();
    };
    server.on('request', note);
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
    socket.on('error', () => undefined);
    // A second request that cannot be mistaken: what comes before it is over when it is answered.
    socket.write(text, 'latin1');
    socket.write('GET /end HTTP/1.1\r\nConnection: close\r\n\r\n');
    socket.resume();
    await once(socket, 'close');
    server.off('request', note);
    const [first, second, ...more] = found;
    if (first === undefined || more.length > 0) return null;
    const over = first.last ? second === undefined : second?.url === '/end';
    return over ? first : null;
  }

  const HOST = 'Host: a\r\n';

  it.each([
    ['with a body', `GET / HTTP/1.1\r\n${HOST}Content-Length: 2\r\n\r\nhi`],
    ['with an empty body', `GET / HTTP/1.1\r\n${HOST}content-length: 0\r\n\r\n`],
    ['in chunks', `GET / HTTP/1.1\r\n${HOST}TRANSFER-ENCODING: chunked\r\n\r\n0\r\n\r\n`],
    ['that expects something', `GET / HTTP/1.1\r\n${HOST}Expect: 100-continue\r\n\r\n`],
    ['that offers to upgrade', `GET / HTTP/1.1\r\n${HOST}Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n`],
    ['whose Connection names more', `GET / HTTP/1.1\r\n${HOST}Connection: close, x-a\r\n\r\n`],
    ['that closes in the words of old proxies', `GET / HTTP/1.1\r\n${HOST}Proxy-Connection: close\r\n\r\n`],
    ['by another method', `POST / HTTP/1.1\r\n${HOST}\r\n`],
    ['of HTTP/1.0', `GET / HTTP/1.0\r\n${HOST}\r\n`],
    ['in absolute form', `GET http://a/ HTTP/1.1\r\n${HOST}\r\n`],
    ['for the gateway itself', `GET /.portcullis/token HTTP/1.1\r\n${HOST}\r\n`],
    ['with bare LF', `GET / HTTP/1.1\n${HOST}\r\n`],
    ['with one bare LF', 'GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n'],
    ['with a folded line', `GET / HTTP/1.1\r\n${HOST}X: a\r\n b\r\n\r\n`],
    ['with a space before a colon', `GET / HTTP/1.1\r\n${HOST}X : a\r\n\r\n`],
    ['with a NUL', `GET / HTTP/1.1\r\n${HOST}X: a\0\r\n\r\n`],
    ['with a control character in its path', `GET /\x01 HTTP/1.1\r\n${HOST}\r\n`],
    ['with bytes beyond ASCII in its path', `GET /\xe4 HTTP/1.1\r\n${HOST}\r\n`],
    ['that is not whole', `GET / HTTP/1.1\r\n${HOST}`],
    ['that another follows', `GET / HTTP/1.1\r\n${HOST}\r\nGET / HTTP/1.1\r\n${HOST}\r\n`],
    ['that other bytes follow', `GET / HTTP/1.1\r\n${HOST}\r\n\r\n`],
    ['that is long', `GET / HTTP/1.1\r\n${HOST}X: ${'a'.repeat(17_000)}\r\n\r\n`],
    ['that begins with an empty line', `\r\nGET / HTTP/1.1\r\n${HOST}\r\n`],
  ])('is none %s', (_what, text) => {
    expect(readFast(text)).toBeNull();
  });

  it('is read as node reads it', async () => {
    const text = `DELETE /a/b?c=d&e HTTP/1.1\r\nhost:a:80\r\nX-A: \t b  c \t\r\nx-empty:\r\nx-\xe4: no\r\n\r\n`;
    expect(readFast(text)).toBeNull();
    const sound = text.replace('x-\xe4', 'x-b').replace('no', '\xe4\xf6');
    expect(readFast(sound)).toEqual({
      method: 'DELETE',
      url: '/a/b?c=d&e',
      rawHeaders: ['host', 'a:80', 'X-A', 'b  c', 'x-empty', '', 'x-b', '\xe4\xf6'],
      last: false,
    });
    expect(await readByNode(sound)).toEqual(readFast(sound));
    const closing = `HEAD / HTTP/1.1\r\n${HOST}Connection: Close\r\n\r\n`;
    expect(readFast(closing)?.last).toBe(true);
    expect(await readByNode(closing)).toEqual(readFast(closing));
  });

  it('is read alike whatever came before it on its connection', () => {
    const line = fc.constantFrom(
      ...['GET / HTTP/1.1\r\n', 'HEAD /a?b HTTP/1.1\r\n', 'GET /a HTTP/1.1\r\nX: y\r\n', 'GET /a HTTP/1.1\n'],
      ...['GET /\xe4 HTTP/1.1\r\n', 'POST / HTTP/1.1\r\n', 'GET /.portcullis/token HTTP/1.1\r\n', '', '\r\n', '\n'],
    );
    const section = fc.constantFrom(
      ...[`${HOST}A: b\r\n\r\n`, `${HOST}A: c\r\n\r\n`, 'A: c\r\n\r\n', 'Host: b\r\nA: b\r\n\r\n', '\r\n'],
      ...[`${HOST}Connection: close\r\n\r\n`, `${HOST}Content-Length: 1\r\n\r\n`, `${HOST}A: b\n\r\n\r\n`],
    );
    let again = 0;
    fc.assert(
      fc.property(fc.array(fc.tuple(line, section), { minLength: 2, maxLength: 8 }), (requests) => {
        const before = new LastSection();
        for (const [first, rest] of requests) {
          if (before.startIn(Buffer.from(first + rest, 'latin1')) >= 0) again += 1;
          expect({ first, rest, read: readFast(first + rest, before) }).toEqual({
            first,
            rest,
            read: readFast(first + rest),
          });
        }
      }),
      { numRuns: 500 },
    );
    expect(again).toBeGreaterThan(50);
  });

  it('is never one that node reads in another way, whatever is put into it', async () => {
    const odd = fc.constantFrom(
      ...['\r\n', '\n', '\r', ' ', '\t', ':', '\0', '\x7f', '\x80', '\xff', ',', ';', '"', '%', '/', '.', '#', 'é'],
      ...['Content-Length: 1', 'Transfer-Encoding: chunked', 'Connection: x', 'Host: b', 'HTTP/1.1', 'GET / HTTP/1.1'],
    );
    const base = fc.constantFrom(
      `GET /a HTTP/1.1\r\n${HOST}Authorization: Bearer x\r\n\r\n`,
      `HEAD /a?b HTTP/1.1\r\n${HOST}Accept: */*\r\nConnection: keep-alive\r\n\r\n`,
      `DELETE /a/b HTTP/1.1\r\n${HOST}X-Y: z\r\n\r\n`,
    );
    let taken = 0;
    const mutations = fc.array(fc.tuple(fc.nat(80), odd), { maxLength: 3 });
    await fc.assert(
      fc.asyncProperty(base, mutations, async (sound, changes) => {
        let text = sound;
        for (const [at, insert] of changes) {
          const place = at % (text.length + 1);
          text = text.slice(0, place) + insert + text.slice(place);
        }
        const read = readFast(text);
        if (read === null) return;
        taken += 1;
        expect({ text, read: await readByNode(text) }).toEqual({ text, read });
      }),
      { numRuns: 1500 },
    );
    expect(taken).toBeGreaterThan(100);
  });
});
