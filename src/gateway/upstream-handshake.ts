import type { Duplex } from 'node:stream';
import type { Dispatcher, Pool } from 'undici';
import type { UpstreamCall, UpstreamHandler } from './upstream-call.ts';

export interface HandshakeHandler extends UpstreamHandler {
  /** The upstream has switched to another protocol (RFC 9110 §7.8); the socket is the handler's now. */
  onUpgrade(status: number, fields: readonly string[], socket: Duplex): void;
}

/** The exchange is over on this side: nothing that the upstream still says is listened to. */
class Stopped extends Error {
  constructor() {
    super('the exchange is over');
    this.name = 'Stopped';
  }
}

/** The handshake of a WebSocket (RFC 6455 §4.1), carried by undici, in the terms of every other call. */
export class UpstreamHandshake implements UpstreamCall, Dispatcher.DispatchHandler {
  readonly #handler: HandshakeHandler;
  #controller: Dispatcher.DispatchController | null = null;
  #aborted = false;

  constructor(
    pool: Pool,
    { target, fields }: { readonly target: string; readonly fields: string[] },
    handler: HandshakeHandler,
  ) {
    this.#handler = handler;
    pool.dispatch({ path: target, method: 'GET', headers: fields, body: null, upgrade: 'websocket' }, this);
  }

  pause(): void {
    this.#controller?.pause();
  }

  resume(): void {
    this.#controller?.resume();
  }

  abort(): void {
    this.#aborted = true;
    this.#controller?.abort(new Stopped());
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#aborted) controller.abort(new Stopped());
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    _headers: unknown,
    statusMessage?: string,
  ): void {
    if (!this.#aborted)
      this.#handler.onHead({
        status,
        reasonPhrase: statusMessage ?? '',
        fields: textOf(controller.rawHeaders),
        framing: null,
        memo: null,
      });
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (!this.#aborted) this.#handler.onBody(chunk);
  }

  onResponseEnd(controller: Dispatcher.DispatchController): void {
    if (!this.#aborted) this.#handler.onEnd(textOf(controller.rawTrailers));
  }

  onRequestUpgrade(controller: Dispatcher.DispatchController, status: number, _headers: unknown, socket: Duplex): void {
    if (this.#aborted) socket.destroy();
    else this.#handler.onUpgrade(status, textOf(controller.rawHeaders), socket);
  }

  onResponseError(_controller: Dispatcher.DispatchController | null, error: Error): void {
    if (!this.#aborted) this.#handler.onFailure(error);
  }
}

/** undici gives the raw fields of HTTP/1.1 as one flat list of bytes. */
function textOf(raw: unknown): string[] {
  if (!Array.isArray(raw)) return [];
  return raw.map((part: unknown) => (Buffer.isBuffer(part) ? part.toString('latin1') : String(part)));
}
