import { createServer, type IncomingMessage, type Server, type ServerOptions } from 'node:http';
import { createServer as createTlsServer, Server as TlsServer } from 'node:https';
import { type AddressInfo, createServer as createTcpServer, type Socket, type Server as TcpServer } from 'node:net';
import type { Duplex } from 'node:stream';
import { type SecureContextOptions, TLSSocket } from 'node:tls';
import { LIMITS } from '../base/limits.ts';
import type { Reason } from '../model/reason.ts';
import { problemAnswer, rawProblem } from './answer.ts';
import { normaliseAddress } from './client-address.ts';
import { showsBadCertificate } from './client-certificate.ts';
import { ClientConnection, type ConnectionHandler } from './connection.ts';
import { FastConnection, type FastLane } from './fast-connection.ts';
import { Gateway } from './gateway.ts';
import { GatewayResponse, tellClose, tellDrain } from './gateway-response.ts';
import { handleRequest, handleUpgrade, refuseRequest } from './handle.ts';
import { InactivityWatch } from './inactivity.ts';
import type { GatewayOptions, TlsMaterial } from './options.ts';
import { reasonOfParserFailure } from './parser-failure.ts';
import { refuse } from './refusal.ts';
import { responseOn } from './upgrade.ts';

/** How often node looks for requests that are past their time, milliseconds. */
const CHECK_INTERVAL_MS = 1_000;

/** How long a connection that has had its last answer may take to close, milliseconds. */
const CLOSE_MS = 500;

/** The same while the client is still sending a body that nobody wants. */
const LINGER_MS = 5_000;

/** What a client's connection is read into, bytes. */
const READ_BYTES = 64 * 1024;

/** The traffic listener: accepts connections, bounds them, and drains. */
export class TrafficServer {
  readonly gateway: Gateway;
  /** What speaks HTTP of every kind. */
  readonly #server: Server;
  /** What accepts connections: `#server` itself under TLS. */
  readonly #listener: TcpServer;
  /** Connections that have brought nothing but requests of the simplest kind. */
  readonly #fast = new Map<Duplex, FastConnection>();
  readonly #lane: FastLane;
  readonly #handler: ConnectionHandler;
  readonly #connections = new WeakMap<Duplex, ClientConnection>();
  /** Connections that are open, those in a TLS handshake included. */
  readonly #accepted = new Set<Socket>();
  /** What speaks HTTP: under TLS not the accepted connection itself, but what is inside. */
  readonly #sockets = new Set<Socket>();
  /** Under TLS: connections in their handshake, by both their ends. */
  readonly #handshakes = new Map<string, Socket>();
  #clientCa: Buffer | null;
  readonly #quiet: InactivityWatch;
  readonly #dates = new DateText();

