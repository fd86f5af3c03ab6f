import type { Dispatcher } from 'undici';
import type { Exchange } from './exchange.ts';
import type { Gateway } from './gateway.ts';
import type { GatewayResponse, ResponseOwner } from './gateway-response.ts';
import type { LiveStream } from './live-streams.ts';
import type { Permit } from './permit.ts';
import { refuse } from './refusal.ts';
import { BodyAborted, RequestBody } from './request-body.ts';
import { addOwnFields, readResponseHead, readTrailers } from './response-head.ts';
import { upstreamHeaders, upstreamPath } from './target.ts';
import { reasonOfFailure } from './upstream-failure.ts';
import type { Upstream } from './upstreams.ts';

/** An answer up to this size is written together with its head, in one write. */
const SMALL_ANSWER_BYTES = 16 * 1024;

class ClientGone extends Error {
  constructor() {
    super('the client is gone');
    this.name = 'ClientGone';
  }
}

/** Sends a permitted request to its upstream and streams the answer back, with back-pressure both ways. */
export function forward(gateway: Gateway, permit: Permit, exchange: Exchange, response: GatewayResponse): void {
  const upstream = gateway.upstreams.get(permit.api.upstream);
  const { head } = exchange;
  if (upstream === null || head === null) {
    gateway.answer(exchange, refuse('upstream_unreachable'));
    return;
  }
  const headers = upstreamHeaders(gateway, permit, exchange, upstream.options);
  if (upstream.options.preserveHost && head.host !== '') headers.push('host', head.host);
  let body: RequestBody | null = null;
  if (head.framing === 'chunked' || head.contentLength > 0) {
    const expects = exchange.reply.kind === 'response' && exchange.reply.expectsContinue;
    body = new RequestBody(
      exchange.request,
      gateway.options.limits.bodyBytes,
      expects ? () => response.writeContinue() : null,
    );
    if (head.framing === 'length') headers.push('content-length', String(head.contentLength));
  } else if (head.framing === 'length') headers.push('content-length', '0');
  const forwarding = new Forwarding(gateway, exchange, response, body, upstream);
  response.owner = forwarding;
  exchange.forwarded = true;
  exchange.upstreamStartedAt = gateway.options.clock.monotonic();
  upstream.pool.dispatch(
    { path: upstreamPath(permit, exchange, upstream.prefix), method: exchange.method, headers, body },
    forwarding,
  );
}

/** One forwarded request: what undici reports of the upstream, and what the response reports of the client. */
class Forwarding implements Dispatcher.DispatchHandler, ResponseOwner, LiveStream {
  readonly exchange: Exchange;
  readonly #gateway: Gateway;
  readonly #response: GatewayResponse;
  readonly #body: RequestBody | null;
  readonly #upstream: Upstream;
  #controller: Dispatcher.DispatchController | null = null;
  /** Fields of a small answer that wait for its body; null once they are written. */
  #held: string[] | null = null;
  #statusMessage = '';
  #expectedBytes = -1;
  #ended = false;

