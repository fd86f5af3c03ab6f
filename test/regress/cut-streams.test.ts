import { once } from 'node:events';
import type { Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openSocket } from '../support/raw-client.ts';
import { RawUpstream } from '../support/raw-upstream.ts';
import { Listener, type SingleApi, startSingleApi } from '../support/single-api.ts';

const HANDSHAKE =
  'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';
const SWITCH = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n';
const WHOLE_FRAME = '\x81\x02hi';
const HALF_FRAME = '\x81\x05he';

/** A server's close frame, unmasked (RFC 6455 §5.5.1). */
const closeFrame = (code: number, reason: string): string =>
  `\x88${String.fromCharCode(2 + reason.length)}${String.fromCharCode(code >> 8, code & 255)}${reason}`;

/*
 * Faults of what the gateway ends by itself: a WebSocket was cut without a close frame, so that its client could not tell
 * a revocation from a broken line and came back at once; and neither its access event nor that of a download said that it
 * had been cut, let alone why.
 */
describe('what is open with a token', () => {
  let upstream: RawUpstream;
  let api: SingleApi;
  let closed = false;

  beforeEach(async () => {
    closed = false;
    upstream = await RawUpstream.start();
    api = await startSingleApi(upstream.url);
  });

  afterEach(async () => {
    if (!closed) await api.gateway.close(0);
    await upstream.close();
  });

  const revoke = (): Promise<unknown> =>
    api.gateway.admin('POST', `/v1/tokens/${api.id}/revoke`, { reason: 'test' }).then(({ status }) => {
      expect(status).toBe(200);
    });

  /** An exchange whose answer has begun with `answer`; `text()` is what came after the head. */
  async function begun(answer: string, fields = '') {
    const answering = Promise.withResolvers<Socket>();
    upstream.answer = (_request, socket) => {
      socket.write(answer, 'latin1');
      answering.resolve(socket);
      return null;
    };
    const client = await openSocket(api.gateway.port);
    const listener = new Listener(client);
    client.write(api.request('GET /x', fields));
    const part = answer.slice(answer.indexOf('\r\n\r\n') + 4);
    await listener.until((text) => text.includes('\r\n\r\n') && text.endsWith(part));
    const text = (): string => listener.text.slice(listener.text.indexOf('\r\n\r\n') + 4);
    return { client, listener, text, server: await answering.promise };
  }

  const accessEvent = (status: number) => api.gateway.event((line) => line.status === status && line['path'] === '/x');

  it.each([
    ['a download', 200, '', 'HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nhalf'],
    ['an event stream', 200, '', 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n'],
    ['a WebSocket', 101, HANDSHAKE, SWITCH],
  ])('leaves the reason in its access event when its token is revoked: %s', async (_what, status, fields, answer) => {
    const { listener } = await begun(answer, fields);
    await revoke();
    await listener.end();
    expect(await accessEvent(status)).toMatchObject({
      type: 'access.allowed',
      outcome: 'failure',
      reason: 'token_revoked',
      token_id: api.id,
      status,
    });
    const series = /^portcullis_requests_total\{.*decision="allow",reason="token_revoked"/;
    expect(await api.gateway.metric(series)).toBe(1);
  });

  it.each([
    ['a download', 200, '', 'HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nhalf', null],
    ['a WebSocket', 101, HANDSHAKE, SWITCH, closeFrame(1008, 'token_expired')],
  ])('leaves the reason when its token expires: %s', async (_what, status, fields, answer, last) => {
    const { listener, text } = await begun(answer, fields);
    const expires_at = new Date(Date.now() + 1000).toISOString();
    expect((await api.gateway.admin('PATCH', `/v1/tokens/${api.id}`, { expires_at })).status).toBe(200);
    await listener.until((_text, ended) => ended, 30_000);
    if (last !== null) expect(text()).toBe(last);
    const event = { type: 'access.allowed', outcome: 'failure', reason: 'token_expired', token_id: api.id, status };
    expect(await accessEvent(status)).toMatchObject(event);
  });

  it('has no reason when it ends by itself', async () => {
    const { listener, server } = await begun(SWITCH, HANDSHAKE);
    server.end();
    await listener.end();
    const event = await accessEvent(101);
    expect([event.outcome, event.reason]).toEqual(['success', undefined]);
  });

  it('is told by a close frame that its token is revoked, and its own answer to it goes nowhere', async () => {
    const { client, listener, text, server } = await begun(SWITCH + WHOLE_FRAME, HANDSHAKE);
    const gone = once(server, 'close');
    let heard = '';
    server.on('data', (chunk: Buffer) => {
      heard += chunk.toString('latin1');
    });
    await revoke();
    await listener.until((got) => got.endsWith('token_revoked'));
    if (client.writable) client.write('\x88\x80\0\0\0\0', 'latin1');
    await listener.end();
    await gone;
    expect([text(), heard]).toEqual([WHOLE_FRAME + closeFrame(1008, 'token_revoked'), '']);
  });

  it('is told by a close frame that the gateway goes away', async () => {
    const { listener, text } = await begun(SWITCH, HANDSHAKE);
    closed = true;
    await Promise.all([api.gateway.close(), listener.end()]);
    expect(text()).toBe(closeFrame(1001, 'draining'));
  });

  it.each([
    ['in the middle of a frame', HALF_FRAME],
    ['after a close frame of the upstream', closeFrame(1000, '')],
  ])('is cut without a close frame %s', async (_where, sent) => {
    const { listener, text } = await begun(SWITCH + sent, HANDSHAKE);
    await revoke();
    await listener.end();
    expect(text()).toBe(sent);
  });

  it('is ended even when its client ignores the close frame', async () => {
    const { client, listener, server } = await begun(SWITCH, HANDSHAKE);
    const gone = once(server, 'close');
    client.allowHalfOpen = true;
    await revoke();
    await gone;
    await listener.until((text) => text.endsWith('token_revoked'));
    // Whatever it goes on sending, its connection is reset in the end.
    const sending = setInterval(() => client.write('\x81\x82\0\0\0\0hi', 'latin1'), 50);
    await listener.until((_text, ended) => ended, 30_000);
    clearInterval(sending);
  });
});
