import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Exchange } from '../../src/gateway/exchange.ts';
import { FastConnection } from '../../src/gateway/fast-connection.ts';
import type { FastRequest } from '../../src/gateway/fast-request.ts';
import type { FastResponse } from '../../src/gateway/fast-response.ts';

const REQUEST = 'GET / HTTP/1.1\r\nHost: a\r\n';

describe('a connection with requests of the simplest kind', () => {
  const server = createServer({ allowHalfOpen: true });
  let client: Socket;
  let accepted: Socket;
  let connection: FastConnection;
  let handle: (request: FastRequest, response: FastResponse) => void;
  const buffer = Buffer.alloc(65_536);
  const lingering: Socket[] = [];
  const handedOver: string[] = [];

  beforeEach(async () => {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const arrived = once(server, 'connection');
    client = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true });
    [accepted] = (await arrived) as [Socket];
    connection = new FastConnection(
      accepted,
      {
        headerBytes: 16_384,
        buffer,
        date: () => 'now',
        handle: (request, response) => {
          handle(request, response);
          // What it returns is of no interest to the connection.
          return {} as Exchange;
        },
        handOver: (_socket, bytes) => void handedOver.push(bytes.toString('latin1')),
        linger: (socket) => void lingering.push(socket),
      },
      () => undefined,
    );
  });
  afterEach(async () => {
    client.destroy();
    accepted.destroy();
    lingering.length = 0;
    handedOver.length = 0;
    await new Promise((resolve) => server.close(resolve));
  });

  it('is left to end in its time after the last answer: a client that goes on sending does not hold it', async () => {
    let handled = 0;
    const answered = new Promise<void>((resolve) => {
      handle = (_request, response) => {
        handled += 1;
        response.writeHead(200, 'OK', ['Content-Length', '0']);
        response.finish();
        resolve();
      };
    });
    client.write(`${REQUEST}Connection: close\r\n\r\n`);
    await answered;
    expect(lingering).toEqual([accepted]);
    const before = accepted.bytesRead;
    client.write(`${REQUEST}\r\n`);
    while (accepted.bytesRead === before) await new Promise(setImmediate);
    expect({ handled, handedOver, busy: connection.busy }).toEqual({ handled: 1, handedOver: [], busy: false });
  });

  it('does not take an answer for finished that its client did not stay for', async () => {
    const over = new Promise<FastResponse>((resolve) => {
      handle = (_request, response) => {
        response.owner = {
          onDrain: () => undefined,
          onBroken: () => undefined,
          onClose: () => resolve(response),
        };
        response.writeHead(200, 'OK', []);
        while (accepted.writableLength === 0) response.write(Buffer.alloc(1_000_000));
        response.finish();
        accepted.destroy();
      };
    });
    client.pause();
    client.write(`${REQUEST}\r\n`);
    const { writableEnded, writableFinished, destroyed } = await over;
    expect({ writableEnded, writableFinished, destroyed }).toEqual({
      writableEnded: true,
      writableFinished: false,
      destroyed: true,
    });
  });

  it('takes nothing more when it is told to', async () => {
    handle = () => expect.unreachable();
    connection.stop();
    client.write(`${REQUEST}\r\n`);
    while (accepted.bytesRead === 0) await new Promise(setImmediate);
    expect({ handedOver, busy: connection.busy }).toEqual({ handedOver: [], busy: false });
  });

  it('is read into the memory that it was given, and by nobody else', async () => {
    let tales = 0;
    accepted.on('data', () => {
      tales += 1;
    });
    const came = new Promise<void>((resolve) => {
      handle = (_request, response) => {
        response.writeHead(200, 'OK', ['Content-Length', '0']);
        response.finish();
        resolve();
      };
    });
    client.write(`${REQUEST}\r\n`);
    await came;
    // Where a later runtime has no such means, this says so.
    expect({ tales, begins: buffer.toString('latin1', 0, REQUEST.length) }).toEqual({ tales: 0, begins: REQUEST });
  });

  it('hands over bytes that stay what they were', async () => {
    const taken: Buffer[] = [];
    accepted.on('data', (bytes: Buffer) => void taken.push(bytes));
    client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n');
    while (handedOver.length === 0) await new Promise(setImmediate);
    client.write('one');
    while (taken.length < 1) await new Promise(setImmediate);
    client.write('two');
    while (taken.length < 2) await new Promise(setImmediate);
    expect({ head: handedOver[0]?.slice(0, 6), rest: Buffer.concat(taken).toString() }).toEqual({
      head: 'POST /',
      rest: 'onetwo',
    });
  });

  it('says that it ends, whatever words stand in other fields', async () => {
    handle = (_request, response) => {
      response.writeHead(200, 'OK', ['Vary', 'connection', 'Content-Length', '0']);
      response.finish();
    };
    const came = once(client, 'data');
    client.write(`${REQUEST}Connection: close\r\n\r\n`);
    const [bytes] = (await came) as [Buffer];
    expect(bytes.toString()).toMatch(/\r\nConnection: close\r\n/);
  });
});
