import { STATUS_CODES } from 'node:http';
import type { FastifyReply } from 'fastify';
import { Fault, type FaultCode } from '../model/fault.ts';
import { PROBLEM_CONTENT_TYPE, problemDocument, type Refusal, refusal, retryAfterOf, statusOf } from './problem.ts';
import type { Answer } from './route.ts';

/** Every answer of this listener: it may hold a token or a record, and is nobody's page. */
export function commonHeaders(requestId: string): Readonly<Record<string, string>> {
  return {
    'portcullis-request-id': requestId,
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  };
}

export function sendAnswer(reply: FastifyReply, answer: Answer): FastifyReply {
  switch (answer.kind) {
    case 'json':
      return reply
        .code(answer.status)
        .headers({ ...answer.headers })
        .type('application/json')
        .send(bytes(JSON.stringify(answer.body)));
    case 'text':
      return reply.code(200).type(answer.contentType).send(bytes(answer.text));
    case 'stream':
      reply.hijack();
      for (const [name, value] of Object.entries(reply.getHeaders())) {
        if (value !== undefined) reply.raw.setHeader(name, value);
      }
      answer.start(reply.raw);
      return reply;
  }
}

/** To a text the framework would add a `charset`, which JSON does not have (RFC 8259 §11). */
function bytes(text: string): Buffer {
  return Buffer.from(text);
}

export function sendRefusal(reply: FastifyReply, refused: Refusal, requestId: string): FastifyReply {
  return reply
    .code(statusOf(refused.reason))
    .headers(refusalHeaders(refused))
    .type(PROBLEM_CONTENT_TYPE)
    .send(bytes(JSON.stringify(problemDocument(refused, requestId))));
}

/** The same answer as text, for a connection whose request could not be read far enough to have a response object. */
export function rawRefusal(refused: Refusal, requestId: string): string {
  const status = statusOf(refused.reason);
  const body = JSON.stringify(problemDocument(refused, requestId));
  const headers: Readonly<Record<string, string>> = {
    ...commonHeaders(requestId),
    ...refusalHeaders(refused),
    'content-type': PROBLEM_CONTENT_TYPE,
    'content-length': String(Buffer.byteLength(body)),
    connection: 'close',
  };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Refused'}\r\n${lines.join('')}\r\n${body}`;
}

function refusalHeaders(refused: Refusal): Record<string, string> {
  const retryAfter = retryAfterOf(refused.reason);
  return { ...(retryAfter === null ? {} : { 'retry-after': String(retryAfter) }), ...refused.headers };
}

/** What a caller is told of a fault, in one table; the cause goes to the log alone. */
const FAULTS: Readonly<Record<FaultCode, (fault: Fault) => Refusal>> = {
  store_unavailable: () => refusal('store_unavailable', 'The token store cannot be reached.'),
  store_full: () =>
    refusal('store_unavailable', 'The token store has no space left and refuses changes; nothing was changed.'),
  // Only the lifecycle knows what has become of the change, and says it for people: a revocation stands, others do not.
  audit_unavailable: ({ message }) =>
    refusal('audit_unavailable', `${message.charAt(0).toUpperCase()}${message.slice(1)}.`),
  conflict: () =>
    refusal('conflict', 'The token was changed by another call at the same time; look at it and repeat the call.'),
  internal: () => INTERNAL,
};

const INTERNAL = refusal(
  'internal_error',
  'Something went wrong on this side; the log has the cause under this request_id.',
);

export function refusalForFault(error: unknown): Refusal {
  return error instanceof Fault ? FAULTS[error.code](error) : INTERNAL;
}
