import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { request as httpRequest } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestGateway } from '../support/gateway.ts';
import { GatewayProgram } from '../support/gateway-program.ts';
import { openSocket, sendRaw, statusOf } from '../support/raw-client.ts';
import { TestUpstream, type UpstreamHandler } from '../support/upstream.ts';

const POLICY = `api: files
upstream: files
base: /files
rules:
  - { name: all, path: [/, "/{rest...}"], scopes: [orders:read] }
`;
const MIB = 1024 * 1024;
const SIZE = 100 * MIB;

describe('streams', () => {
  let upstream: TestUpstream;
  let gateway: TestGateway;
  let token: string;
  let handler: UpstreamHandler = (_request, response) => response.end();

  beforeAll(async () => {
    upstream = await TestUpstream.start((request, response, body) => handler(request, response, body), {
      collect: false,
    });
    gateway = await TestGateway.start({ upstreams: { files: upstream.url }, policies: { 'files.yaml': POLICY } });
    ({ token } = await gateway.issue());
  });

  afterAll(async () => {
    await gateway?.close();
    await upstream?.close();
  });

  function send(
    method: string,
    headers: Record<string, string> = {},
    port = gateway.port,
  ): ReturnType<typeof httpRequest> {
    return httpRequest({
      port,
      host: '127.0.0.1',
      path: '/files/x',
      method,
      agent: false,
      headers: { authorization: `Bearer ${token}`, ...headers },
    });
  }

  async function answerTo(sent: ReturnType<typeof httpRequest>): Promise<IncomingMessage> {
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    return response;
  }

  it('carry 100 MB down to a slow reader, and 100 MB up to a slow upstream, at flat memory', async () => {
    const program = await GatewayProgram.start(await gateway.secondConfig());
    try {
      await download(program);
      await upload(program);
      const idle = await residentMiB(program);
      const down = await peakWhile(program, () => download(program));
      const up = await peakWhile(program, () => upload(program));
      expect({ down: down - idle, up: up - idle }).toEqual({
        down: expect.toSatisfy(flat),
        up: expect.toSatisfy(flat),
      });
    } finally {
      await program.signal('SIGTERM');
    }
  }, 60_000);

  /** MiB. A gateway that held a body would grow by all of it, 100 MiB; what moves below that is the collector's timing. */
  const flat = (growth: number): boolean => growth < 64;

  /** Returns when all has arrived; says how much the upstream could write while nobody read. */
  async function download(program: GatewayProgram): Promise<void> {
    let written = 0;
    handler = (_request, response) => {
      response.writeHead(200, { 'content-length': String(SIZE) });
      const block = Buffer.alloc(MIB, 'a');
      const more = (): void => {
        while (written < SIZE) {
          written += MIB;
          if (!response.write(block)) {
            response.once('drain', more);
            return;
          }
        }
        response.end();
      };
      more();
    };
    const sent = send('GET', {}, program.port);
    sent.end();
    const response = await answerTo(sent);
    expect(await standstill(() => written)).toBeLessThan(SIZE);
    let received = 0;
    for await (const chunk of response) received += (chunk as Buffer).length;
    expect(received).toBe(SIZE);
  }

  async function upload(program: GatewayProgram): Promise<void> {
    let received = 0;
    const asked = Promise.withResolvers<() => void>();
    handler = (request, response) => {
      asked.resolve(() => {
        request.on('data', (chunk: Buffer) => {
          received += chunk.length;
        });
        request.on('end', () => response.end('stored'));
      });
    };
    const sent = send('PUT', { 'content-length': String(SIZE) }, program.port);
    const answered = answerTo(sent);
    let written = 0;
    const block = Buffer.alloc(MIB, 'b');
    const fed = (async () => {
      while (written < SIZE) {
        written += MIB;
        if (!sent.write(block)) await once(sent, 'drain');
      }
      sent.end();
    })();
    const startReading = await asked.promise;
    expect(await standstill(() => written)).toBeLessThan(SIZE);
    startReading();
    await fed;
    const response = await answered;
    expect(response.statusCode).toBe(200);
    response.resume();
    await once(response, 'end');
    expect(received).toBe(SIZE);
  }

  it('deliver each server-sent event as it comes', async () => {
    let push: (text: string) => void = () => undefined;
    handler = (_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.flushHeaders();
      push = (text) => void response.write(text);
    };
    const sent = send('GET');
    sent.end();
    const response = await answerTo(sent);
    response.setEncoding('utf8');
    for (const event of ['data: one\n\n', 'data: two\n\n']) {
      const arrived = once(response, 'data');
      push(event);
      expect(await arrived).toEqual([event]);
    }
    expect(await gateway.metric(/^portcullis_streams_open\{api="files"\}/)).toBe(1);
    const closed = once(response, 'close');
    response.destroy();
    await closed;
  });

  it('end at the upstream when the client goes away, in the middle of the answer', async () => {
    let gone: Promise<unknown> = Promise.resolve();
    handler = (request, response) => {
      gone = once(request.socket, 'close');
      response.writeHead(200, { 'content-length': '1000' });
      response.write('some');
    };
    const sent = send('GET');
    sent.end();
    const response = await answerTo(sent);
    await once(response, 'data');
    const id = String(response.headers['portcullis-request-id']);
    sent.destroy();
    await gone;
    expect(await gateway.event((line) => line.request_id === id)).toMatchObject({ status: 200, bytes_out: 4 });
  });

  it('end at the upstream when the client goes away before any answer', async () => {
    let arrived: () => void = () => undefined;
    const asked = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    let gone: Promise<unknown> = Promise.resolve();
    handler = (request) => {
      gone = once(request.socket, 'close');
      arrived();
    };
    const sent = send('GET');
    sent.on('error', () => undefined);
    sent.end();
    await asked;
    sent.destroy();
    await gone;
  });

  it('end at the upstream when the client goes away in the middle of its upload', async () => {
    let aborted: Promise<unknown> = Promise.resolve();
    let arrived: () => void = () => undefined;
    const asked = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    handler = (request) => {
      request.on('error', () => undefined);
      aborted = new Promise((resolve) => request.on('close', resolve));
      request.once('data', arrived);
    };
    const sent = send('POST', { 'content-length': '1000' });
    sent.on('error', () => undefined);
    sent.write('some');
    await asked;
    sent.destroy();
    await aborted;
  });

  it('relay an answer that comes before the upload is complete, and read no next request from its rest', async () => {
    let asked = 0;
    handler = (_request, response) => {
      asked += 1;
      response.writeHead(413, { 'content-length': '5' });
      response.end('early');
    };
    const { text, closed } = await sendRaw(
      gateway.port,
      `POST /files/x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\nContent-Length: 1000\r\n\r\nGET /files/smuggled HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\n\r\n`,
    );
    expect(statusOf(text)).toBe(413);
    expect(text).toMatch(/connection: close/i);
    expect(text.endsWith('early')).toBe(true);
    expect(closed).toBe(true);
    expect(asked).toBe(1);
  });

  it('invite a body only when it is wanted (Expect: 100-continue)', async () => {
    handler = (request, response) => {
      request.resume();
      request.on('end', () => response.end('thanks'));
    };
    const refused = await sendRaw(
      gateway.port,
      'POST /files/x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n',
    );
    expect(statusOf(refused.text)).toBe(401);
    expect(refused.text).not.toContain('100 Continue');
    expect(refused.closed).toBe(true);

    const socket = await openSocket(gateway.port);
    let text = '';
    const invited = new Promise<void>((resolve) => {
      socket.on('data', (chunk) => {
        text += chunk.toString('latin1');
        if (text.includes('100 Continue\r\n\r\n')) resolve();
      });
    });
    socket.write(
      `POST /files/x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n`,
    );
    await invited;
    socket.write('hello');
    await once(socket, 'close');
    expect(text).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK\r\n/);
    expect(text).toContain('thanks');
  });
});

/** Resident memory of the gateway's process, MiB, as the kernel counts it. */
async function residentMiB(program: GatewayProgram): Promise<number> {
  const status = await readFile(`/proc/${program.child.pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) / 1024;
}

async function peakWhile(program: GatewayProgram, run: () => Promise<void>): Promise<number> {
  let peak = 0;
  let over = false;
  const watched = (async () => {
    while (!over) {
      peak = Math.max(peak, await residentMiB(program));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  await run();
  over = true;
  await watched;
  return peak;
}

/** While nobody reads, what can be written is bounded by the buffers on the way: how much it was when it stood still. */
async function standstill(written: () => number): Promise<number> {
  for (;;) {
    const before = written();
    await new Promise((resolve) => setTimeout(resolve, 300));
    if (written() === before && before > 0) return before;
  }
}
