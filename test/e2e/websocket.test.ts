import { createHash } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { TestGateway } from '../support/gateway.ts';
import { plantToken } from '../support/planted-token.ts';
import { problemOf, sendRaw, statusOf } from '../support/raw-client.ts';
import { TestUpstream } from '../support/upstream.ts';

const POLICY = `api: chat
upstream: chat
base: /chat
rules:
  - { name: room, methods: [GET], path: "/{room...}", scopes: [orders:read] }
`;
const HANDSHAKE =
  'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';

describe('WebSockets', () => {
  let upstream: TestUpstream;
  let sockets: WebSocketServer;
  let gateway: TestGateway;
  let token: string;
  let id: string;
  let handshakes: { url: string; rawHeaders: string[] }[] = [];
  let answerInstead: ((socket: Duplex) => void) | null = null;

  beforeAll(async () => {
    sockets = new WebSocketServer({ noServer: true });
    upstream = await TestUpstream.start(null, {
      onUpgrade: (request, socket, head) => {
        handshakes.push({ url: request.url ?? '', rawHeaders: request.rawHeaders });
        if (answerInstead !== null) answerInstead(socket);
        else {
          sockets.handleUpgrade(request, socket, head, (ws) => {
            ws.on('message', (data, binary) => ws.send(data, { binary }));
          });
        }
      },
    });
    gateway = await TestGateway.start({ upstreams: { chat: upstream.url }, policies: { 'chat.yaml': POLICY } });
    ({ token, id } = await gateway.issue());
  });

  afterAll(async () => {
    sockets?.close();
    await gateway?.close();
    await upstream?.close();
  });

  function open(path: string, headers: Record<string, string> = {}): WebSocket {
    return new WebSocket(`ws://127.0.0.1:${gateway.port}${path}`, {
      headers: { authorization: `Bearer ${token}`, ...headers },
    });
  }

  it('echo, text and binary, large and small, and leave an audit event with how long they lasted', async () => {
    handshakes = [];
    const ws = open('/chat//./room?x=1', { 'portcullis-subject': 'forged', 'x-forwarded-for': '10.9.8.7' });
    const opened = new Promise<string>((resolve, reject) => {
      ws.on('upgrade', (response) => resolve(String(response.headers['portcullis-request-id'])));
      ws.on('error', reject);
    });
    await once(ws, 'open');
    const requestId = await opened;
    for (const message of ['hello', 'x'.repeat(200_000), Buffer.alloc(1_000_000, 7)]) {
      const echoed = new Promise<Buffer>((resolve) => ws.once('message', (data) => resolve(data as Buffer)));
      ws.send(message);
      expect((await echoed).equals(Buffer.from(message))).toBe(true);
    }
    expect(await gateway.metric(/^portcullis_streams_open\{api="chat"\}/)).toBe(1);
    ws.close();
    await once(ws, 'close');
    const event = await gateway.event((line) => line.request_id === requestId);
    expect(event).toMatchObject({
      type: 'access.allowed',
      outcome: 'success',
      status: 101,
      token_id: id,
      path: '/chat/room',
    });
    expect(await gateway.metric(/^portcullis_streams_open\{api="chat"\}/)).toBe(0);
    const [seen] = handshakes;
    expect(seen?.url).toBe('/chat/room?x=1');
    const headers = JSON.stringify(seen?.rawHeaders).toLowerCase();
    expect(headers).toContain(id.toLowerCase());
    expect(headers).not.toContain(token.slice(-20).toLowerCase());
    expect(headers).not.toMatch(/forged|10\.9\.8\.7/);
  });

  it('are refused on the socket, with the reason, and nothing reaches the upstream', async () => {
    handshakes = [];
    const { text, closed } = await sendRaw(
      gateway.port,
      `GET /chat/room HTTP/1.1\r\nHost: a\r\n${HANDSHAKE}\r\nGET /chat/smuggled HTTP/1.1\r\nHost: a\r\n\r\n`,
    );
    expect(problemOf(text)).toMatchObject({ status: 401, reason: 'token_missing' });
    expect(text.match(/HTTP\/1\.1/g)).toHaveLength(1);
    expect(closed).toBe(true);
    expect(handshakes).toEqual([]);
    const requestId = /portcullis-request-id: (\S+)/i.exec(text)?.[1];
    expect(await gateway.event((line) => line.request_id === requestId)).toMatchObject({
      type: 'access.denied',
      reason: 'token_missing',
      status: 401,
    });
  });

  it('get the upstream’s refusal as it is', async () => {
    answerInstead = (socket) => socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\nX-Why: closed\r\n\r\nnope');
    const { text } = await sendRaw(
      gateway.port,
      `GET /chat/room HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\n${HANDSHAKE}\r\n`,
    );
    answerInstead = null;
    expect(statusOf(text)).toBe(403);
    expect(text).toMatch(/x-why: closed/i);
    expect(text).toMatch(/portcullis-request-id: /i);
    expect(text.endsWith('nope')).toBe(true);
  });

  it('get 502 when the upstream hangs up on the handshake', async () => {
    answerInstead = (socket) => socket.destroy();
    const { text } = await sendRaw(
      gateway.port,
      `GET /chat/room HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\n${HANDSHAKE}\r\n`,
    );
    answerInstead = null;
    expect(problemOf(text)).toMatchObject({ status: 502, reason: 'upstream_unreachable' });
  });

  it('end at the upstream when the client goes, and at the client when the upstream goes', async () => {
    const first = open('/chat/room');
    await once(first, 'open');
    const [serverSide] = [...sockets.clients];
    const gone = once(serverSide as WebSocket, 'close');
    first.terminate();
    await gone;
    const second = open('/chat/room');
    await once(second, 'open');
    const closed = once(second, 'close');
    for (const ws of sockets.clients) ws.terminate();
    await closed;
  });

  it('are closed when their token ends, also when it was made to end earlier after they were opened', async () => {
    const ends = Date.now() + 1500;
    const soon = await plantToken(gateway.folder, { expires_at: ends });
    const narrowed = await gateway.issue();
    const kept = open('/chat/room');
    const all = [
      kept,
      ...[soon, narrowed].map(({ token }) => open('/chat/room', { authorization: `Bearer ${token}` })),
    ];
    await Promise.all(all.map((ws) => once(ws, 'open')));
    const closed = Promise.all(all.slice(1).map((ws) => once(ws, 'close')));
    const expires_at = new Date(ends + 200).toISOString();
    expect((await gateway.admin('PATCH', `/v1/tokens/${narrowed.id}`, { expires_at })).status).toBe(200);
    await closed;
    expect(Date.now()).toBeGreaterThanOrEqual(ends + 200);
    expect(kept.readyState).toBe(WebSocket.OPEN);
    kept.terminate();
  });

  it('are closed when their token is revoked, before the call returns', async () => {
    const doomed = await gateway.issue();
    const ws = open('/chat/room', { authorization: `Bearer ${doomed.token}` });
    await once(ws, 'open');
    const kept = open('/chat/room');
    await once(kept, 'open');
    const closed = once(ws, 'close');
    const answer = await gateway.admin('POST', `/v1/tokens/${doomed.id}/revoke`, { reason: 'test' });
    expect(JSON.parse(answer.text)).toMatchObject({ id: doomed.id, propagation: { replicas: 1, streams_closed: 1 } });
    await closed;
    expect(kept.readyState).toBe(WebSocket.OPEN);
    const { text } = await sendRaw(
      gateway.port,
      `GET /chat/room HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${doomed.token}\r\n${HANDSHAKE}\r\n`,
    );
    expect(problemOf(text)).toMatchObject({ status: 401, reason: 'token_revoked' });
    kept.terminate();
  });

  it('do not open a tunnel for another protocol, another method or a request with a body', async () => {
    for (const head of [
      'GET /chat/room HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n',
      `POST /chat/room HTTP/1.1\r\nHost: a\r\n${HANDSHAKE}`,
      `GET /chat/room HTTP/1.0\r\nHost: a\r\n${HANDSHAKE}`,
    ]) {
      handshakes = [];
      const { text } = await sendRaw(
        gateway.port,
        `${head.replace('Connection: Upgrade', 'Connection: Upgrade, close')}Authorization: Bearer ${token}\r\n\r\n`,
        (got) => got.includes('\r\n\r\n'),
      );
      expect(statusOf(text)).not.toBe(101);
      expect(handshakes).toEqual([]);
    }
  });

  it('pass on what came with the handshake', async () => {
    const accept = createHash('sha1')
      .update('dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11')
      .digest('base64');
    answerInstead = (socket) => {
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\nfirst`,
      );
      socket.on('data', (chunk: Buffer) => socket.end(chunk));
    };
    const { text } = await sendRaw(
      gateway.port,
      `GET /chat/room HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\n${HANDSHAKE}\r\nearly`,
    );
    answerInstead = null;
    expect(statusOf(text)).toBe(101);
    expect(text.toLowerCase()).toContain(`sec-websocket-accept: ${accept}`.toLowerCase());
    expect(text.endsWith('\r\n\r\nfirstearly')).toBe(true);
  });
});

function once(ws: WebSocket, event: 'open' | 'close'): Promise<void> {
  return new Promise((resolve, reject) => {
    ws.once(event, () => resolve());
    ws.once('error', reject);
  });
}
