import { randomUUID } from 'node:crypto';
import { isIPv6 } from 'node:net';
import formbody from '@fastify/formbody';
import { type FastifyInstance, fastify } from 'fastify';
import { LIMITS } from '../base/limits.ts';
import { commonHeaders, sendRefusal } from './answer.ts';
import { ConnectionErrors } from './connection-errors.ts';
import { EventStreams } from './event-streams.ts';
import type { AdminOptions } from './options.ts';
import { guardOrigin, isLoopback } from './origin-guard.ts';
import { parseParameters } from './parameters.ts';
import { refusal } from './problem.ts';
import { addPublicRoute, addRoute } from './registration.ts';
import { allowedMethods } from './route.ts';
import { publicRoutes } from './routes/operations.ts';
import { adminRoutes } from './routes/table.ts';
import { refusalForError } from './unexpected.ts';

/** Connections at the same time; further ones are closed at once. */
const MAX_CONNECTIONS = 512;
/** How long a request's head may take to arrive, milliseconds. */
const HEADERS_TIMEOUT_MS = 10_000;
/** How long a whole request may take to arrive, milliseconds. */
const REQUEST_TIMEOUT_MS = 30_000;
const KEEP_ALIVE_TIMEOUT_MS = 65_000;
const HEADER_BYTES = 16 * 1024;
/** Longest `{id}` that is looked at before it is "not found". */
const PATH_PARAMETER_LENGTH = 128;

export interface AdminServer {
  /** The open event streams, to be ended with their tokens. */
  readonly events: EventStreams;
  /** Port 0 takes a free one. Rejects when the address cannot be had. */
  listen(host: string, port: number): Promise<{ readonly url: string; readonly port: number }>;
  /** Stops accepting, ends event streams, and resolves when the calls in flight are answered. */
  close(): Promise<void>;
}

/** The admin listener: the API under `/v1`, and `/metrics`, `/healthz` and `/readyz`. */
export function createAdminServer(options: AdminOptions): AdminServer {
  const streams = new EventStreams(options.audit, options.log);
  const calls = adminRoutes(options, streams);
  const open = publicRoutes(options, calls);
  const listener = { host: '', loopback: true };

  const app = createApp(options);
  app.addHook('onRequest', async (request, reply) => {
    reply.headers(commonHeaders(request.id));
    const foreign = guardOrigin(request.headers, listener);
    if (foreign !== null) return sendRefusal(reply, foreign, request.id);
    // Before the body is read: nobody has to be told what is wrong with a body that nothing wants.
    if (request.is404) {
      const allowed = allowedMethods([...calls, ...open], request.url);
      const refused =
        allowed.length === 0
          ? refusal('not_found', 'No such path; the API is described at /v1/openapi.json.')
          : refusal('method_not_allowed', `Allowed here: ${allowed.join(', ')}.`, {
              headers: { allow: allowed.join(', ') },
            });
      return sendRefusal(reply, refused, request.id);
    }
  });
  app.setErrorHandler((error, request, reply) =>
    sendRefusal(reply, refusalForError(error, request.id, options.log), request.id),
  );
  for (const route of calls) addRoute(app, route, options);
  for (const route of open) addPublicRoute(app, route);
  app.addHook('preClose', async () => streams.close());

  return {
    events: streams,
    listen: async (host, port) => {
      listener.host = host.toLowerCase();
      listener.loopback = isLoopback(listener.host);
      await app.listen({ host, port });
      const address = app.server.address();
      const bound = typeof address === 'object' && address !== null ? address.port : port;
      return { url: `http://${isIPv6(host) ? `[${host}]` : host}:${bound}`, port: bound };
    },
    close: async () => {
      await app.close();
    },
  };
}

function createApp(options: AdminOptions): FastifyInstance {
  const connectionErrors = new ConnectionErrors();
  const app = fastify({
    // Its lines would hold what a client sent. What is worth a line goes to the product's own log.
    logger: false,
    bodyLimit: LIMITS.adminBodyBytes,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    forceCloseConnections: 'idle',
    return503OnClosing: false,
    requestIdHeader: false,
    genReqId: () => randomUUID(),
    routerOptions: { maxParamLength: PATH_PARAMETER_LENGTH, querystringParser: parseParameters },
    http: { maxHeaderSize: HEADER_BYTES, headersTimeout: HEADERS_TIMEOUT_MS, connectionsCheckingInterval: 1000 },
    frameworkErrors: (error, request, reply) => {
      reply.headers(commonHeaders(request.id));
      return sendRefusal(reply, refusalForError(error, request.id, options.log), request.id);
    },
    clientErrorHandler: (error, socket) => connectionErrors.answer(error, socket),
  });
  app.server.maxConnections = MAX_CONNECTIONS;
  // Bounded by HEADER_BYTES; a count would drop the fields beyond it without a word.
  app.server.maxHeadersCount = 0;
  app.removeContentTypeParser(['text/plain', 'application/json']);
  const parseJson = app.getDefaultJsonParser('error', 'error');
  app.addContentTypeParser<string>('application/json', { parseAs: 'string' }, (request, body, done) => {
    // Clients announce JSON on calls whose body is optional and send none.
    if (body === '') done(null, undefined);
    else parseJson(request, body, done);
  });
  app.register(formbody, { bodyLimit: LIMITS.adminBodyBytes, parser: parseParameters });
  app.addHook('onRequest', async (request, reply) => connectionErrors.began(request.raw.socket, reply.raw));
  return app;
}
