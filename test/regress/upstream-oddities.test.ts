import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readAnswer, valuesOf } from '../support/raw-answer.ts';
import { openSocket, sendRaw } from '../support/raw-client.ts';
import { RawUpstream } from '../support/raw-upstream.ts';
import { Listener, type SingleApi, startSingleApi } from '../support/single-api.ts';

/*
 * Faults with answers that an upstream may well give: a reason phrase in UTF-8 made node throw while the head was
 * written and once more while the refusal was, inside undici's callback; a `Trailer` field beside a Content-Length was
 * an error; a coding that was only half undone was passed on as if it were none; interim answers had no bound; and a cut
 * could not be told from an end where the body ends with its connection.
 */
describe('an answer', () => {
  let upstream: RawUpstream;
  let api: SingleApi;

  beforeAll(async () => {
    upstream = await RawUpstream.start();
    api = await startSingleApi(upstream.url);
  });

  afterAll(async () => {
    await api?.gateway.close(0);
    await upstream?.close();
  });

  async function relayed(answer: string, method = 'GET', version = '1.1'): Promise<ReturnType<typeof readAnswer>> {
    upstream.answer = (_request, socket) => {
      socket.end(answer, 'latin1');
      return null;
    };
    const request = api.request(`${method} /x`, 'Connection: close\r\n').replace('HTTP/1.1', `HTTP/${version}`);
    return readAnswer((await sendRaw(api.gateway.port, request)).text, method);
  }

  it.each(['Größe € ungültig', 'a\x01b', 'a\x7fb', 'a\tb', ''])(
    'with the reason phrase %j is relayed',
    async (phrase) => {
      const bytes = Buffer.from(phrase).toString('latin1');
      const answer = await relayed(`HTTP/1.1 200 ${bytes}\r\nContent-Length: 2\r\n\r\nok`);
      expect([200, 502]).toContain(answer.status);
      expect(answer.phrase).toMatch(/^[\x20-\x7e\t]*$/);
      expect((await relayed('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')).body).toBe('ok');
    },
  );

  it('that announces trailers is relayed where none can follow', async () => {
    const counted = await relayed('HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nContent-Length: 2\r\n\r\nok');
    expect({ status: counted.status, body: counted.body }).toEqual({ status: 200, body: 'ok' });
    const chunked =
      'HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n';
    expect((await relayed(chunked, 'GET', '1.0')).body).toBe('ok');
    expect((await relayed(chunked)).trailers).toBe('X-Sum: 1\r\n');
    expect((await relayed('HTTP/1.1 200 OK\r\nTrailer: X\r\nTransfer-Encoding: chunked\r\n\r\n', 'HEAD')).status).toBe(
      200,
    );
    expect((await relayed('HTTP/1.1 304 Not Modified\r\nTrailer: X\r\n\r\n')).status).toBe(304);
  });

  it.each(['gzip, chunked', 'chunked, chunked', 'identity', 'gzip'])(
    'coded as %s is not passed off as plain',
    async (coding) => {
      const answer = await relayed(`HTTP/1.1 200 OK\r\nTransfer-Encoding: ${coding}\r\n\r\n2\r\nok\r\n0\r\n\r\n`);
      expect({ coding, status: answer.status }).toEqual({ coding, status: 502 });
    },
  );

  it('is relayed after a few interim answers, and given up after a flood of them', async () => {
    const early = 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n';
    const final = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
    expect(await relayed(early.repeat(3) + final)).toMatchObject({ status: 200, interim: [103, 103, 103] });
    const flooded = await relayed(early.repeat(5000) + final);
    expect({ status: flooded.status, interim: flooded.interim.length }).toEqual({ status: 502, interim: 16 });
  });

  it('does not lead clients past the gateway', async () => {
    const answer = await relayed('HTTP/1.1 200 OK\r\nAlt-Svc: h3="other:443"\r\nContent-Length: 2\r\n\r\nok');
    expect(valuesOf(answer, 'alt-svc')).toEqual([]);
  });

  it('that breaks off is reset for a client that would take the end of its connection for the end of the body', async () => {
    upstream.answer = (_request, socket) => {
      socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n');
      setImmediate(() => socket.destroy());
      return null;
    };
    const socket = connect(api.gateway.port, '127.0.0.1');
    socket.write(api.request('GET /x').replace('HTTP/1.1', 'HTTP/1.0'));
    const error = await new Promise<NodeJS.ErrnoException | null>((resolve) => {
      socket.on('error', resolve);
      socket.on('end', () => resolve(null));
      socket.resume();
    });
    expect(error?.code).toBe('ECONNRESET');
  });

  it('to a request that never waits for leave contains no invitation to send a body', async () => {
    upstream.answer = () => 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
    const socket = await openSocket(api.gateway.port);
    const listener = new Listener(socket);
    socket.write(api.request('POST /x', 'Content-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n', 'hi'));
    expect(readAnswer(await listener.end())).toMatchObject({ status: 200, interim: [100], rest: '' });
    const other = await sendRaw(
      api.gateway.port,
      api.request('POST /x', 'Content-Length: 2\r\nExpect: something-else\r\nConnection: close\r\n', 'hi'),
    );
    expect(readAnswer(other.text)).toMatchObject({ status: 200, interim: [] });
    expect(JSON.stringify(upstream.requests)).not.toContain('expect');
  });
});
