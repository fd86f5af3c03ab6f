import type { Socket } from 'node:net';
import type { Exchange } from './exchange.ts';
import { type FastRequest, readFastRequest } from './fast-request.ts';
import { FastResponse, type FastResponseOwner } from './fast-response.ts';
import { LastSection } from './header-section.ts';
import { readInto } from './shared-read.ts';

/** What the requests of a connection are handed to. */
export interface FastLane {
  /** Longest head that a client may send, bytes. */
  readonly headerBytes: number;
  /** What all connections read into: what is read has been dealt with before the next read. */
  readonly buffer: Buffer;
  /** Value of `Date` of this second. */
  date(): string;
  handle(request: FastRequest, response: FastResponse): Exchange;
  /** From here on somebody else reads the connection, beginning with these bytes, which are theirs. */
  handOver(socket: Socket, bytes: Buffer): void;
  /** Ends a connection that has had its last answer, within a time, however much its client still sends. */
  linger(socket: Socket): void;
}

/**
 * A client's connection for as long as it brings requests of the simplest kind, one after the other: without a body, each
 * in one piece. They are most of all requests, and cost half of what node's server takes for them. With the first bytes that
 * are anything else the connection is handed to node's server for the rest of its life.
 */
export class FastConnection implements FastResponseOwner {
  readonly socket: Socket;
  readonly #lane: FastLane;
  readonly #lastSection = new LastSection();
  #response: FastResponse | null = null;
  /** What came while a request was under way. Nothing more is read until that is answered. */
  #waiting: Buffer | null = null;
  /** The client has sent its last. */
  #ended = false;
  #over = false;
  /** Somebody else reads it now. */
  #released = false;
  #onFirstBytes: (() => void) | null;

  /** `onFirstBytes` is called once. */
  constructor(socket: Socket, lane: FastLane, onFirstBytes: () => void) {
    this.socket = socket;
    this.#lane = lane;
    this.#onFirstBytes = onFirstBytes;
    if (!readInto(socket, lane.buffer, this.#onRead)) socket.on('data', this.#onData);
    socket.on('drain', this.#onDrain);
    socket.on('end', this.#onEnd);
    socket.on('error', this.#onError);
    socket.on('close', this.#onClose);
  }

  /** A request is under way. */
  get busy(): boolean {
    return this.#response !== null;
  }

  get date(): string {
    return this.#lane.date();
  }

  /** Ends the connection, at once or when the request under way is answered. */
  drain(): void {
    if (this.#response !== null) {
      this.#ended = true;
      return;
    }
    this.stop();
    this.socket.end();
  }

  /** Takes nothing more: the connection is about to end, and an answer could no longer be written. */
  stop(): void {
    this.#over = true;
  }

  done(response: FastResponse): void {
    if (response !== this.#response) return;
    this.#response = null;
    response.writableFinished = !response.destroyed;
    response.owner?.onClose();
    if (this.socket.destroyed) return;
    if (response.last || this.#ended) {
      this.stop();
      this.#waiting = null;
      this.#lane.linger(this.socket);
      this.socket.resume();
      return;
    }
    const waiting = this.#waiting;
    if (waiting === null) return;
    this.#waiting = null;
    this.socket.resume();
    this.#take(waiting);
  }

  readonly #onRead = (count: number): boolean => {
    const bytes = this.#lane.buffer.subarray(0, count);
    // Whoever reads it now may keep the bytes.
    if (this.#released) return this.socket.push(Buffer.from(bytes));
    this.#onData(bytes);
    return true;
  };

  readonly #onData = (bytes: Buffer): void => {
    if (this.#onFirstBytes !== null) {
      this.#onFirstBytes();
      this.#onFirstBytes = null;
    }
    if (this.#over) return;
    if (this.#response === null) {
      this.#take(bytes);
      return;
    }
    this.#waiting = Buffer.concat(this.#waiting === null ? [bytes] : [this.#waiting, bytes]);
    this.socket.pause();
  };

  #take(bytes: Buffer): void {
    const request = readFastRequest(bytes, this.socket, this.#lane.headerBytes, this.#lastSection);
    if (request === null) {
      this.#release();
      this.#lane.handOver(this.socket, Buffer.from(bytes));
      return;
    }
    const response = new FastResponse(this, request.method === 'HEAD', request.last);
    this.#response = response;
    this.#lane.handle(request, response);
  }

  readonly #onDrain = (): void => {
    this.#response?.owner?.onDrain();
  };

  /** A client that has closed its half is taken to be gone, as node's server does. */
  readonly #onEnd = (): void => {
    this.#ended = true;
    this.socket.end();
  };

  readonly #onError = (): void => {
    this.socket.destroy();
  };

  readonly #onClose = (): void => {
    const response = this.#response;
    if (response === null) return;
    response.destroyed = true;
    this.done(response);
  };

  #release(): void {
    this.#over = true;
    this.#released = true;
    this.socket.off('data', this.#onData);
    this.socket.off('drain', this.#onDrain);
    this.socket.off('end', this.#onEnd);
    this.socket.off('error', this.#onError);
    this.socket.off('close', this.#onClose);
  }
}
