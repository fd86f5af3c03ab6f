import type { MaybePromise } from '../base/result.ts';
import { Fault } from '../model/fault.ts';
import type { Reason } from '../model/reason.ts';
import { normaliseAddress } from './client-address.ts';
import type { ClientRequest, ClientResponse } from './client-message.ts';
import { answerDecision } from './decision-endpoint.ts';
import { Exchange, type UpgradeOffer } from './exchange.ts';
import { forward } from './forward.ts';
import type { Gateway } from './gateway.ts';
import { confirm, judge, type Verdict } from './judge.ts';
import { KeySetCall, serveKeySet } from './key-set.ts';
import { OwnTokenCall, serveOwnToken } from './own-token.ts';
import { Permit } from './permit.ts';
import { refuse } from './refusal.ts';
import { ResourceMetadataCall, serveResourceMetadata } from './resource-metadata.ts';

/** A request's life: begin → judge → forward or answer → record. */
export function handleRequest(
  gateway: Gateway,
  request: ClientRequest,
  response: ClientResponse,
  expectsContinue: boolean,
): Exchange {
  const exchange = begin(gateway, request, response);
  exchange.expectsContinue = expectsContinue;
  run(gateway, exchange);
  return exchange;
}

/** The life of a WebSocket handshake: the same. What it asks for is in `offer`. */
export function handleUpgrade(
  gateway: Gateway,
  request: ClientRequest,
  response: ClientResponse,
  offer: UpgradeOffer,
): Exchange {
  const exchange = begin(gateway, request, response);
  exchange.upgrade = offer;
  run(gateway, exchange);
  return exchange;
}

/** A request that is not judged: what follows it, or its own body, could not be read. */
export function refuseRequest(
  gateway: Gateway,
  request: ClientRequest,
  response: ClientResponse,
  reason: Reason,
): Exchange {
  const exchange = begin(gateway, request, response);
  gateway.answer(exchange, refuse(reason));
  return exchange;
}

function begin(gateway: Gateway, request: ClientRequest, response: ClientResponse): Exchange {
  const peer = normaliseAddress(request.socket.remoteAddress ?? '');
  gateway.begin();
  const exchange = new Exchange(gateway, request, response, peer);
  response.owner = exchange;
  return exchange;
}

function run(gateway: Gateway, exchange: Exchange): void {
  try {
    const verdict = judge(gateway, exchange);
    if (verdict instanceof Promise) {
      verdict
        .then((settled) => confirmed(gateway, exchange, settled))
        .catch((error: unknown) => fault(gateway, exchange, error));
    } else settle(gateway, exchange, verdict);
  } catch (error) {
    fault(gateway, exchange, error);
  }
}

/** No moment lies between the last look at the token and what follows from it. */
function confirmed(gateway: Gateway, exchange: Exchange, verdict: Verdict): MaybePromise<void> {
  const last = confirm(gateway, exchange, verdict);
  if (!(last instanceof Promise)) return settle(gateway, exchange, last);
  return last.then((settled) => settle(gateway, exchange, settled));
}

function settle(gateway: Gateway, exchange: Exchange, verdict: Verdict): void {
  gateway.options.metrics.decisionSeconds((gateway.options.clock.monotonic() - exchange.startedAt) / 1000);
  // While the store was asked, the client may have gone, or its body may have failed and been answered: then nothing is
  // forwarded on its behalf.
  if (exchange.closed || exchange.status !== 0) return;
  gateway.judged(exchange);
  try {
    if (verdict instanceof Permit) {
      if (exchange.decisionOnly) answerDecision(gateway, exchange, verdict);
      else forward(gateway, verdict, exchange);
    } else if (verdict instanceof OwnTokenCall) {
      serveOwnToken(gateway, exchange, verdict).catch((error: unknown) => fault(gateway, exchange, error));
    } else if (verdict instanceof KeySetCall) serveKeySet(gateway, exchange, verdict);
    else if (verdict instanceof ResourceMetadataCall) serveResourceMetadata(gateway, exchange, verdict);
    else gateway.answer(exchange, verdict);
  } catch (error) {
    fault(gateway, exchange, error);
  }
}

/** Faults end in a refusal, never in a pass: the store's as they are, all others bland. Never throws. */
function fault(gateway: Gateway, exchange: Exchange, error: unknown): void {
  const storeFault = error instanceof Fault && error.code === 'store_unavailable';
  gateway.options.log[storeFault ? 'debug' : 'error']({ err: error, request_id: exchange.requestId }, 'request failed');
  if (exchange.closed || exchange.status !== 0) {
    if (!exchange.response.writableEnded) exchange.response.destroy();
    return;
  }
  try {
    gateway.answer(exchange, refuse(storeFault ? 'store_unavailable' : 'overloaded'));
  } catch (second) {
    gateway.options.log.error({ err: second, request_id: exchange.requestId }, 'the refusal could not be written');
    exchange.response.destroy();
  }
}
