import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join, resolve } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readAnswer } from '../support/raw-answer.ts';
import { openSocket } from '../support/raw-client.ts';
import { RawUpstream } from '../support/raw-upstream.ts';
import { Listener, type SingleApi, startSingleApi } from '../support/single-api.ts';

const FIXTURES = resolve(import.meta.dirname, '../fixtures/tls');

/*
 * Faults of the TLS listener: a connection over the cap was answered in clear text; one that never finished its handshake
 * could stay for two minutes; a failed handshake left an event as if a request had been refused; and a drain ended the
 * connection under TLS, so that an answer could be cut off.
 */
describe('the TLS listener', () => {
  let upstream: RawUpstream;
  let api: SingleApi;
  let ca: Buffer;

  beforeEach(async () => {
    ca = await readFile(join(FIXTURES, 'server.crt'));
    upstream = await RawUpstream.start();
    const tls = `tls: { cert: ${join(FIXTURES, 'server.crt')}, key: ${join(FIXTURES, 'server.key')} }`;
    api = await startSingleApi(upstream.url, {
      config: { listen: `{ host: 127.0.0.1, port: 0, ${tls}, limits: { connections: 2, header_timeout: 500ms } }` },
    });
  });

  afterEach(async () => {
    await api.gateway.close(0);
    await upstream.close();
  });

  async function open(): Promise<TLSSocket> {
    const socket = connect({ host: 'localhost', port: api.gateway.port, ca });
    await once(socket, 'secureConnect');
    return socket;
  }

  const closed = (socket: Socket): Promise<string> => new Listener(socket).end();

  it('counts handshakes against the cap, says nothing in clear text, and ends those that take too long', async () => {
    const silent = [await openSocket(api.gateway.port), await openSocket(api.gateway.port)];
    expect(await closed(await openSocket(api.gateway.port))).toBe('');
    expect(await Promise.all(silent.map(closed))).toEqual(['', '']);
    const socket = await open();
    const listener = new Listener(socket);
    socket.write(api.request('GET /x', 'Connection: close\r\n'));
    expect(readAnswer(await listener.end())).toMatchObject({ status: 200, body: 'ok' });
  });

  it('leaves no event of a failed handshake', async () => {
    const failing = await openSocket(api.gateway.port);
    failing.write('GET / HTTP/1.1\r\n\r\n');
    await closed(failing);
    const old = connect({ host: 'localhost', port: api.gateway.port, ca, maxVersion: 'TLSv1.1', minVersion: 'TLSv1' });
    await once(old, 'error');
    const socket = await open();
    const listener = new Listener(socket);
    socket.write(api.request('GET /x', 'Connection: close\r\n'));
    await listener.end();
    await api.gateway.event((line) => line.type === 'access.allowed');
    const events = (await api.gateway.auditLines()).filter(({ type }) => type.startsWith('access.'));
    expect(events.map(({ type }) => type)).toEqual(['access.allowed']);
  });

  it('loses nothing of an answer that is given while it drains', async () => {
    const asked = Promise.withResolvers<Socket>();
    upstream.answer = (_request, socket) => {
      asked.resolve(socket);
      return null;
    };
    const socket = await open();
    const listener = new Listener(socket);
    socket.write(api.request('GET /x'));
    const answering = await asked.promise;
    const drained = api.gateway.close();
    const body = 'x'.repeat(2_000_000);
    answering.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    expect(readAnswer(await listener.end())).toMatchObject({ status: 200, complete: true });
    await drained;
  });
});
