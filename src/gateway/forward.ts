import { IncomingMessage, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Reason } from '../model/reason.ts';
import type { AnswerHead } from './answer-heads.ts';
import type { ClientResponse } from './client-message.ts';
import type { Exchange, UpgradeOffer } from './exchange.ts';
import type { Gateway } from './gateway.ts';
import type { ResponseOwner } from './gateway-response.ts';
import type { LiveStream } from './live-streams.ts';
import type { Permit } from './permit.ts';
import { refuse } from './refusal.ts';
import { BodyAborted, RequestBody } from './request-body.ts';
import type { RequestHead } from './request-head.ts';
import { ownFields, type ResponseHead, reasonPhrase } from './response-head.ts';
import { type UpstreamFields, upstreamHeaders, upstreamPath } from './target.ts';
import { isWebSocketAnswer, Tunnel } from './upgrade.ts';
import type { UpstreamCall } from './upstream-call.ts';
import { reasonOfFailure, UpstreamInvalid } from './upstream-failure.ts';
import { type HandshakeHandler, UpstreamHandshake } from './upstream-handshake.ts';
import type { Upstream } from './upstreams.ts';

/** An answer up to this size is written together with its head, in one write. */
const SMALL_ANSWER_BYTES = 16 * 1024;

/** Interim answers that are relayed for one request; an upstream that sends more is not in its senses. */
const MAX_INTERIM_ANSWERS = 16;

/** Sends a permitted request to its upstream and streams the answer back, with back-pressure both ways. */
export function forward(gateway: Gateway, permit: Permit, exchange: Exchange): void {
  const upstream = gateway.upstreams.get(permit.api.upstream);
  const { head } = exchange;
  if (upstream === null || head === null) {
    gateway.answer(exchange, refuse('upstream_unreachable'));
    return;
  }
  // Since its token was looked up the request may have waited, for its rate limit for one.
  const refused = gateway.streams.refusal(exchange);
  if (refused !== null) {
    gateway.answer(exchange, refuse(refused));
    return;
  }
  const fields = upstreamHeaders(gateway, permit, exchange, upstream);
  const body = bodyOf(gateway, exchange);
  const forwarding = new Forwarding(gateway, exchange, body, upstream);
  gateway.streams.enter(forwarding);
  exchange.response.owner = forwarding;
  exchange.forwarded = true;
  exchange.upstreamStartedAt = gateway.options.clock.monotonic();
  forwarding.send(upstreamPath(permit, exchange, upstream.prefix), fields, head);
}

/** Methods whose requests say that they have no body where they have none (RFC 9110 §8.6). */
const EXPECTS_BODY: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH', 'QUERY', 'PROPFIND', 'PROPPATCH']);

/** Null where the request has none; then nothing of a body is sent either. */
function bodyOf(gateway: Gateway, exchange: Exchange): RequestBody | null {
  const { head, response } = exchange;
  if (head === null || (head.framing !== 'chunked' && head.contentLength === 0)) return null;
  if (!(exchange.request instanceof IncomingMessage)) throw new TypeError('a body was let in that nobody reads');
  const invite = (): void => {
    if (!response.headersSent) response.writeContinue();
  };
  const { bodyBytes } = gateway.options.limits;
  return new RequestBody(exchange.request, bodyBytes, exchange.expectsContinue ? invite : null, exchange.heldBody);
}

/** One forwarded request: what is heard of the upstream, and what the response reports of the client. */
class Forwarding implements HandshakeHandler, ResponseOwner, LiveStream {
  readonly exchange: Exchange;
  readonly #gateway: Gateway;
  readonly #response: ClientResponse;
  readonly #body: RequestBody | null;
  readonly #upstream: Upstream;
  #call: UpstreamCall | null = null;
  /** The head of a small answer that waits for its body; null once it is written. */
  #held: ResponseHead | null = null;
  /** The gateway's own fields of the answer, name and value in turn. */
  #ownFields: string[] = [];
  #statusMessage = '';
  #expectedBytes = -1;
  /** The answer has come before the request's body was complete. */
  #early = false;
  #interimAnswers = 0;
  /** Counters of the client's socket when its tunnel began. */
  #tunnelStart: { readonly bytesRead: number; readonly bytesWritten: number } | null = null;
  #tunnel: Tunnel | null = null;
  /** Counted among the open streams. */
  #opened = false;
  expiresAt: number | null;
  place = -1;
  /** The answer is complete, or has been replaced by one of the gateway's own. */
  #ended = false;

  constructor(gateway: Gateway, exchange: Exchange, body: RequestBody | null, upstream: Upstream) {
    this.exchange = exchange;
    this.expiresAt = exchange.principal?.expiresAt ?? null;
    this.#gateway = gateway;
    this.#response = exchange.response;
    this.#body = body;
    this.#upstream = upstream;
  }

