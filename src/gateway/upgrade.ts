import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
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

/**
 * Joins two connections, each read only as fast as the other takes. A tunnel may be silent for as long as it likes,
 * but one whose peer takes nothing, or has closed its half, is ended after `idleMs` without a byte.
 */
export function join(client: Socket, upstream: Duplex, idleMs: number): void {
  upstream.on('error', () => upstream.destroy());
  upstream.on('close', () => client.destroySoon());
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
  upstream.pipe(client);
  client.pipe(upstream);
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
