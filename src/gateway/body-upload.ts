import type { Socket } from 'node:net';
import type { RequestBody } from './request-body.ts';

export interface UploadOwner {
  /** Something was sent. */
  onProgress(): void;
  /** The body could not be read to its end. */
  onFailure(error: Error): void;
}

/** Shorter parts are not worth the call. */
const SHORTEST_FREED_BYTES = 16 * 1024;

/** Sends a request's body over a connection, as fast as the upstream takes it; in chunks (RFC 9112 §7.1) or as it is. */
export class BodyUpload {
  readonly #socket: Socket;
  readonly #body: RequestBody;
  readonly #chunked: boolean;
  readonly #owner: UploadOwner;
  #started = false;
  #stopped = false;
  /** All of it has been given to the connection. */
  complete = false;

  constructor(socket: Socket, body: RequestBody, chunked: boolean, owner: UploadOwner) {
    this.#socket = socket;
    this.#body = body;
    this.#chunked = chunked;
    this.#owner = owner;
    body.on('error', this.#onError);
  }

  /** All that has come of it is sent, and more is to come. */
  get awaitsClient(): boolean {
    return this.#started && !this.complete && this.#socket.writableLength === 0;
  }

  /** Reads the body from now on: the client is invited to send it only when somebody is there to take it. */
  start(): void {
    if (this.#started || this.#stopped) return;
    this.#started = true;
    this.#body.on('data', this.#onData);
    this.#body.on('end', this.#onEnd);
  }

  /** The connection takes data again. */
  resume(): void {
    if (!this.#stopped && this.#started) this.#body.resume();
  }

  /** Sends no more of it. What is not read yet stays with the client's connection. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#body.off('data', this.#onData);
    this.#body.off('end', this.#onEnd);
    if (!this.complete) this.#body.destroy();
  }

  readonly #onData = (part: Buffer): void => {
    // As a chunk it would be the last (RFC 9112 §7.1).
    if (part.length === 0) return;
    this.#owner.onProgress();
    if (this.#chunked) {
      this.#socket.cork();
      this.#socket.write(`${part.length.toString(16)}\r\n`, 'latin1');
      this.#socket.write(part, freed(part));
      this.#socket.write('\r\n', 'latin1');
      this.#socket.uncork();
    } else this.#socket.write(part, freed(part));
    if (this.#socket.writableNeedDrain) this.#body.pause();
  };

  readonly #onEnd = (): void => {
    this.complete = true;
    this.#owner.onProgress();
    if (this.#chunked) this.#socket.write('0\r\n\r\n', 'latin1');
  };

  readonly #onError = (error: Error): void => {
    if (!this.#stopped) this.#owner.onFailure(error);
  };
}

/**
 * Frees the memory of a part once it is written. Node's parser gives each part memory of its own, and what is left to the collector
 * counts as pressure on it: a few hundred uploads a second made it run full collections without an end.
 */
function freed(part: Buffer): (error?: Error | null) => void {
  const { buffer, byteOffset, length } = part;
  const alone = byteOffset === 0 && buffer.byteLength === length && length >= SHORTEST_FREED_BYTES;
  if (!alone || !(buffer instanceof ArrayBuffer)) return nothing;
  return (error) => {
    if ((error === undefined || error === null) && !buffer.detached) buffer.transfer(0);
  };
}

function nothing(): void {
  // The collector sees to it.
}