  constructor(options: GatewayOptions) {
    const gateway = new Gateway(options);
    this.gateway = gateway;
    this.#clientCa = options.tls?.clientCa ?? null;
    this.#handler = {
      handle: ({ request, response, expectsContinue }) => handleRequest(gateway, request, response, expectsContinue),
      refuse: ({ request, response }, reason) => refuseRequest(gateway, request, response, reason),
      linger: (socket) => void endSoon(socket, LINGER_MS),
      refuseConnection: (socket, reason) => this.#refuseConnection(socket, reason),
    };
    this.#quiet = new InactivityWatch(options.limits.idleTimeoutMs, (socket) => this.#onQuiet(socket));
    this.#server = this.#createServer(options);
    this.#lane = {
      headerBytes: options.limits.headerBytes,
      buffer: Buffer.allocUnsafeSlow(READ_BYTES),
      date: () => this.#dates.text(options.clock.now()),
      handle: (request, response) => handleRequest(gateway, request, response, false),
      handOver: (socket, bytes) => this.#handOver(socket, bytes),
      linger: (socket) => void endSoon(socket, LINGER_MS),
    };
    this.#listener = options.tls === null ? createTcpServer({ allowHalfOpen: true, noDelay: true }) : this.#server;
    this.#listen(options);
  }

  /** Port 0 takes a free one. Rejects when the address cannot be had. */
  async listen(host: string, port: number): Promise<{ readonly host: string; readonly port: number }> {
    await new Promise<void>((resolve, reject) => {
      this.#listener.once('error', reject);
      this.#listener.listen({ host, port, backlog: 4096 }, () => {
        this.#listener.off('error', reject);
        // Node's server looks after slow heads from here on, also where it does not accept connections itself.
        if (this.#listener !== this.#server) this.#server.emit('listening');
        resolve();
      });
    });
    const address = this.#listener.address() as AddressInfo;
    return { host: address.address, port: address.port };
  }

  /**
   * Stops accepting, lets requests in flight finish, closes open streams and idle connections. Resolves when nothing
   * is left, or after `graceMs`, when what is left is cut off.
   */
  async drain(graceMs: number = LIMITS.drainMs): Promise<void> {
    this.gateway.draining = true;
    const closed = new Promise<void>((resolve) => this.#listener.close(() => resolve()));
    if (this.#listener !== this.#server) this.#server.close();
    this.#server.closeIdleConnections();
    for (const connection of this.#fast.values()) connection.drain();
    this.gateway.streams.drain();
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
    // A connection that has just been answered gets the moment it needs to hear so.
    await Promise.all([...this.#sockets].map((socket) => endSoon(socket, CLOSE_MS)));
    this.#server.closeAllConnections();
    for (const socket of this.#accepted) socket.destroy();
    await closed;
    await this.gateway.upstreams.close();
  }

  /**
   * New handshakes use these; sessions of the old ones are not resumed, for their tickets were sealed with keys of that
   * context. Where `client_ca` has changed, whoever was let in by the old one has to show a certificate again before the next
   * request: connections end, those with a request under way when that is over. Throws where they cannot be used.
   */
  renewTls(tls: TlsMaterial): void {
    if (!(this.#server instanceof TlsServer)) throw new TypeError('a listener without TLS has no certificates');
    this.#server.setSecureContext(secureContext(tls));
    const same = this.#clientCa === null || tls.clientCa === null || this.#clientCa.equals(tls.clientCa);
    this.#clientCa = tls.clientCa;
    if (same) return;
    for (const socket of this.#handshakes.values()) socket.destroy();
    for (const socket of this.#sockets) {
      const connection = this.#connectionOf(socket);
      connection.retire();
      if (!connection.busy) void endSoon(socket, CLOSE_MS);
    }
  }

  #createServer(options: GatewayOptions): Server {
    const { limits, tls } = options;
    const http: ServerOptions<typeof IncomingMessage, typeof GatewayResponse> = {
      ServerResponse: GatewayResponse,
      maxHeaderSize: limits.headerBytes,
      headersTimeout: limits.headerTimeoutMs,
      requestTimeout: limits.requestTimeoutMs,
      // Nor a timer of node's for each request: `#quiet` looks after connections on which nothing moves.
      keepAliveTimeout: 0,
      connectionsCheckingInterval: CHECK_INTERVAL_MS,
      httpValidation: 'strict',
      // The gateway's own reading of Host is stricter, and answers in the gateway's own words.
      requireHostHeader: false,
      noDelay: true,
      optimizeEmptyRequests: true,
      shouldUpgradeCallback: (request: IncomingMessage) => this.#isWebSocketHandshake(request),
    } as ServerOptions<typeof IncomingMessage, typeof GatewayResponse>;
    const server =
      tls === null
        ? createServer(http)
        : createTlsServer({
            ...http,
            ...secureContext(tls),
            handshakeTimeout: limits.headerTimeoutMs,
            requestCert: tls.clientCa !== null,
            rejectUnauthorized: tls.clientAuth === 'require',
          });
    // node drops what is past this count without a word (and a Content-Length with it): count and refuse instead.
    server.maxHeadersCount = 0;
    server.timeout = 0;
    return server;
  }

  #listen(options: GatewayOptions): void {
    const server = this.#server;
    this.#listener.on('connection', (socket: Socket) => this.#onConnection(socket, options));
    server.on('secureConnection', (socket: TLSSocket) => this.#onSecure(socket));
    server.on('request', (request: IncomingMessage, response: GatewayResponse) =>
      this.#onRequest(request, response, false),
    );
    server.on('checkContinue', (request: IncomingMessage, response: GatewayResponse) =>
      this.#onRequest(request, response, true),
    );
    // RFC 9110 §10.1.1 lets a server ignore an expectation that it does not know; it is not forwarded.
    server.on('checkExpectation', (request: IncomingMessage, response: GatewayResponse) =>
      this.#onRequest(request, response, false),
    );
    server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) =>
      this.#onUpgrade(request, socket, head),
    );
    server.on('connect', (_request, socket: Duplex) => this.#onConnect(socket));
    server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => this.#onClientError(error, socket));
  }

  #onConnection(socket: Socket, { limits, tls }: GatewayOptions): void {
    if (this.#accepted.size >= limits.connections) {
      // Under TLS there is nobody yet to whom it could be said.
      if (tls === null) this.#connectionOf(socket).fail('overloaded');
      else socket.destroy();
      return;
    }
    track(this.#accepted, socket);
    if (tls !== null) {
      const peer = endsOf(socket);
      this.#handshakes.set(peer, socket);
      socket.on('close', () => this.#handshakes.delete(peer));
      return;
    }
    this.#speaksHttp(socket);
    // A connection that brings nothing takes its place like a head that comes too slowly.
    const silent = setTimeout(() => {
      fast.stop();
      this.#connectionOf(socket).fail('request_timeout');
    }, limits.headerTimeoutMs);
    const fast = new FastConnection(socket, this.#lane, () => clearTimeout(silent));
    this.#fast.set(socket, fast);
    socket.on('close', () => {
      clearTimeout(silent);
      this.#fast.delete(socket);
    });
  }

  /** What has come on a connection is not of the simplest kind: node's server reads it, and all that follows. */
  #handOver(socket: Socket, bytes: Buffer): void {
    this.#fast.delete(socket);
    this.#server.emit('connection', socket);
    socket.emit('data', bytes);
  }

  #onSecure(socket: TLSSocket): void {
    this.#handshakes.delete(endsOf(socket));
    // Somebody who believes to be known is told so, as with `client_auth: require`.
    if (showsBadCertificate(socket)) {
      // What has come together with the end of the handshake is read all the same.
      this.#connectionOf(socket).end();
      socket.destroy();
    } else this.#speaksHttp(socket);
  }

  #speaksHttp(socket: Socket): void {
    track(this.#sockets, socket);
    this.#quiet.add(socket);
  }

  #connectionOf(socket: Duplex): ClientConnection {
    let connection = this.#connections.get(socket);
    if (connection === undefined) {
      connection = new ClientConnection(socket, this.#handler);
      this.#connections.set(socket, connection);
    }
    return connection;
  }

  #onRequest(request: IncomingMessage, response: GatewayResponse, expectsContinue: boolean): void {
    response.on('drain', tellDrain);
    response.on('close', tellClose);
    this.#connectionOf(request.socket).take({ request, response, expectsContinue });
  }

  #onUpgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    const connection = this.#connectionOf(socket);
    if (connection.busy || connection.over) socket.destroy();
    else connection.become(handleUpgrade(this.gateway, request, responseOn(request, socket), { socket, head }));
  }

  #onConnect(socket: Duplex): void {
    const connection = this.#connectionOf(socket);
    // The answers before it can no longer be told from what it would be answered.
    if (connection.busy) socket.destroy();
    else connection.fail('request_malformed');
  }

  /** What node's parser or clock refused. */
  #onClientError(error: NodeJS.ErrnoException, socket: Duplex): void {
    const failedHandshake = socket instanceof TLSSocket && !this.#sockets.has(socket);
    if (failedHandshake || error.code === 'ECONNRESET' || !socket.writable) socket.destroy();
    else this.#connectionOf(socket).fail(reasonOfParserFailure(error));
  }

  /**
   * Nothing moved on a connection for a while. One without a request, or that does not take its answer, is ended; one
   * that waits for an answer, or holds a quiet stream, is left alone.
   */
  #onQuiet(socket: Socket): void {
    const busy = (this.#fast.get(socket) ?? this.#connections.get(socket))?.busy === true;
    if (!busy || socket.writableLength > 0) socket.destroy();
  }

  /**
   * Only a WebSocket handshake leaves HTTP (RFC 6455 §4.1); every other offer to upgrade is ignored, as it may be, and
   * so is one behind a request that has no answer yet (RFC 9110 §7.8).
   */
  #isWebSocketHandshake(request: IncomingMessage): boolean {
    const { headers } = request;
    return (
      request.method === 'GET' &&
      request.httpVersion === '1.1' &&
      headers.upgrade?.toLowerCase() === 'websocket' &&
      headers['content-length'] === undefined &&
      headers['transfer-encoding'] === undefined &&
      this.#connections.get(request.socket)?.busy !== true
    );
  }

  /** A refusal of something that never became a request: it still leaves a metric and an audit event. */
  #refuseConnection(socket: Duplex, reason: Reason): void {
    const { options, ids } = this.gateway;
    const requestId = ids.requestId();
    const answer = problemAnswer(refuse(reason), requestId);
    const ip = normaliseAddress(('remoteAddress' in socket ? String(socket.remoteAddress ?? '') : '') || '-');
    socket.on('error', () => socket.destroy());
    socket.write(rawProblem(answer), 'latin1');
    void endSoon(socket, CLOSE_MS);
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

/** Value of `Date` (RFC 9110 §6.6.1), made once a second. */
class DateText {
  #second = Number.NaN;
  #text = '';

  text(now: number): string {
    const second = Math.floor(now / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#text = new Date(now).toUTCString();
    }
    return this.#text;
  }
}

/** What a connection and the TLS inside it have in common, while it is open. */
function endsOf({ localAddress, localPort, remoteAddress, remotePort }: Socket): string {
  return `${localAddress} ${localPort} ${remoteAddress} ${remotePort}`;
}

function secureContext({ cert, key, clientCa }: TlsMaterial): SecureContextOptions {
  return { cert, key, minVersion: 'TLSv1.2', ...(clientCa === null ? {} : { ca: clientCa }) };
}

function track(sockets: Set<Socket>, socket: Socket): void {
  sockets.add(socket);
  socket.on('close', () => sockets.delete(socket));
}

/** Gives what has been written time to leave; the peer's own closing ends the wait. */
function endSoon(socket: Duplex, ms: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => socket.destroy(), ms);
    socket.once('close', () => {
      clearTimeout(timer);
      resolve();
    });
    socket.end();
  });
}
