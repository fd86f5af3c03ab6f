import type { ClientRequest, IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import httpProxy from 'http-proxy-3';
import type { Exchange } from './exchange.ts';
import type { Gateway } from './gateway.ts';
import { isResponseHeaderDropped } from './header-kinds.ts';
import type { LiveStream } from './live-streams.ts';
import type { Permit } from './permit.ts';
import { refuse } from './refusal.ts';
import { addOwnFields } from './response-head.ts';
import { upstreamHeaders, upstreamPath } from './target.ts';
import { reasonOfFailure } from './upstream-failure.ts';

/** Carries permitted WebSocket handshakes (RFC 6455 §4) and their tunnels through http-proxy-3. */
export class Upgrades {
  readonly #gateway: Gateway;
  readonly #proxy: httpProxy.ProxyServer;
  readonly #tunnels = new WeakMap<IncomingMessage, Tunnel>();

  constructor(gateway: Gateway) {
    this.#gateway = gateway;
    // Paths and headers are final when they get here: the carrier must not normalise, prepend or append anything.
    this.#proxy = httpProxy.createProxyServer({ toProxy: true, prependPath: false, xfwd: false });
    this.#proxy.on('proxyReqWs', (proxyRequest, request) => this.#tunnels.get(request)?.begin(proxyRequest));
    // Each call has its own error callback; this keeps a late error of a socket from ending the process.
    this.#proxy.on('error', () => undefined);
  }

  tunnel(permit: Permit, exchange: Exchange, socket: Duplex, head: Buffer): void {
    const upstream = this.#gateway.upstreams.get(permit.api.upstream);
    if (upstream === null || exchange.head === null) {
      this.#gateway.answer(exchange, refuse('upstream_unreachable'));
      return;
    }
    const { options } = upstream;
    const headers = singleFields(upstreamHeaders(this.#gateway, permit, exchange, options));
    headers['host'] = options.preserveHost && exchange.head.host !== '' ? exchange.head.host : options.url.host;
    headers['connection'] = 'Upgrade';
    headers['upgrade'] = 'websocket';
    const { request } = exchange;
    request.headers = headers;
    const tunnel = new Tunnel(
      this.#gateway,
      exchange,
      socket,
      upstreamPath(permit, exchange, upstream.prefix),
      options,
    );
    this.#tunnels.set(request, tunnel);
    exchange.forwarded = true;
    exchange.upstreamStartedAt = this.#gateway.options.clock.monotonic();
    this.#proxy.ws(
      request,
      socket,
      head,
      { target: options.url.origin, connectTimeout: options.connectTimeoutMs },
      (error: unknown) => tunnel.fail(error),
    );
  }
}

/** One WebSocket: its handshake with the upstream, then its tunnel. */
class Tunnel implements LiveStream {
  readonly exchange: Exchange;
  readonly #gateway: Gateway;
  readonly #socket: Duplex;
  readonly #path: string;
  readonly #options: { readonly name: string; readonly responseTimeoutMs: number };
  #answered = false;

  constructor(
    gateway: Gateway,
    exchange: Exchange,
    socket: Duplex,
    path: string,
    options: { readonly name: string; readonly responseTimeoutMs: number },
  ) {
    this.exchange = exchange;
    this.#gateway = gateway;
    this.#socket = socket;
    this.#path = path;
    this.#options = options;
    socket.on('close', () => this.#ended());
  }

  /** The handshake is about to be sent: the last word on its path, and first ear for its answer. */
  begin(request: ClientRequest): void {
    request.path = this.#path;
    request.setTimeout(this.#options.responseTimeoutMs, () => {
      if (!this.#answered) request.destroy(Object.assign(new Error('no answer in time'), { code: 'ETIMEDOUT' }));
    });
    request.on('upgrade', (response) => {
      this.#onAnswer(response, true);
      request.setTimeout(0);
    });
    request.on('response', (response) => this.#onAnswer(response, false));
    this.#socket.once('close', () => request.destroy());
  }

  fail(error: unknown): void {
    if (this.#answered || this.exchange.closed) {
      this.#socket.destroy();
      return;
    }
    this.#gateway.answer(this.exchange, refuse(reasonOfFailure(error)));
  }

  close(): void {
    this.#socket.destroy();
  }

  #onAnswer(response: IncomingMessage, upgraded: boolean): void {
    const { exchange } = this;
    this.#answered = true;
    exchange.status = response.statusCode ?? 0;
    exchange.upstreamAnsweredAt = this.#gateway.options.clock.monotonic();
    this.#gateway.options.metrics.upstreamSeconds(
      this.#options.name,
      (exchange.upstreamAnsweredAt - exchange.upstreamStartedAt) / 1000,
    );
    for (const name of Object.keys(response.headers)) {
      if (upgraded && (name === 'connection' || name === 'upgrade')) continue;
      if (isResponseHeaderDropped(name)) delete response.headers[name];
    }
    const own: string[] = [];
    addOwnFields(this.#gateway, exchange, own);
    for (let i = 0; i < own.length; i += 2) response.headers[own[i] ?? ''] = own[i + 1];
    if (!upgraded) {
      response.headers['connection'] = 'close';
      return;
    }
    exchange.streaming = true;
    this.#gateway.streams.open(this);
  }

  #ended(): void {
    const { exchange } = this;
    if (exchange.closed) return;
    exchange.closed = true;
    if (exchange.streaming) this.#gateway.streams.ended(this);
    this.#gateway.record(exchange);
  }
}

/** Name and value in turn, as the object that http-proxy-3 takes; repeated fields stay separate. */
function singleFields(fields: readonly string[]): Record<string, string | string[]> {
  const headers: Record<string, string | string[]> = {};
  for (let i = 0; i < fields.length; i += 2) {
    const name = (fields[i] ?? '').toLowerCase();
    const value = fields[i + 1] ?? '';
    const known = headers[name];
    headers[name] = known === undefined ? value : [...(typeof known === 'string' ? [known] : known), value];
  }
  return headers;
}
