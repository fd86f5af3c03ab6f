import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { Fault } from '../model/fault.ts';
import { normaliseAddress } from './client-address.ts';
import { Exchange, type Reply } from './exchange.ts';
import { forward } from './forward.ts';
import type { Gateway } from './gateway.ts';
import type { GatewayResponse } from './gateway-response.ts';
import { judge, type Verdict } from './judge.ts';
import { Permit } from './permit.ts';
import { refuse } from './refusal.ts';
import type { Upgrades } from './upgrade.ts';

/** A request's life: begin → judge → forward or answer → record. */
export function handleRequest(
  gateway: Gateway,
  request: IncomingMessage,
  response: GatewayResponse,
  expectsContinue: boolean,
): Exchange {
  const exchange = begin(gateway, request, { kind: 'response', response, expectsContinue });
  response.owner = { onDrain: () => undefined, onClose: () => closed(gateway, exchange) };
  run(gateway, exchange, (permit) => forward(gateway, permit, exchange, response));
  return exchange;
}

/** The life of a WebSocket handshake; the same, but for its carrier. */
export function handleUpgrade(
  gateway: Gateway,
  upgrades: Upgrades,
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
): Exchange {
  const exchange = begin(gateway, request, { kind: 'upgrade', socket, head });
  socket.on('error', () => socket.destroy());
  socket.on('close', () => {
    if (!exchange.forwarded) closed(gateway, exchange);
  });
  run(gateway, exchange, (permit) => upgrades.tunnel(permit, exchange, socket, head));
  return exchange;
}

function begin(gateway: Gateway, request: IncomingMessage, reply: Reply): Exchange {
  const peer = normaliseAddress(request.socket.remoteAddress ?? '');
  gateway.begin();
  return new Exchange(request, reply, gateway.ids.requestId(), gateway.options.clock.monotonic(), peer);
}

function run(gateway: Gateway, exchange: Exchange, carry: (permit: Permit) => void): void {
  try {
    const verdict = judge(gateway, exchange);
    if (verdict instanceof Promise) {
      verdict.then(
        (settled) => settle(gateway, exchange, settled, carry),
        (error: unknown) => fault(gateway, exchange, error),
      );
    } else settle(gateway, exchange, verdict, carry);
  } catch (error) {
    fault(gateway, exchange, error);
  }
}

function settle(gateway: Gateway, exchange: Exchange, verdict: Verdict, carry: (permit: Permit) => void): void {
  gateway.options.metrics.decisionSeconds((gateway.options.clock.monotonic() - exchange.startedAt) / 1000);
  // The client may have gone while the store was asked: then nothing is forwarded on its behalf.
  if (exchange.closed) return;
  gateway.judged(exchange);
  try {
    if (verdict instanceof Permit) carry(verdict);
    else gateway.answer(exchange, verdict);
  } catch (error) {
    fault(gateway, exchange, error);
  }
}

/** Faults end in a refusal, never in a pass: the store's as they are, all others bland. */
function fault(gateway: Gateway, exchange: Exchange, error: unknown): void {
  const storeFault = error instanceof Fault && error.code === 'store_unavailable';
  gateway.options.log[storeFault ? 'debug' : 'error']({ err: error, request_id: exchange.requestId }, 'request failed');
  gateway.answer(exchange, refuse(storeFault ? 'store_unavailable' : 'overloaded'));
}

function closed(gateway: Gateway, exchange: Exchange): void {
  exchange.closed = true;
  gateway.record(exchange);
}
