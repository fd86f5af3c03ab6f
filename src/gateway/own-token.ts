import { IncomingMessage, STATUS_CODES } from 'node:http';
import { LIMITS } from '../base/limits.ts';
import { maskTokens } from '../base/token-mask.ts';
import type { Principal } from '../model/principal.ts';
import type { Reason } from '../model/reason.ts';
import { withinOwnBlocks } from '../policy/decide.ts';
import type { Exchange } from './exchange.ts';
import type { Gateway } from './gateway.ts';
import { refuse } from './refusal.ts';
import { ownFields } from './response-head.ts';

/**
 * The holder's own endpoints: whoever presents a token may look at it, give it a new secret, or end it, without any
 * scope. The changes themselves are injected (`OwnTokenService`): this room only reads requests and writes answers.
 */
export interface OwnTokenService {
  show(caller: OwnTokenCaller): Promise<OwnTokenOutcome>;
  /** `body` is the parsed JSON of the request, `{}` where it had none; to be validated by the service. */
  rotate(caller: OwnTokenCaller, body: unknown): Promise<OwnTokenOutcome>;
  revoke(caller: OwnTokenCaller, body: unknown): Promise<OwnTokenOutcome>;
}

/** Whose token it is; proven, and let in a moment ago. */
export interface OwnTokenCaller {
  /** Whom the token speaks for; `foreign` where somebody else issued it. */
  readonly principal: Principal;
  readonly tokenId: string;
  /** The generation whose secret was presented; an older one has grace left. */
  readonly generation: number;
  readonly requestId: string;
  /** The client's address. */
  readonly ip: string;
}

export type OwnTokenOutcome =
  | { readonly kind: 'answer'; readonly body: unknown }
  /** One of the reasons of every request. */
  | { readonly kind: 'refused'; readonly reason: Reason; readonly detail: string | null }
  | {
      readonly kind: 'problem';
      readonly reason: OwnTokenReason;
      readonly detail: string;
      readonly errors?: readonly { readonly path: string; readonly message: string }[];
    };

/** Reasons that only these endpoints give, beside those of `model/reason.ts`; the same words as in the admin API. */
export const OWN_TOKEN_REASONS = {
  request_invalid: { status: 400, title: 'The request is not valid' },
  method_not_allowed: { status: 405, title: 'The method is not allowed here' },
  conflict: { status: 409, title: 'The state of the token does not allow this' },
  media_type_unsupported: { status: 415, title: 'The content type is not supported' },
  audit_unavailable: { status: 503, title: 'The audit trail cannot be written' },
} as const satisfies Readonly<Record<string, { readonly status: number; readonly title: string }>>;
export type OwnTokenReason = keyof typeof OWN_TOKEN_REASONS;

type Problem = Extract<OwnTokenOutcome, { kind: 'problem' }>;

type Action = keyof OwnTokenService;

const ACTIONS: ReadonlyMap<string, Action> = new Map([
  ['/.portcullis/token', 'show'],
  ['/.portcullis/token/rotate', 'rotate'],
  ['/.portcullis/token/revoke', 'revoke'],
]);

/** A verdict: the request is let in, and answered here. */
export class OwnTokenCall {
  readonly action: Action;
  readonly principal: Principal;
  readonly generation: number;

  constructor(action: Action, principal: Principal, generation: number) {
    this.action = action;
    this.principal = principal;
    this.generation = generation;
  }
}

/** Null for every other path, whatever it looks like. */
export function ownTokenAction(path: string): Action | null {
  return ACTIONS.get(path) ?? null;
}

/** Answers the call. Rejects with what the service throws, except where the lifecycle says what became of the change. */
export async function serveOwnToken(gateway: Gateway, exchange: Exchange, call: OwnTokenCall): Promise<void> {
  const { action, principal } = call;
  if (exchange.upgrade !== null) {
    gateway.answer(exchange, refuse('request_malformed', 'There is nothing to upgrade to here.'));
    return;
  }
  const allowed = action === 'show' ? ['GET', 'HEAD'] : ['POST'];
  if (!allowed.includes(exchange.method)) {
    const allow = allowed.join(', ');
    sendProblem(gateway, exchange, problem('method_not_allowed', `Use ${allow}.`), ['allow', allow]);
    return;
  }
  // From anywhere a leaked token may be ended; no other use may leave the addresses that the token is bound to.
  if (action !== 'revoke' && !withinOwnBlocks(principal, exchange.client)) {
    const detail = 'The token may not be used from this address (ip).';
    gateway.answer(exchange, refuse('condition_failed', detail, { condition: 'ip' }));
    return;
  }
  const body = action === 'show' ? {} : await readJson(exchange);
  if (exchange.closed || exchange.status !== 0) return;
  if (body instanceof Unreadable) {
    if (typeof body.why === 'string') gateway.answer(exchange, refuse(body.why));
    else sendProblem(gateway, exchange, body.why);
    return;
  }
  const caller = {
    principal,
    tokenId: principal.tokenId,
    generation: call.generation,
    requestId: exchange.requestId,
    ip: exchange.client,
  };
  const outcome = await gateway.options.ownToken[action](caller, body);
  if (exchange.closed || exchange.status !== 0) return;
  if (outcome.kind === 'refused') gateway.answer(exchange, refuse(outcome.reason, outcome.detail));
  else if (outcome.kind === 'problem') sendProblem(gateway, exchange, outcome);
  else send(gateway, exchange, 200, 'application/json', JSON.stringify(outcome.body), []);
}

