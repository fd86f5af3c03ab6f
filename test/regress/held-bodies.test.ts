/*
 * Bodies that are read before the decision are counted, all requests together. A client that begins a message, waits for its 408
 * and only then sends the rest would have these bytes counted for a request that is over, and nobody would ever take them
 * off again: eight such messages of 4 MiB, and every rule that looks at messages answers `overloaded` for good.
 */
import { once } from 'node:events';
import { connect } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import { TestGateway } from '../support/gateway.ts';
import { TestUpstream } from '../support/upstream.ts';

const POLICY = `api: mcp
upstream: mcp
rules: [ { name: talk, methods: [POST], path: /mcp, scopes: [items:use], when: { mcp: { methods: [ping] } } } ]
`;
const MESSAGE_BYTES = 4 * 1024 * 1024;

let upstream: TestUpstream;
let gateway: TestGateway;
let token: string;

beforeAll(async () => {
  upstream = await TestUpstream.start();
  gateway = await TestGateway.start({
    upstreams: { mcp: upstream.url },
    policies: { 'mcp.yaml': POLICY },
    config: {
      listen: `{ host: 127.0.0.1, port: 0, limits: { mcp_message_bytes: ${MESSAGE_BYTES / 1024}KiB, header_timeout: 1s, request_timeout: 1s } }`,
    },
  });
  ({ token } = await gateway.issue({ scopes: ['items:use'] }));
});
afterAll(async () => {
  await gateway.close();
  await upstream.close();
});

/** Resolves when the gateway has closed the connection. */
async function sendLate(): Promise<string> {
  const socket = connect({ port: gateway.port, host: '127.0.0.1', allowHalfOpen: true });
  socket.on('error', () => undefined);
  const closed = once(socket, 'close');
  let text = '';
  socket.on('data', (part: Buffer) => {
    if (text === '') socket.end(Buffer.alloc(MESSAGE_BYTES - 2, 0x20));
    text += part.toString('latin1');
  });
  socket.write(
    `POST /mcp HTTP/1.1\r\nhost: a\r\nauthorization: Bearer ${token}\r\ncontent-type: application/json\r\ncontent-length: ${MESSAGE_BYTES}\r\n\r\n{`,
  );
  await closed;
  return text.slice(0, 12);
}

it('does not count what comes of a message after its request is over', async () => {
  const late = Array.from({ length: LIMITS.heldBodyBytes / MESSAGE_BYTES + 4 }, sendLate);
  expect(new Set(await Promise.all(late))).toEqual(new Set(['HTTP/1.1 408']));
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'ping' });
  const headers = { 'content-type': 'application/json' };
  const answer = await gateway.call('/mcp', { method: 'POST', token, headers, body });
  expect({ status: answer.status, reason: answer.problem?.reason }).toEqual({ status: 200, reason: undefined });
});
