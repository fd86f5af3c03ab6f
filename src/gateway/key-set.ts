import type { Exchange } from './exchange.ts';
import type { Gateway } from './gateway.ts';
import { problem, send, sendProblem } from './own-token.ts';
import { refuse } from './refusal.ts';

/** Where upstreams find the keys that verify assertions. */
export const KEY_SET_PATH = '/.portcullis/jwks.json';

/** A verdict: whoever asks may have the keys, which are public; a token is neither needed nor looked at. */
export class KeySetCall {
  /** JWK Set (RFC 7517 §5). */
  readonly text: string;
  readonly maxAgeSeconds: number;

  constructor(text: string, maxAgeSeconds: number) {
    this.text = text;
    this.maxAgeSeconds = maxAgeSeconds;
  }
}

export function serveKeySet(gateway: Gateway, exchange: Exchange, { text, maxAgeSeconds }: KeySetCall): void {
  if (exchange.upgrade !== null) {
    gateway.answer(exchange, refuse('request_malformed', 'There is nothing to upgrade to here.'));
    return;
  }
  if (exchange.method !== 'GET' && exchange.method !== 'HEAD') {
    sendProblem(gateway, exchange, problem('method_not_allowed', 'Use GET, HEAD.'), ['allow', 'GET, HEAD']);
    return;
  }
  const caching = `public, max-age=${maxAgeSeconds}`;
  send(gateway, exchange, 200, 'application/jwk-set+json', text, [], caching);
}
