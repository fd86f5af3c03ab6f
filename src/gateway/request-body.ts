import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import type { HeldBody } from './mcp-body.ts';

/** The body grew past the limit while it was forwarded. */
export class BodyTooLarge extends Error {
  constructor() {
    super('the request body is larger than the limit');
    this.name = 'BodyTooLarge';
  }
}

/** The client went away before its body was complete. */
export class BodyAborted extends Error {
  constructor() {
    super('the client ended the request before its body was complete');
    this.name = 'BodyAborted';
  }
}

/**
 * A request's body on its way to the upstream. It stands between the two connections so that the upstream's failure
 * does not tear down the client's connection before the client has its answer. Reads only when the upstream takes,
 * counts bytes against the limit, and invites the body (`100 Continue`) only when it is first asked for.
 */
export class RequestBody extends Readable {
  readonly #source: IncomingMessage;
  readonly #limit: number;
  readonly #invite: (() => void) | null;
  /** Read before, and first to go. */
  #held: HeldBody | null;
  #attached = false;
  bytes = 0;

  constructor(
    source: IncomingMessage,
    limit: number | null,
    invite: (() => void) | null,
    held: HeldBody | null = null,
  ) {
    super({ highWaterMark: 64 * 1024 });
    this.#source = source;
    this.#limit = limit ?? Number.POSITIVE_INFINITY;
    this.#invite = invite;
    this.#held = held;
  }

  override _read(): void {
    const held = this.#held;
    if (held !== null) {
      this.#held = null;
      if (held.bytes.length > 0) this.#onData(held.bytes);
      if (held.complete) this.#onEnd();
      if (held.complete || held.bytes.length > 0) return;
    }
    if (!this.#attached) this.#attach();
    this.#source.resume();
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    this.#source.off('data', this.#onData);
    this.#source.off('end', this.#onEnd);
    this.#source.off('close', this.#onClose);
    callback(error);
  }

  #attach(): void {
    this.#attached = true;
    this.#source.on('data', this.#onData);
    this.#source.on('end', this.#onEnd);
    this.#source.on('close', this.#onClose);
    this.#invite?.();
  }

  readonly #onData = (chunk: Buffer): void => {
    this.bytes += chunk.length;
    if (this.bytes > this.#limit) {
      this.#source.pause();
      this.destroy(new BodyTooLarge());
      return;
    }
    if (!this.push(chunk)) this.#source.pause();
  };

  readonly #onEnd = (): void => {
    this.push(null);
  };

  readonly #onClose = (): void => {
    if (!this.#source.complete) this.destroy(new BodyAborted());
  };
}