  send(target: string, { lines, fields }: UpstreamFields, head: RequestHead): void {
    const { exchange } = this;
    const { pool, handshakes } = this.#upstream;
    if (exchange.upgrade !== null) {
      this.#call = new UpstreamHandshake(handshakes, { target, fields }, this);
      return;
    }
    const chunked = head.framing === 'chunked';
    if (chunked) fields.push('transfer-encoding', 'chunked');
    else if (head.framing === 'length' || EXPECTS_BODY.has(exchange.method)) {
      fields.push('content-length', String(head.contentLength));
    }
    const request = { method: exchange.method, target, lines, fields, body: this.#body, chunked };
    this.#call = pool.dispatch(request, this);
  }

  onHead(answer: AnswerHead): void {
    const { exchange } = this;
    const { status } = answer;
    if (exchange.closed || this.#ended) return;
    if (status < 200) {
      this.#inform(answer);
      return;
    }
    this.#answered(status);
    const bodiless = exchange.method === 'HEAD' || status === 204 || status === 304;
    const head = this.#gateway.answers.relayed(answer, !bodiless && exchange.request.httpVersion === '1.1');
    if (head === null) throw new UpstreamInvalid('a transfer coding other than chunked');
    const own = ownFields(this.#gateway, exchange);
    this.#early = exchange.bodyPending;
    if (this.#early || this.#gateway.draining) own.push('connection', 'close');
    this.#statusMessage = reasonPhrase(answer.reasonPhrase);
    this.#held = head;
    this.#ownFields = own;
    this.#expectedBytes = bodiless ? 0 : head.contentLength;
    if (this.#expectedBytes >= 0 && this.#expectedBytes <= SMALL_ANSWER_BYTES) return;
    if (this.#isCut()) return;
    exchange.streaming = head.eventStream;
    if (!this.#open()) return;
    this.#writeHead();
    this.#response.flushHeaders();
  }

  onBody(part: Buffer): void {
    const { exchange } = this;
    if (exchange.closed || this.#ended) return;
    const whole = this.#held !== null && part.length === this.#expectedBytes;
    if (!whole && this.#isCut()) return;
    exchange.bytesOut += part.length;
    if (this.#held !== null) this.#writeHead();
    // The bytes are the connection's own; the response may have to keep them for a while.
    const { bytes, written } = this.#gateway.buffers.copyOf(part);
    if (!this.#response.write(bytes, written)) this.#call?.pause();
  }

  onWholeBody(body: string): void {
    const { exchange } = this;
    if (exchange.closed || this.#ended) return;
    if (this.#held === null && this.#isCut()) return;
    exchange.bytesOut += body.length;
    if (this.#held === null) {
      if (!this.#response.write(Buffer.from(body, 'latin1'))) this.#call?.pause();
      return;
    }
    this.#writeHead();
    this.#ended = true;
    this.#response.finish(body, 'latin1');
  }

  onEnd(trailers: readonly string[]): void {
    if (this.exchange.closed || this.#ended) return;
    if (trailers.length > 0 && this.#isCut()) return;
    if (this.#held !== null) this.#writeHead();
    if (trailers.length > 0) this.#response.addTrailers(this.#gateway.answers.readTrailers(trailers));
    // Not before: what fails until here is a failure that the client has to be told.
    this.#ended = true;
    this.#response.finish();
  }

  /** The upstream has switched to another protocol. */
  onUpgrade(status: number, fields: readonly string[], socket: Duplex): void {
    const { exchange } = this;
    const offer = exchange.upgrade;
    if (exchange.closed || this.#ended || offer === null) {
      socket.destroy();
      return;
    }
    this.#answered(status);
    const head = this.#gateway.answers.read(fields, status, false);
    if (head === null || status !== 101 || !isWebSocketAnswer(fields)) {
      socket.destroy();
      this.#replace('upstream_invalid');
      return;
    }
    exchange.streaming = true;
    if (this.#isCut() || !this.#open()) {
      socket.destroy();
      return;
    }
    const own = ownFields(this.#gateway, exchange);
    this.#join(offer, socket, ['connection', 'Upgrade', 'upgrade', 'websocket', ...head.fields, ...own]);
  }

  /** Must not throw: whoever calls it has no other way to tell the client. */
  onFailure(error: Error): void {
    const { exchange } = this;
    if (exchange.closed || this.#ended || error instanceof BodyAborted) return;
    this.#gateway.options.log.debug({ err: error, request_id: exchange.requestId }, 'the upstream failed');
    try {
      this.#replace(reasonOfFailure(error));
    } catch (second) {
      this.#gateway.options.log.error({ err: second, request_id: exchange.requestId }, 'the refusal was not written');
      this.#response.destroy();
    }
  }

  onDrain(): void {
    this.#call?.resume();
  }

  onBroken(reason: Reason): void {
    if (!this.#ended) this.#replace(reason);
  }

  onClose(): void {
    const { exchange } = this;
    exchange.closed = true;
    exchange.bytesIn = this.#body?.bytes ?? 0;
    if (this.#tunnelStart !== null && exchange.upgrade !== null) {
      exchange.bytesIn = exchange.upgrade.socket.bytesRead - this.#tunnelStart.bytesRead;
      exchange.bytesOut = exchange.upgrade.socket.bytesWritten - this.#tunnelStart.bytesWritten;
    }
    if (!this.#ended || !this.#response.writableFinished) this.#call?.abort();
    this.#body?.destroy();
    this.#gateway.streams.ended(this, this.#opened);
    this.#gateway.record(exchange);
  }

  /** Ends the exchange from this side (drain, revocation, the token's end). */
  close(reason: Reason): void {
    const begun = this.#ended || this.#tunnelStart !== null || this.#response.headersSent;
    if (!begun) {
      this.#replace(reason);
      return;
    }
    this.exchange.reason ??= reason;
    // What has been read already is not passed on either.
    this.#ended = true;
    if (this.#tunnel?.close(reason) !== true) this.#cutOff();
  }

  /**
   * What comes in parts may outlast what let it in: a process that was stopped finds the parts of that time in its sockets
   * before anything tells it that its lease is over. True: nothing more goes through, in either direction.
   */
  #isCut(): boolean {
    const { principal, api } = this.exchange;
    if (principal === null) return false;
    const { standing } = this.#gateway.options;
    const reason = standing(principal, api?.onUnavailable ?? null);
    if (reason !== null) this.#gateway.streams.cut(this, reason);
    return reason !== null;
  }

  #answered(status: number): void {
    const { exchange } = this;
    exchange.status = status;
    exchange.upstreamAnsweredAt = this.#gateway.options.clock.monotonic();
    this.#gateway.options.metrics.upstreamSeconds(
      this.#upstream.options.name,
      (exchange.upstreamAnsweredAt - exchange.upstreamStartedAt) / 1000,
    );
  }

  /** Enters the answer among the open ones; false when things have changed and the client has been told so instead. */
  #open(): boolean {
    const refused = this.#gateway.streams.open(this);
    if (refused !== null) this.#replace(refused);
    this.#opened = refused === null && this.exchange.streaming;
    return refused === null;
  }

  /** Gives up on the upstream: a refusal where the client has seen nothing yet, else an answer that is visibly cut off. */
  #replace(reason: Reason): void {
    const { exchange } = this;
    this.#ended = true;
    this.#held = null;
    this.#call?.abort();
    if (this.#response.headersSent) {
      exchange.reason = reason;
      this.#cutOff();
      return;
    }
    exchange.bytesOut = 0;
    this.#gateway.answer(exchange, refuse(reason));
  }

  /**
   * Nothing in a body that ends with its connection tells an end from a cut, so that the reset has to. (A TLS client
   * misses the `close_notify`.)
   */
  #cutOff(): void {
    const { exchange } = this;
    const { socket } = exchange.request;
    const delimited = this.#response.chunkedEncoding || this.#expectedBytes >= 0 || exchange.upgrade !== null;
    if (!delimited && this.#gateway.options.tls === null) socket.resetAndDestroy();
    this.#response.destroy();
  }

  #writeHead(): void {
    const head = this.#held;
    if (head === null) return;
    this.#held = null;
    this.#response.relayHead(this.exchange.status, this.#statusMessage, head, this.#ownFields);
    if (this.#early) this.#response.linger();
  }

  #join({ socket: client, head }: UpgradeOffer, upstream: Duplex, fields: readonly string[]): void {
    let text = `HTTP/1.1 101 ${STATUS_CODES[101]}\r\n`;
    for (let i = 0; i < fields.length; i += 2) text += `${fields[i]}: ${fields[i + 1]}\r\n`;
    client.write(`${text}\r\n`, 'latin1');
    if (head.length > 0) upstream.write(head);
    const { idleTimeoutMs } = this.#gateway.options.limits;
    this.#tunnelStart = { bytesRead: client.bytesRead - head.length, bytesWritten: client.bytesWritten };
    this.#tunnel = new Tunnel(client, upstream, idleTimeoutMs, () => !this.#isCut());
  }

  /** An interim answer (RFC 9110 §15.2). `100` ends here: the gateway has invited the body itself. */
  #inform({ status, fields }: AnswerHead): void {
    if (status < 100 || status === 101) throw new UpstreamInvalid(`an answer with the status ${status}`);
    this.#interimAnswers += 1;
    if (this.#interimAnswers > MAX_INTERIM_ANSWERS) throw new UpstreamInvalid('too many interim answers');
    if (status === 100 || this.exchange.request.httpVersion === '1.0') return;
    const head = this.#gateway.answers.read(fields, status, false);
    if (head !== null && !this.#response.headersSent) this.#response.writeInformation(status, [...head.fields]);
  }
}
