import type { Cluster, Redis } from 'ioredis';
import { RateLimiterRedis } from 'rate-limiter-flexible';
import { sha256 } from '../../base/encoding.ts';
import type { RateCount } from '../rate-counter.ts';
import type { Keys } from './keys.ts';
import type { RedisLink } from './redis-link.ts';
import { SCRIPTS } from './scripts.ts';

/** The counts of rate limits in Redis, through the limiter of rate-limiter-flexible. */
export class RedisRateCounts {
  readonly #link: RedisLink;
  readonly #limiter: RateLimiterRedis;

  constructor(link: RedisLink, client: Redis | Cluster, keys: Keys) {
    this.#link = link;
    this.#limiter = new RateLimiterRedis({
      storeClient: client,
      keyPrefix: keys.rates(),
      // What a count means is for the caller to say.
      points: Number.MAX_SAFE_INTEGER,
      // Each count brings its own.
      duration: 1,
      // Its own script knows whole seconds only. This one takes the duration as milliseconds.
      customIncrTtlLuaScript: SCRIPTS.rlflxIncr.lua,
    });
  }

  async count(key: string, add: number, perMs: number): Promise<RateCount> {
    // Subjects are texts of others: the name is of one length, and nobody's text.
    const name = sha256(key).toString('hex');
    const { consumedPoints, msBeforeNext } = await this.#link.run(() =>
      // Counts and never refuses, which `consume` would.
      this.#limiter.penalty(name, add, { customDuration: perMs }),
    );
    return { count: consumedPoints, leftMs: Math.max(1, msBeforeNext) };
  }

  get reachable(): boolean {
    return !this.#link.lost;
  }
}
