import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Reason } from '../model/reason.ts';
import { FrameBoundary } from './frame-boundary.ts';
import { GatewayResponse, tellClose, tellDrain } from './gateway-response.ts';

/**
 * A response on the bare socket of a WebSocket handshake, which node hands over without one: refusals and the
 * upstream's own answers are written as for any other request. The connection ends with it.
 */
export function responseOn(request: IncomingMessage, socket: Socket): GatewayResponse {
  const response = new GatewayResponse(request);
  response.shouldKeepAlive = false;
  response.assignSocket(socket);
  response.on('close', tellClose);
  response.on('finish', () => socket.destroySoon());
  socket.on('drain', () => tellDrain.call(response));
  socket.on('error', () => socket.destroy());
  return response;
}

/** `Upgrade: websocket` of a 101 (RFC 6455 §4.1): an upstream that switches to anything else is not tunnelled to. */
export function isWebSocketAnswer(fields: readonly string[]): boolean {
  const offers = fields.filter((_, index) => index % 2 === 1 && fields[index - 1]?.toLowerCase() === 'upgrade');
  return offers.length === 1 && offers[0]?.trim().toLowerCase() === 'websocket';
}

/** How long a client may take to answer a close frame before its connection is ended, milliseconds. */
const CLOSING_MS = 1_000;

/**
 * Two connections joined, each read only as fast as the other takes. A tunnel may be silent for as long as it likes,
 * but one whose peer takes nothing, or has closed its half, is ended after `idleMs` without a byte. `mayPass` is asked for
 * every part, either way; what it does not let pass is dropped.
 */
export class Tunnel {
  readonly #client: Socket;
  readonly #upstream: Duplex;
  readonly #toClient = new FrameBoundary();
  readonly #onUpstreamClose: () => void;
  readonly #mayPass: () => boolean;
  #closed = false;

  constructor(client: Socket, upstream: Duplex, idleMs: number, mayPass: () => boolean) {
    this.#client = client;
    this.#upstream = upstream;
    this.#mayPass = mayPass;
    this.#onUpstreamClose = () => client.destroySoon();
    upstream.on('error', () => upstream.destroy());
    upstream.on('close', this.#onUpstreamClose);
    client.on('close', () => endSoon(upstream, idleMs));
    const onSilence = (): void => {
      const stuck = client.writableLength > 0 || upstream.writableLength > 0;
      if (stuck || client.readableEnded || upstream.readableEnded) {
        client.destroy();
        upstream.destroy();
      } else client.setTimeout(idleMs);
    };
    client.setTimeout(idleMs);
    client.on('timeout', onSilence);
    // A peer that vanishes without a word is found out by the system's own probes.
    client.setKeepAlive(true, idleMs);
    this.#relay(upstream, client, (part) => this.#toClient.push(part));
    this.#relay(client, upstream, () => undefined);
  }

  /**
   * Ends the tunnel from this side: nothing goes through any more, and the client is told why by a close frame. False,
   * and nothing is done, where no frame can be put in: in the middle of another, after the upstream's own close frame,
   * or when the client does not take what it was sent before.
   */
  close(reason: Reason): boolean {
    const client = this.#client;
    const upstream = this.#upstream;
    if (this.#closed || !this.#toClient.between || !client.writable || client.writableNeedDrain) return false;
    this.#closed = true;
    upstream.off('close', this.#onUpstreamClose);
    upstream.destroy();
    client.end(closeFrame(reason));
    // Unread, what the client still sends would reset the connection, and the frame would be lost with it.
    client.resume();
    const timer = setTimeout(() => client.destroy(), CLOSING_MS);
    client.once('close', () => clearTimeout(timer));
    return true;
  }

  #relay(from: Duplex, to: Duplex, note: (part: Buffer) => void): void {
    from.on('data', (part: Buffer) => {
      if (this.#closed || !to.writable || !this.#mayPass()) return;
      note(part);
      if (!to.write(part)) from.pause();
    });
    from.on('end', () => {
      if (!this.#closed) to.end();
    });
    to.on('drain', () => from.resume());
  }
}

/** RFC 6455 §5.5.1, §7.4.1 and the IANA registry: the code tells a client whether to come back, the text why. */
function closeFrame(reason: Reason): Buffer {
  const code = reason === 'draining' ? 1001 : reason === 'store_unavailable' ? 1013 : 1008;
  const frame = Buffer.alloc(4 + reason.length);
  frame.writeUInt8(0x88, 0);
  frame.writeUInt8(2 + reason.length, 1);
  frame.writeUInt16BE(code, 2);
  frame.write(reason, 4, 'latin1');
  return frame;
}

/** What the client sent last still goes out, for as long as anything may wait. */
function endSoon(upstream: Duplex, idleMs: number): void {
  if (upstream.destroyed || upstream.writableLength === 0) {
    upstream.destroy();
    return;
  }
  const timer = setTimeout(() => upstream.destroy(), idleMs);
  upstream.once('close', () => clearTimeout(timer));
  upstream.end(() => upstream.destroy());
}
