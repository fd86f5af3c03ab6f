import { once } from 'node:events';
import type { Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hasCorpus, NO_CORPUS, readCorpus } from '../support/corpus.ts';
import { TestGateway } from '../support/gateway.ts';
import { openSocket, sendRaw, statusOf } from '../support/raw-client.ts';
import { TestUpstream } from '../support/upstream.ts';

/*
 * Handshakes that are no handshakes: tunnels opened without a token, by another method, to another protocol, or with a
 * body that becomes the first thing the upstream hears on an unjudged connection. And frames of every kind: the tunnel
 * is transparent, so each must come out as it went in.
 */

interface Handshake {
  readonly id: string;
  readonly raw_b64?: string;
  readonly expect?: string;
}

interface Frames {
  readonly id: string;
  readonly frames_b64: string;
}

const POLICY = `api: chat
upstream: chat
rules:
  - { name: room, path: /ws, scopes: [corpus] }
`;
const SWITCH = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n';

/** 101 where these say so; the status of the refusal; `plain`: anything but a tunnel. */
const TUNNELS = new Set([
  'ok',
  'upgrade-case',
  'conn-list',
  'early-frames',
  'origin-null',
  'origin-evil',
  // The upstream's to judge; the one of this test accepts whatever reaches it.
  'conn-names-auth',
  'key-missing',
  'key-short',
  'version-missing',
  'version-12',
  'proto-invalid',
  'ext-invalid',
  'hixie-76',
]);
const REFUSED: Readonly<Record<string, number>> = {
  'no-token': 401,
  'bad-token': 401,
  'wrong-scope': 403,
  'early-smuggle': 401,
  'token-in-query': 401,
  'token-in-subproto': 401,
};

const HANDSHAKES = 'ws/handshake.jsonl';
const FRAMES = 'ws/frames.jsonl';

describe.skipIf(!hasCorpus(HANDSHAKES) || !hasCorpus(FRAMES))(`the corpus of WebSockets (${NO_CORPUS})`, () => {
  let upstream: TestUpstream;
  let gateway: TestGateway;
  let token: string;
  let narrow: string;
  let tunnels: { head: string; socket: Socket }[] = [];

  beforeAll(async () => {
    upstream = await TestUpstream.start(null, {
      onUpgrade: (request, socket, head) => {
        tunnels.push({
          head: `${request.method} ${request.url} ${JSON.stringify(request.rawHeaders)}`,
          socket: socket as Socket,
        });
        socket.on('error', () => undefined);
        socket.write(SWITCH);
        if (head.length > 0) socket.write(head);
        socket.on('data', (chunk: Buffer) => socket.write(chunk));
        socket.on('end', () => socket.end());
      },
    });
    gateway = await TestGateway.start({
      upstreams: { chat: upstream.url },
      policies: { 'chat.yaml': POLICY },
      // One of the vectors announces a byte more than it sends.
      config: { listen: '{ host: 127.0.0.1, port: 0, limits: { request_timeout: 1s, header_timeout: 1s } }' },
    });
    ({ token } = await gateway.issue({ scopes: ['corpus'] }));
    ({ token: narrow } = await gateway.issue({ scopes: ['orders:read'] }));
  });

  afterAll(async () => {
    await gateway?.close();
    await upstream?.close();
  });

  it('opens a tunnel for a judged handshake, and for nothing else', async () => {
    const wrong: string[] = [];
    const vectors = readCorpus<Handshake>(HANDSHAKES).filter(({ raw_b64 }) => raw_b64 !== undefined);
    for (const { id, raw_b64 = '' } of vectors) {
      tunnels = [];
      const seenBefore = upstream.seen.length;
      const raw = Buffer.from(raw_b64, 'base64')
        .toString('latin1')
        .replaceAll('@@TOKEN@@', id === 'wrong-scope' ? narrow : token);
      const { text } = await sendRaw(gateway.port, raw, (got) => got.includes('\r\n\r\n'));
      const status = statusOf(text);
      const plain = upstream.seen.slice(seenBefore);
      if (TUNNELS.has(id) !== (status === 101) || (status === 101) !== (tunnels.length === 1))
        wrong.push(`${id}: ${status}`);
      if (REFUSED[id] !== undefined && (status !== REFUSED[id] || plain.length > 0)) wrong.push(`${id}: ${status}`);
      if (plain.length + tunnels.length > 1) wrong.push(`${id}: ${plain.length} requests, ${tunnels.length} tunnels`);
      if (plain.some(({ url }) => url !== '/ws')) wrong.push(`${id}: ${plain.map(({ url }) => url).join()}`);
      if (JSON.stringify([plain, tunnels.map(({ head }) => head)]).includes(token))
        wrong.push(`${id}: the token went on`);
    }
    expect(wrong).toEqual([]);
    expect(vectors.length).toBeGreaterThanOrEqual(30);
  });

  it('hands every frame on as it is, both ways', async () => {
    const wrong: string[] = [];
    const vectors = readCorpus<Frames>(FRAMES);
    for (const { id, frames_b64 } of vectors) {
      const frames = Buffer.from(frames_b64, 'base64');
      const socket = await openSocket(gateway.port);
      socket.write(
        `GET /ws HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
      );
      let got = Buffer.alloc(0);
      for await (const chunk of socket) {
        const before = got.indexOf('\r\n\r\n');
        got = Buffer.concat([got, chunk as Buffer]);
        const end = got.indexOf('\r\n\r\n');
        if (before < 0 && end >= 0) socket.write(frames);
        if (end >= 0 && got.length >= end + 4 + frames.length) break;
      }
      if (!got.subarray(got.indexOf('\r\n\r\n') + 4).equals(frames)) wrong.push(id);
      socket.destroy();
    }
    expect(wrong).toEqual([]);
    expect(vectors.length).toBeGreaterThan(30);
  });

  it('leaves no tunnel open at the upstream when its client has gone', async () => {
    const open = tunnels.filter(({ socket }) => !socket.destroyed);
    await Promise.all(open.map(({ socket }) => once(socket, 'close')));
    expect(await gateway.metric(/^portcullis_streams_open\{api="chat"\}/)).toBe(0);
  });
});
