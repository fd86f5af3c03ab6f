import { IncomingMessage } from 'node:http';
import { type McpMessage, TOOL_METHOD } from '../model/mcp-message.ts';
import type { Exchange } from './exchange.ts';
import type { Gateway } from './gateway.ts';
import { foldedName } from './header-kinds.ts';
import { readMcpMessage } from './mcp-message.ts';
import { type Refusal, refuse } from './refusal.ts';

/** A body that was read before the decision, to be forwarded as it came. */
export interface HeldBody {
  readonly bytes: Buffer;
  /** Nothing follows. */
  readonly complete: boolean;
}

/** Whether there can be a message at all: nothing is read of any other request. */
export function mayCarryMessage(exchange: Exchange): boolean {
  return exchange.method === 'POST' && !exchange.decisionOnly && exchange.request instanceof IncomingMessage;
}

/**
 * Reads the body of a request, whose token suffices but for its message, and keeps it. Bounded for each request by
 * `mcp_message_bytes`, for each holder and for all together by LIMITS, and in time by the listener's request timeout. Never rejects.
 */
export async function readMcpBody(gateway: Gateway, exchange: Exchange): Promise<McpMessage | Refusal> {
  const { head } = exchange;
  const limit = gateway.options.limits.mcpMessageBytes;
  if (head === null || !isJson(exchange.request.rawHeaders)) {
    return refuse('request_malformed', 'The body has to be application/json, in UTF-8 and not encoded further.');
  }
  if (head.contentLength > limit) return tooLarge(limit);
  if (head.framing !== 'chunked' && head.contentLength === 0)
    return refuse('request_malformed', 'There is no message.');
  if (exchange.expectsContinue) exchange.response.writeContinue();
  exchange.expectsContinue = false;
  const refusal = await collect(gateway, exchange, limit);
  if (refusal !== null) return refusal;
  const message = readMcpMessage(exchange.heldBody?.bytes ?? Buffer.alloc(0));
  if (typeof message === 'string') return refuse('request_malformed', message);
  if (!mirrorsAgree(exchange.request.rawHeaders, message)) {
    return refuse('request_malformed', 'Mcp-Method or Mcp-Name contradicts the message.');
  }
  return message;
}

function tooLarge(limit: number): Refusal {
  return refuse('body_too_large', `A message may have at most ${limit} bytes here.`);
}

function collect(gateway: Gateway, exchange: Exchange, limit: number): Promise<Refusal | null> {
  const { request } = exchange;
  if (!(request instanceof IncomingMessage)) throw new TypeError('a body was let in that nobody reads');
  return new Promise((resolve) => {
    let room = Buffer.alloc(0);
    let size = 0;
    // Copied, because a body of many small parts would take a hundred times what is counted of it.
    const keep = (part: Buffer): void => {
      const needed = size + part.length;
      if (needed > room.length) {
        const larger = Buffer.allocUnsafe(Math.max(needed, 2 * room.length));
        room.copy(larger, 0, 0, size);
        room = larger;
      }
      part.copy(room, size);
      size = needed;
    };
    const finish = (refusal: Refusal | null, complete: boolean): void => {
      request.off('data', onData).off('end', onEnd).off('error', onLost).off('close', onLost);
      // Answered already (408, for one): what still comes is read and dropped, so that the client has its answer.
      if (exchange.recorded) {
        resolve(refusal);
        return;
      }
      request.pause();
      exchange.heldBody = { bytes: room.subarray(0, size), complete };
      exchange.bytesIn = size;
      resolve(refusal);
    };
    const onData = (part: Buffer): void => {
      // Nobody would take it off the count again.
      if (exchange.recorded) {
        finish(refuse('request_malformed'), false);
        return;
      }
      keep(part);
      const fits = gateway.held.add(exchange, part.length);
      if (size > limit) finish(tooLarge(limit), false);
      else if (!fits) finish(refuse('overloaded'), false);
    };
    const onEnd = (): void => finish(null, true);
    // Too slow, or the client is gone: whoever noticed has answered, if there is anybody left to answer.
    const onLost = (): void => finish(refuse('request_malformed'), false);
    request.on('data', onData).on('end', onEnd).on('error', onLost).on('close', onLost);
  });
}

/** One `Content-Type: application/json` (RFC 8259 §8.1: UTF-8), and nothing that makes other bytes of these. */
function isJson(raw: readonly string[]): boolean {
  const types = valuesOf(raw, 'content-type');
  const [type = ''] = types;
  return (
    types.length === 1 &&
    /^application\/json[\t ]*(?:;[\t ]*charset="?utf-8"?[\t ]*)?$/i.test(type) &&
    valuesOf(raw, 'content-encoding').every((coding) => coding.toLowerCase() === 'identity')
  );
}

/** Newer drafts repeat method and name in header fields: never what is judged, but a back end may act on them. */
function mirrorsAgree(raw: readonly string[], { method, tool }: McpMessage): boolean {
  const names = method === TOOL_METHOD ? valuesOf(raw, 'mcp-name') : [];
  return (
    valuesOf(raw, 'mcp-method').every((value) => value === method) && names.every((value) => decoded(value) === tool)
  );
}

/** Names beyond visible ASCII come as `=?base64?…?=`. */
function decoded(value: string): string {
  const encoded = /^=\?base64\?([A-Za-z0-9+/]*={0,2})\?=$/.exec(value)?.[1];
  return encoded === undefined ? value : Buffer.from(encoded, 'base64').toString('utf8');
}

function valuesOf(raw: readonly string[], wanted: string): string[] {
  const found: string[] = [];
  for (let i = 0; i < raw.length; i += 2) {
    if (foldedName(raw[i]?.toLowerCase() ?? '') === wanted) found.push(raw[i + 1] ?? '');
  }
  return found;
}
