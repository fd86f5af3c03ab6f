import { createHash, randomFillSync } from 'node:crypto';
import { once } from 'node:events';
import {
  type ClientRequest,
  createServer,
  get,
  type IncomingMessage,
  type Server,
  type ServerResponse,
  request as startRequest,
} from 'node:http';
import { get as getTls, request as startTlsRequest } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join, resolve } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type SingleApi, startSingleApi } from '../support/single-api.ts';

const FIXTURES = resolve(import.meta.dirname, '../fixtures/tls');
const TLS = `tls: { cert: ${join(FIXTURES, 'server.crt')}, key: ${join(FIXTURES, 'server.key')} }`;
const BODY = randomFillSync(Buffer.alloc(12_000_000));
const DIGEST = createHash('sha256').update(BODY).digest('hex');

/*
 * Parts of bodies pass through memory that is used again. Whoever gives it back too early sends the bytes of one answer
 * with another, and that shows only where clients read slowly and several at a time.
 */
describe.each([
  ['in clear text', ''],
  ['over TLS', TLS],
])('bodies %s arrive as they were sent', (_name, tls) => {
  let upstream: Server;
  let api: SingleApi;
  beforeAll(async () => {
    upstream = createServer((request, response) => {
      if (request.method === 'POST') {
        void answerWithDigest(request, response);
        return;
      }
      if (request.url === '/counted') response.setHeader('content-length', BODY.length);
      let at = 0;
      const more = (): void => {
        while (at < BODY.length) {
          const end = Math.min(BODY.length, at + 1000 + ((at * 7919) % 150_000));
          const part = BODY.subarray(at, end);
          at = end;
          if (!response.write(part)) {
            response.once('drain', more);
            return;
          }
        }
        response.end();
      };
      more();
    });
    await new Promise<void>((done) => upstream.listen(0, '127.0.0.1', done));
    const { port } = upstream.address() as AddressInfo;
    api = await startSingleApi(`http://127.0.0.1:${port}`, {
      config: { listen: `{ host: 127.0.0.1, port: 0, ${tls} }` },
    });
  });
  afterAll(async () => {
    await api?.gateway.close(0);
    upstream.closeAllConnections();
    upstream.close();
  });

  function download(path: string): Promise<IncomingMessage> {
    const headers = { authorization: `Bearer ${api.token}` };
    const options = { port: api.gateway.port, host: '127.0.0.1', path, headers, agent: false };
    return new Promise((found, reject) => {
      const request = tls === '' ? get(options, found) : getTls({ ...options, rejectUnauthorized: false }, found);
      request.on('error', reject);
    });
  }

  async function digestOf(path: string, slow: boolean): Promise<string> {
    const hash = createHash('sha256');
    for await (const part of await download(path)) {
      hash.update(part);
      // A reader that is busy elsewhere for some turns: what is under way to it has to wait in the gateway.
      if (slow) for (let i = 0; i < 20; i += 1) await turn();
    }
    return hash.digest('hex');
  }

  it('to clients that read at once and slowly, together, and with some that leave in between', async () => {
    const leaving = async (): Promise<string> => {
      const answer = await download('/counted');
      for await (const _part of answer) break;
      answer.destroy();
      return DIGEST;
    };
    const digests = await Promise.all([
      ...['/counted', '/chunked'].flatMap((path) => [digestOf(path, false), digestOf(path, true)]),
      leaving(),
      leaving(),
    ]);
    expect(new Set(digests)).toEqual(new Set([DIGEST]));
  });

  /** Sends the body in parts of all sizes, and gives what the upstream has found its digest to be. */
  async function upload(path: string, counted: boolean, leaves: boolean): Promise<string> {
    const headers = { authorization: `Bearer ${api.token}`, ...(counted ? { 'content-length': BODY.length } : {}) };
    const options = { port: api.gateway.port, host: '127.0.0.1', path, method: 'POST', headers, agent: false };
    const request: ClientRequest =
      tls === '' ? startRequest(options) : startTlsRequest({ ...options, rejectUnauthorized: false });
    const answered = new Promise<IncomingMessage>((found, reject) => request.on('response', found).on('error', reject));
    if (leaves) answered.catch(() => undefined);
    for (let at = 0; at < BODY.length; ) {
      const end = Math.min(BODY.length, at + 1000 + ((at * 7919) % 150_000));
      if (!request.write(BODY.subarray(at, end))) await once(request, 'drain');
      at = end;
      if (leaves && at > BODY.length / 2) {
        request.destroy();
        return DIGEST;
      }
    }
    request.end();
    let text = '';
    for await (const part of await answered) text += String(part);
    return text;
  }

  it('to an upstream that reads at once and slowly, together, and when some clients leave in between', async () => {
    const digests = await Promise.all([
      ...[true, false].flatMap((counted) => [upload('/quick', counted, false), upload('/slow', counted, false)]),
      upload('/slow', true, true),
      upload('/slow', false, true),
    ]);
    expect(new Set(digests)).toEqual(new Set([DIGEST]));
  });
});

async function answerWithDigest(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const hash = createHash('sha256');
  try {
    for await (const part of request) {
      hash.update(part);
      if (request.url === '/slow') for (let i = 0; i < 20; i += 1) await turn();
    }
  } catch {
    // Its client has left.
    return;
  }
  response.end(hash.digest('hex'));
}