  constructor(
    gateway: Gateway,
    exchange: Exchange,
    response: GatewayResponse,
    body: RequestBody | null,
    upstream: Upstream,
  ) {
    this.exchange = exchange;
    this.#gateway = gateway;
    this.#response = response;
    this.#body = body;
    this.#upstream = upstream;
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.exchange.closed) controller.abort(new ClientGone());
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    _headers: unknown,
    statusMessage?: string,
  ): void {
    if (this.exchange.closed) return;
    const raw = rawFields(controller.rawHeaders);
    if (status < 200) {
      this.#inform(status, raw);
      return;
    }
    const { exchange } = this;
    exchange.upstreamAnsweredAt = this.#gateway.options.clock.monotonic();
    this.#gateway.options.metrics.upstreamSeconds(
      this.#upstream.options.name,
      (exchange.upstreamAnsweredAt - exchange.upstreamStartedAt) / 1000,
    );
    const head = readResponseHead(raw, status);
    addOwnFields(this.#gateway, exchange, head.fields);
    if (exchange.bodyPending) head.fields.push('connection', 'close');
    if (head.hasDate) this.#response.sendDate = false;
    exchange.status = status;
    this.#statusMessage = statusMessage ?? '';
    this.#held = head.fields;
    const bodiless = exchange.method === 'HEAD' || status === 204 || status === 304;
    this.#expectedBytes = bodiless ? 0 : head.contentLength;
    if (this.#expectedBytes >= 0 && this.#expectedBytes <= SMALL_ANSWER_BYTES) return;
    this.#writeHead();
    this.#response.flushHeaders();
    if (head.eventStream) {
      exchange.streaming = true;
      this.#gateway.streams.open(this);
    }
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    const { exchange } = this;
    if (exchange.closed) return;
    exchange.bytesOut += chunk.length;
    if (this.#held !== null) {
      const whole = chunk.length === this.#expectedBytes;
      this.#writeHead();
      if (whole) {
        this.#ended = true;
        this.#response.end(chunk.toString('latin1'), 'latin1');
        return;
      }
    }
    if (!this.#response.write(chunk)) controller.pause();
  }

  onResponseEnd(controller: Dispatcher.DispatchController): void {
    if (this.exchange.closed || this.#ended) return;
    this.#ended = true;
    if (this.#held !== null) this.#writeHead();
    const trailers = rawFields(controller.rawTrailers);
    if (trailers.length > 0) this.#response.addTrailers(readTrailers(trailers));
    this.#response.end();
  }

  onResponseError(_controller: Dispatcher.DispatchController | null, error: Error): void {
    const { exchange } = this;
    if (exchange.closed || this.#ended || error instanceof ClientGone || error instanceof BodyAborted) return;
    const reason = reasonOfFailure(error);
    if (!this.#response.headersSent) {
      this.#held = null;
      exchange.bytesOut = 0;
      this.#gateway.options.log.debug({ err: error, request_id: exchange.requestId }, 'the upstream failed');
      this.#gateway.answer(exchange, refuse(reason));
      return;
    }
    // The head is out: the only honest thing left is an answer that is visibly cut off.
    exchange.reason = reason;
    this.#response.destroy();
  }

  onDrain(): void {
    this.#controller?.resume();
  }

  onClose(): void {
    const { exchange } = this;
    exchange.closed = true;
    exchange.bytesIn = this.#body?.bytes ?? 0;
    if (!this.#response.writableFinished) this.#controller?.abort(new ClientGone());
    this.#body?.destroy();
    if (exchange.streaming) this.#gateway.streams.ended(this);
    this.#gateway.record(exchange);
  }

  /** Ends an open stream from this side (drain, revocation): the client sees it cut off. */
  close(): void {
    this.#response.destroy();
  }

  #writeHead(): void {
    const fields = this.#held ?? [];
    this.#held = null;
    this.#response.writeHead(this.exchange.status, this.#statusMessage, fields);
  }

  /** An interim answer (RFC 9110 §15.2). `100` ends here: the gateway has invited the body itself. */
  #inform(status: number, raw: readonly (Buffer | string)[]): void {
    if (status === 100 || status === 101 || this.exchange.request.httpVersion === '1.0') return;
    const { fields } = readResponseHead(raw, status);
    const headers: Record<string, string | string[]> = {};
    for (let i = 0; i < fields.length; i += 2) {
      const name = fields[i] ?? '';
      const known = headers[name];
      const value = fields[i + 1] ?? '';
      headers[name] = known === undefined ? value : [...(typeof known === 'string' ? [known] : known), value];
    }
    this.#response.writeInformation(status, headers);
  }
}

/** undici gives the raw fields of HTTP/1.1 as one flat list. */
function rawFields(raw: unknown): readonly (Buffer | string)[] {
  return Array.isArray(raw) ? raw : [];
}
