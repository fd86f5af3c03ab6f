import type { FastifyInstance, FastifyRequest } from 'fastify';
import { sendAnswer, sendRefusal } from './answer.ts';
import { authorize, type Caller, type Denial, deniedEvent } from './authorize.ts';
import { IDEMPOTENCY_KEY_LENGTH, validIdempotencyKey } from './idempotency.ts';
import type { AdminOptions } from './options.ts';
import { type Refusal, refusal, statusOf } from './problem.ts';
import { type AdminRoute, isTokenId, type PublicRoute, type RequestFacts } from './route.ts';

const MEDIA_TYPES = { json: 'application/json', form: 'application/x-www-form-urlencoded' } as const;

/**
 * Adds a call that needs a token. In this order: who calls and whether they may, then what kind of body it is, and only
 * then is the body read and validated.
 */
export function addRoute(app: FastifyInstance, route: AdminRoute, options: AdminOptions): void {
  const callers = new WeakMap<FastifyRequest, Caller>();
  app.route<{ Params: { id?: string } }>({
    method: route.method,
    url: fastifyPath(route.path),
    exposeHeadRoute: route.method === 'GET' && route.headless !== true,
    onRequest: async (request, reply) => {
      const facts = requestFacts(request, route.path);
      const outcome = await authorize(request.raw.rawHeaders, facts.ip, route.scope, options.clock.now(), options);
      if (outcome.ok) callers.set(request, outcome.caller);
      else {
        recordDenial(outcome, facts, route, options);
        const { reuse } = outcome;
        if (reuse !== undefined)
          await options.generations.reused({ ...reuse, requestId: facts.requestId, ip: facts.ip });
      }
      const refused = outcome.ok ? unsuitable(request, route) : outcome;
      if (refused === null) return;
      // The body is never read, so the connection cannot be used again.
      if (hasBody(request)) reply.header('connection', 'close');
      return sendRefusal(reply, refused, request.id);
    },
    handler: async (request, reply) => {
      const caller = callers.get(request);
      if (caller === undefined) throw new Error('a call reached its handler without a caller');
      const facts = requestFacts(request, route.path);
      const answer = await route.run({
        body: request.body,
        query: request.query,
        id: request.params.id ?? '',
        caller,
        request: facts,
      });
      if (answer.ok) return sendAnswer(reply, answer);
      if (statusOf(answer.reason) === 403) {
        recordDenial({ ...answer, tokenId: caller.principal.tokenId }, facts, route, options);
      }
      return sendRefusal(reply, answer, request.id);
    },
  });
}

function recordDenial(refused: Denial, facts: RequestFacts, route: AdminRoute, options: AdminOptions): void {
  const denied = deniedEvent(refused, facts, route.scope);
  options.audit.record(denied);
  if (refused.reason !== 'token_superseded' || refused.tokenId === null) return;
  // An old secret after its grace: somebody has kept it, wherever it is tried.
  options.lifecycle.metrics.tokenEvent('reuse');
  options.audit.record({ ...denied, type: 'token.reuse' });
}

export function addPublicRoute(app: FastifyInstance, route: PublicRoute): void {
  app.route<{ Params: { id?: string } }>({
    method: route.method,
    url: fastifyPath(route.path),
    handler: async (request, reply) => sendAnswer(reply, await route.run(requestFacts(request, route.path))),
  });
}

/** What can be said against a request before its body is read. */
function unsuitable(request: FastifyRequest, route: AdminRoute): Refusal | null {
  const key = request.headers['idempotency-key'];
  if (route.idempotent === true && key !== undefined && !validIdempotencyKey(String(key))) {
    const message = `expected 1 to ${IDEMPOTENCY_KEY_LENGTH} printable ASCII characters`;
    return refusal('request_invalid', `Idempotency-Key: ${message}`, {
      errors: [{ path: 'Idempotency-Key', message }],
    });
  }
  if (!hasBody(request)) return null;
  const wanted = MEDIA_TYPES[route.body?.kind ?? 'json'];
  const given = String(request.headers['content-type'] ?? '')
    .split(';')[0]
    ?.trim()
    .toLowerCase();
  return given === wanted ? null : refusal('media_type_unsupported', `The body has to be ${wanted}.`);
}

function hasBody(request: FastifyRequest): boolean {
  const { 'content-length': length, 'transfer-encoding': coding } = request.headers;
  return coding !== undefined || (length !== undefined && length !== '0');
}

function requestFacts(request: FastifyRequest<{ Params: { id?: string } }>, template: string): RequestFacts {
  const { id } = request.params;
  const key = request.headers['idempotency-key'];
  return {
    requestId: request.id,
    ip: normaliseAddress(request.raw.socket.remoteAddress ?? ''),
    method: request.method,
    path: id !== undefined && isTokenId(id) ? template.replace('{id}', id) : template,
    accept: request.headers.accept ?? '',
    idempotencyKey: key === undefined ? null : String(key),
  };
}

function fastifyPath(path: string): string {
  return path.replaceAll(/\{(\w+)\}/g, ':$1');
}

/** An IPv4 address that came over an IPv6 socket, as IPv4 (RFC 4291 §2.5.5.2). */
function normaliseAddress(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.)/i, '');
}