class Unreadable {
  readonly why: Problem | Extract<Reason, 'body_too_large' | 'request_malformed'>;

  constructor(why: Unreadable['why']) {
    this.why = why;
  }
}

export function problem(reason: OwnTokenReason, detail: string): Problem {
  return { kind: 'problem', reason, detail };
}

/** The request's body as JSON; `{}` where there is none. Bounded in size; in time by the listener's request timeout. */
async function readJson(exchange: Exchange): Promise<unknown> {
  const { request, head } = exchange;
  if (head === null || (head.framing !== 'chunked' && head.contentLength <= 0)) return {};
  if (head.contentLength > LIMITS.ownTokenBodyBytes) return new Unreadable('body_too_large');
  const type = (request.headers['content-type'] ?? '').split(';', 1)[0]?.trim().toLowerCase();
  if (type !== 'application/json') {
    return new Unreadable(problem('media_type_unsupported', 'The body has to be application/json.'));
  }
  if (exchange.expectsContinue) exchange.response.writeContinue();
  const bytes = await readBytes(exchange);
  if (!Buffer.isBuffer(bytes)) return new Unreadable(bytes);
  if (bytes.length === 0) return {};
  try {
    const parsed: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    return parsed;
  } catch {
    return new Unreadable(problem('request_invalid', 'The body is not JSON.'));
  }
}

function readBytes(exchange: Exchange): Promise<Buffer | 'body_too_large' | 'request_malformed'> {
  const { request } = exchange;
  if (!(request instanceof IncomingMessage)) throw new TypeError('a body was let in that nobody reads');
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => {
      exchange.bytesIn += chunk.length;
      if (exchange.bytesIn > LIMITS.ownTokenBodyBytes) {
        request.pause();
        resolve('body_too_large');
      } else chunks.push(chunk);
    });
    request.once('end', () => resolve(Buffer.concat(chunks)));
    // Too slow, or the client is gone: whoever noticed has answered, if there is anybody left to answer.
    request.once('error', () => resolve('request_malformed'));
    request.once('close', () => resolve('request_malformed'));
  });
}

/** Of an endpoint of the gateway's own: not what was asked for, but why not. */
export function sendProblem(
  gateway: Gateway,
  exchange: Exchange,
  refused: Problem,
  headers: readonly string[] = [],
): void {
  const { status, title } = OWN_TOKEN_REASONS[refused.reason];
  exchange.ownReason = refused.reason;
  const body = JSON.stringify({
    type: `urn:portcullis:reason:${refused.reason}`,
    title,
    status,
    detail: maskTokens(refused.detail),
    reason: refused.reason,
    request_id: exchange.requestId,
    ...(refused.errors === undefined ? {} : { errors: refused.errors.map(masked) }),
  });
  const retry = status === 503 ? ['retry-after', '1'] : [];
  send(gateway, exchange, status, 'application/problem+json', body, [...headers, ...retry]);
}

/** Errors repeat what a client sent, and somebody may put a token where a duration belongs. */
function masked({ path, message }: { readonly path: string; readonly message: string }) {
  return { path: maskTokens(path), message: maskTokens(message) };
}

/** An answer of the gateway itself to a request that was let in: it is counted as allowed. */
export function send(
  gateway: Gateway,
  exchange: Exchange,
  status: number,
  contentType: string,
  text: string,
  more: readonly string[],
  caching = 'no-store',
): void {
  const { response } = exchange;
  if (response.headersSent || response.destroyed) return;
  const length = Buffer.byteLength(text);
  const fields = ['content-type', contentType, 'content-length', String(length), 'cache-control', caching];
  fields.push(...ownFields(gateway, exchange), ...more);
  if (exchange.bodyPending || gateway.draining) fields.push('connection', 'close');
  exchange.served = true;
  exchange.status = status;
  exchange.bytesOut = exchange.method === 'HEAD' ? 0 : length;
  response.writeHead(status, STATUS_CODES[status] ?? '', fields);
  response.finish(text);
}
