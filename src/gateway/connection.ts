import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Reason } from '../model/reason.ts';
import type { Exchange } from './exchange.ts';
import type { GatewayResponse } from './gateway-response.ts';

/** Requests of one connection that may wait for the one before them; one more is `overloaded`. */
const MAX_WAITING = 128;

/** A request that has been read, with the response that node made for it. */
export interface Arrival {
  readonly request: IncomingMessage;
  readonly response: GatewayResponse;
  readonly expectsContinue: boolean;
}

/** What a connection's requests are handed to. */
export interface ConnectionHandler {
  handle(arrival: Arrival): Exchange;
  /** Answers a request that is not judged. */
  refuse(arrival: Arrival, reason: Reason): Exchange;
  /** Ends a connection that has had its last answer, while the client still sends. */
  linger(socket: Duplex): void;
  /** Writes a last answer that belongs to no request. */
  refuseConnection(socket: Duplex, reason: Reason): void;
}

/**
 * The requests of one client connection, one at a time and in their order (RFC 9112 §9.3.2): a pipelined request is
 * judged only when the one before it has been answered. So nothing that a client sends ahead multiplies its share of
 * the upstream, and nothing is answered out of turn.
 */
export class ClientConnection {
  readonly #socket: Duplex;
  readonly #handler: ConnectionHandler;
  readonly #waiting: Arrival[] = [];
  #exchange: Exchange | null = null;
  /** Why nothing more is read after the requests that wait. */
  #failure: Reason | null = null;
  /** Has had its last answer: what still arrives is not looked at. */
  #over = false;
  #retired = false;

  constructor(socket: Duplex, handler: ConnectionHandler) {
    this.#socket = socket;
    this.#handler = handler;
  }

  /** A request is under way. */
  get busy(): boolean {
    return this.#exchange !== null;
  }

  /** Nothing more is taken. */
  get over(): boolean {
    return this.#over;
  }

  take(arrival: Arrival): void {
    if (this.#over || this.#failure !== null) return;
    if (this.#exchange === null) this.#begin(arrival);
    else {
      this.#waiting.push(arrival);
      if (this.#waiting.length > MAX_WAITING) this.#failure = 'overloaded';
    }
  }

  /** The connection leaves HTTP with this exchange, or ends with it. */
  become(exchange: Exchange): void {
    this.#over = true;
    this.#exchange = exchange;
  }

  /** The exchange under way is over: the next one's turn. */
  next(): void {
    const over = this.#exchange;
    this.#exchange = null;
    if ((over?.response.lingers === true || (this.#retired && over !== null)) && !this.#socket.destroyed) {
      this.#over = true;
      over.request.resume();
      this.#handler.linger(this.#socket);
    }
    if (this.#over || this.#socket.destroyed || !this.#socket.writable) {
      this.#waiting.length = 0;
      return;
    }
    const arrival = this.#waiting.shift();
    if (arrival !== undefined) this.#begin(arrival);
    else if (this.#failure !== null) this.#refuse(this.#failure);
  }

  /**
   * What follows on this connection cannot be read, or came too slowly. Requests that were complete before get their
   * answers; the one whose body is cut off is refused, and the connection ends.
   */
  fail(reason: Reason): void {
    if (this.#over || this.#failure !== null) return;
    if (this.#exchange === null) this.#refuse(reason);
    else {
      this.#failure = reason;
      if (this.#exchange.bodyPending) this.#exchange.response.owner?.onBroken(reason);
    }
  }

  /** Nothing more is taken, and with what is under way the connection ends. */
  retire(): void {
    this.#over = true;
    this.#retired = true;
    this.#waiting.length = 0;
  }

  /** Nothing more is taken; what is under way goes on. */
  end(): void {
    this.#over = true;
  }

  #begin(arrival: Arrival): void {
    arrival.response.turn = this;
    const last = this.#failure !== null && this.#waiting.length === 0;
    // What failed is the body of the last request that was read, or what came after it.
    this.#exchange =
      last && this.#failure !== null && (this.#failure === 'overloaded' || !arrival.request.complete)
        ? this.#handler.refuse(arrival, this.#failure)
        : this.#handler.handle(arrival);
  }

  #refuse(reason: Reason): void {
    this.#over = true;
    this.#handler.refuseConnection(this.#socket, reason);
  }
}
