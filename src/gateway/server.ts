import { createServer, type IncomingMessage, type Server, type ServerOptions } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { LIMITS } from '../base/limits.ts';
import type { Reason } from '../model/reason.ts';
import { problemAnswer, rawProblem } from './answer.ts';
import { normaliseAddress } from './client-address.ts';
import type { Exchange } from './exchange.ts';
import { endWith, Gateway } from './gateway.ts';
import { GatewayResponse, tellClose, tellDrain } from './gateway-response.ts';
import { handleRequest, handleUpgrade } from './handle.ts';
import type { GatewayOptions } from './options.ts';
import { refuse } from './refusal.ts';
import { Upgrades } from './upgrade.ts';

/** How often node looks for requests that are past their time, milliseconds. */
const CHECK_INTERVAL_MS = 1_000;

/** The traffic listener: accepts connections, bounds them, and drains. */
export class TrafficServer {
  readonly gateway: Gateway;
  readonly #server: Server;
  readonly #upgrades: Upgrades;
  /** The exchange that a connection is busy with, for errors that node reports by connection only. */
  readonly #active = new WeakMap<Duplex, Exchange>();
  readonly #sockets = new Set<Socket>();

  constructor(options: GatewayOptions) {
    this.gateway = new Gateway(options);
    this.#upgrades = new Upgrades(this.gateway);
    this.#server = this.#createServer(options);
    this.#listen(options);
  }

