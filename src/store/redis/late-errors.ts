import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { TLSSocket } from 'node:tls';

/** Published by node for a socket as soon as it is to connect. */
const CONNECTING = 'net.client.socket';

/**
 * ioredis listens for one error of each connection, and a TLS connection can have two: a certificate that is not trusted,
 * and an alert or nonsense that arrived together with it. The second would end the process. From now on every TLS
 * connection that this process begins has a listener for it; those to sentinels and cluster nodes are made within the
 * library, some even after its client was closed, where nothing else reaches them. Calling it again changes nothing.
 */
export function expectLateErrors(): void {
  unsubscribe(CONNECTING, attend);
  subscribe(CONNECTING, attend);
}

function attend(message: unknown): void {
  const socket = typeof message === 'object' && message !== null && 'socket' in message ? message.socket : null;
  if (socket instanceof TLSSocket) socket.on('error', ignore);
}

/** Whoever the connection belongs to has a listener of its own, and has been told of the first. */
function ignore(): void {}
