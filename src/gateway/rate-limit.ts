import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';
import { parseAddress } from '../base/address-range.ts';
import type { CompiledRule, RateLimit } from '../policy/compiled-policy.ts';
import type { Exchange } from './exchange.ts';
import { type Refusal, refuse } from './refusal.ts';

/** The rate limits of rules, counted in this process. Fields: draft-ietf-httpapi-ratelimit-headers. */
export class RateLimits {
  readonly #limiters = new WeakMap<RateLimit, RateLimiterMemory>();

  /** Null when the request is within its limit. A limiter that fails refuses. */
  async check(rule: CompiledRule, limit: RateLimit, exchange: Exchange): Promise<Refusal | null> {
    try {
      await this.#limiter(limit).consume(`${rule.id}\n${keyOf(limit, exchange)}`);
      return null;
    } catch (rejected) {
      const waitMs = rejected instanceof RateLimiterRes ? rejected.msBeforeNext : limit.perMs;
      const seconds = String(Math.max(1, Math.ceil(waitMs / 1000)));
      const window = Math.ceil(limit.perMs / 1000);
      const name = `"${rule.id.replace(/[^\x20-\x21\x23-\x5b\x5d-\x7e]/g, '?')}"`;
      return refuse('rate_limited', `At most ${limit.requests} requests in ${window} s are allowed here.`, {
        headers: [
          'retry-after',
          seconds,
          'ratelimit',
          `${name};r=0;t=${seconds}`,
          'ratelimit-policy',
          `${name};q=${limit.requests};w=${window}`,
        ],
      });
    }
  }

  #limiter(limit: RateLimit): RateLimiterMemory {
    let limiter = this.#limiters.get(limit);
    if (limiter === undefined) {
      limiter = new RateLimiterMemory({ points: limit.requests, duration: limit.perMs / 1000 });
      this.#limiters.set(limit, limiter);
    }
    return limiter;
  }
}

/** What the limit counts by. Without a subject the token stands for it; without a token the address. */
function keyOf(limit: RateLimit, exchange: Exchange): string {
  const { principal } = exchange;
  if (limit.by === 'ip' || principal === null) return `ip ${countedAddress(exchange.client)}`;
  if (limit.by === 'subject' && principal.subject !== null) return `subject ${principal.subject}`;
  return `token ${principal.tokenId}`;
}

/**
 * What counts as one address: an IPv4 address, or the 64 leading bits of an IPv6 one, which is what one site is given
 * (RFC 6177 §2). Whole IPv6 addresses would let a single host start anew, and fill the memory, with each connection.
 */
export function countedAddress(text: string): string {
  const address = parseAddress(text);
  if (address === null || address.family === 4) return text;
  const [first = 0, second = 0] = address.words;
  return `${first.toString(16)}:${second.toString(16)}/64`;
}