  /** Port 0 takes a free one. Rejects when the address cannot be had. */
  async listen(host: string, port: number): Promise<{ readonly host: string; readonly port: number }> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen({ host, port, backlog: 4096 }, () => {
        this.#server.off('error', reject);
        resolve();
      });
    });
    const address = this.#server.address() as AddressInfo;
    return { host: address.address, port: address.port };
  }

  /**
   * Stops accepting, lets requests in flight finish, closes open streams and idle connections. Resolves when nothing
   * is left, or after `graceMs`, when what is left is cut off.
   */
  async drain(graceMs: number = LIMITS.drainMs): Promise<void> {
    this.gateway.draining = true;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeIdleConnections();
    this.gateway.streams.closeAll();
    let timer: NodeJS.Timeout | undefined;
    const idle = new Promise<void>((resolve) => {
      this.gateway.onIdle = resolve;
      if (this.gateway.inFlight === 0) resolve();
    });
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, graceMs);
    });
    await Promise.race([idle, late]);
    clearTimeout(timer);
    this.#server.closeIdleConnections();
    const left = [...this.#sockets];
    // A connection that has just been answered gets the moment it needs to hear so.
    const gone = Promise.all(left.map((socket) => endSoon(socket)));
    await gone;
    this.#server.closeAllConnections();
    await closed;
    await this.gateway.upstreams.close();
  }

  #createServer(options: GatewayOptions): Server {
    const { limits, tls } = options;
    const http: ServerOptions<typeof IncomingMessage, typeof GatewayResponse> = {
      ServerResponse: GatewayResponse,
      maxHeaderSize: limits.headerBytes,
      headersTimeout: limits.headerTimeoutMs,
      requestTimeout: limits.requestTimeoutMs,
      keepAliveTimeout: limits.idleTimeoutMs,
      connectionsCheckingInterval: CHECK_INTERVAL_MS,
      httpValidation: 'strict',
      // The gateway's own reading of Host is stricter, and answers in the gateway's own words.
      requireHostHeader: false,
      noDelay: true,
      optimizeEmptyRequests: true,
      shouldUpgradeCallback: isWebSocketHandshake,
    } as ServerOptions<typeof IncomingMessage, typeof GatewayResponse>;
    const server =
      tls === null
        ? createServer(http)
        : createTlsServer({
            ...http,
            cert: tls.cert,
            key: tls.key,
            minVersion: 'TLSv1.2',
            ...(tls.clientCa === null ? {} : { ca: tls.clientCa, requestCert: true, rejectUnauthorized: true }),
          });
    // node drops what is past this count without a word (and a Content-Length with it): count and refuse instead.
    server.maxHeadersCount = 0;
    server.timeout = limits.idleTimeoutMs;
    return server;
  }

  #listen(options: GatewayOptions): void {
    const server = this.#server;
    server.on('connection', (socket: Socket) => this.#onConnection(socket, options));
    server.on('request', (request: IncomingMessage, response: GatewayResponse) =>
      this.#onRequest(request, response, false),
    );
    server.on('checkContinue', (request: IncomingMessage, response: GatewayResponse) =>
      this.#onRequest(request, response, true),
    );
    server.on('checkExpectation', (request: IncomingMessage, response: GatewayResponse) =>
      this.#onRequest(request, response, false),
    );
    server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      this.#active.set(socket, handleUpgrade(this.gateway, this.#upgrades, request, socket, head));
    });
    server.on('connect', (_request, socket: Duplex) => this.#refuseConnection(socket, 'request_malformed'));
    server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => this.#onClientError(error, socket));
    server.on('timeout', (socket: Socket) => onInactivity(socket, options.limits.idleTimeoutMs));
  }

  #onConnection(socket: Socket, options: GatewayOptions): void {
    if (this.#sockets.size >= options.limits.connections) {
      this.#refuseConnection(socket, 'overloaded');
      return;
    }
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
  }

  #onRequest(request: IncomingMessage, response: GatewayResponse, expectsContinue: boolean): void {
    response.on('drain', tellDrain);
    response.on('close', tellClose);
    this.#active.set(request.socket, handleRequest(this.gateway, request, response, expectsContinue));
  }

  /** What node's parser or clock refused. A request that was already under way gets its answer as any other. */
  #onClientError(error: NodeJS.ErrnoException, socket: Duplex): void {
    const exchange = this.#active.get(socket);
    if (error.code === 'ECONNRESET' || !socket.writable) {
      socket.destroy();
      return;
    }
    const reason = reasonOfClientError(error.code);
    if (exchange !== undefined && !exchange.recorded) {
      if (!exchange.bodyPending && exchange.reply.kind === 'response') {
        // The fault is in what came after a whole request: that one gets its answer, and the connection ends with it.
        exchange.reply.response.shouldKeepAlive = false;
      } else if (exchange.status !== 0) socket.destroy();
      else this.gateway.answer(exchange, refuse(reason));
      return;
    }
    this.#refuseConnection(socket, reason);
  }

  /** A refusal of something that never became a request: it still leaves a metric and an audit event. */
  #refuseConnection(socket: Duplex, reason: Reason): void {
    const { options, ids } = this.gateway;
    const requestId = ids.requestId();
    const answer = problemAnswer(refuse(reason), requestId);
    const ip = normaliseAddress(('remoteAddress' in socket ? String(socket.remoteAddress ?? '') : '') || '-');
    socket.on('error', () => socket.destroy());
    endWith(socket, rawProblem(answer));
    options.metrics.request('-', '-', 'deny', reason);
    options.metrics.response('-', answer.status);
    options.audit.record({
      type: 'access.denied',
      outcome: 'failure',
      reason,
      request_id: requestId,
      ip,
      status: answer.status,
    });
  }
}

/** Only a WebSocket handshake leaves HTTP (RFC 6455 §4.1); every other offer to upgrade is ignored, as it may be. */
function isWebSocketHandshake(request: IncomingMessage): boolean {
  const { headers } = request;
  return (
    request.method === 'GET' &&
    request.httpVersion === '1.1' &&
    headers.upgrade?.toLowerCase() === 'websocket' &&
    headers['content-length'] === undefined &&
    headers['transfer-encoding'] === undefined
  );
}

/**
 * Nothing moved on a connection for a while. One that does not take its answer is ended; one that waits for an answer,
 * or holds a quiet stream, is left alone.
 */
function onInactivity(socket: Socket, idleMs: number): void {
  if (socket.writableLength > 0) socket.destroy();
  else socket.setTimeout(idleMs);
}

function reasonOfClientError(code: string | undefined): Reason {
  if (code === 'HPE_HEADER_OVERFLOW') return 'headers_too_large';
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return 'request_timeout';
  return 'request_malformed';
}

/** Half a second for what has been written to leave; the peer's own closing ends the wait. */
function endSoon(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => socket.destroy(), 500);
    socket.once('close', () => {
      clearTimeout(timer);
      resolve();
    });
    socket.end();
  });
}
