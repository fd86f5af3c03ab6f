import { parseAddress } from '../base/address-range.ts';
import type { Clock } from '../base/clock.ts';
import { sha256 } from '../base/encoding.ts';
import { LIMITS } from '../base/limits.ts';
import type { MaybePromise } from '../base/result.ts';
import { Fault } from '../model/fault.ts';
import type { ForeignToken } from '../model/principal.ts';
import type { CompiledRule, RateLimit } from '../policy/compiled-policy.ts';
import type { RateCounter } from '../store/rate-counter.ts';
import type { WhenUnavailable } from '../store/token-store.ts';
import type { Exchange } from './exchange.ts';
import { allowanceOf, isStoreLost, RateWindow, type RateWindowServices } from './rate-window.ts';
import { type Refusal, refuse } from './refusal.ts';

export interface RateLimitOptions {
  readonly counter: RateCounter;
  /** Processes that share the counter, this one included. 1 only where that is certain: then nobody is asked. */
  readonly replicas: () => number;
  /** What happens to a request that needs the counter while it cannot be reached, where its API says nothing. */
  readonly onUnavailable: WhenUnavailable;
  /** How long `serve_cached` counts alone, milliseconds. */
  readonly maxStaleMs: number;
}

/** Longest subject that is kept as it is. */
const SUBJECT_CHARS = 64;

/** Who asks, and where what the client is told goes. */
type Limited = Pick<Exchange, 'principal' | 'client' | 'rateFields'>;

/** What a rule's limit is called, in the store and to clients. */
interface Names {
  readonly key: string;
  /** An RFC 9651 String. */
  readonly shown: string;
  readonly policyField: string;
}

/**
 * The rate limits of rules, shared by all processes on one store. Fields: draft-ietf-httpapi-ratelimit-headers. Windows are
 * kept by key, oldest first, and are bounded in number: one that is forgotten early lives on in the store.
 */
export class RateLimits {
  readonly #options: RateLimitOptions;
  readonly #clock: Clock;
  readonly #windows = new Map<string, RateWindow>();
  readonly #names = new WeakMap<CompiledRule, Names>();
  readonly #services: RateWindowServices;
  /** When the counter was first missed, monotonic milliseconds; null while it answers. */
  #missedAt: number | null = null;

  constructor(options: RateLimitOptions, clock: Clock) {
    this.#options = options;
    this.#clock = clock;
    this.#services = {
      count: ({ key, limit }, add) => options.counter.countRate(key, add, limit.perMs),
      monotonic: () => clock.monotonic(),
    };
  }

  /** Null when the request is within its limit. Throws or rejects with a Fault where nobody can say, and it matters. */
  check(rule: CompiledRule, limit: RateLimit, exchange: Limited): MaybePromise<Refusal | null> {
    const names = this.#namesOf(rule, limit);
    const replicas = this.#options.replicas();
    const alone = replicas === 1;
    const window = this.#window(`${names.key}${keyOf(limit, exchange)}`, limit, alone);
    if (alone) return this.#answer(window.takeAlone(), window, names, exchange);
    const allowance = this.#options.counter.countsRates ? allowanceOf(limit.requests, replicas) : 0;
    try {
      const place = window.take(allowance, allowance * replicas);
      if (!(place instanceof Promise)) {
        if (place <= limit.requests) this.#missedAt = null;
        return this.#answer(place, window, names, exchange);
      }
      return place.then(
        (told) => {
          this.#missedAt = null;
          return this.#answer(told, window, names, exchange);
        },
        (error: unknown) => this.#answer(this.#withoutStore(window, rule, error), window, names, exchange),
      );
    } catch (error) {
      return this.#answer(this.#withoutStore(window, rule, error), window, names, exchange);
    }
  }

  get size(): number {
    return this.#windows.size;
  }

  #withoutStore(window: RateWindow, rule: CompiledRule, error: unknown): number {
    if (!isStoreLost(error)) throw error;
    const now = this.#clock.monotonic();
    this.#missedAt ??= now;
    const cached = (rule.api.onUnavailable ?? this.#options.onUnavailable) === 'serve_cached';
    if (cached && now - this.#missedAt < this.#options.maxStaleMs) return window.takeAlone();
    throw new Fault('store_unavailable', 'the rate limit cannot be counted', { cause: error });
  }

  #answer(place: number, window: RateWindow, names: Names, exchange: Limited): Refusal | null {
    const { requests, perMs } = window.limit;
    const remaining = Math.max(0, requests - place);
    const seconds = Math.max(1, Math.ceil((window.endsAt - this.#clock.monotonic()) / 1000));
    exchange.rateFields = [
      'ratelimit',
      `${names.shown};r=${remaining};t=${seconds}`,
      'ratelimit-policy',
      names.policyField,
    ];
    if (place <= requests) return null;
    const detail = `At most ${requests} requests in ${Math.ceil(perMs / 1000)} s are allowed here.`;
    return refuse('rate_limited', detail, { headers: ['retry-after', String(seconds)] });
  }

  #window(key: string, limit: RateLimit, alone: boolean): RateWindow {
    const known = this.#windows.get(key);
    const now = this.#clock.monotonic();
    if (known !== undefined && now < known.endsAt) return known;
    this.#windows.delete(key);
    if (this.#windows.size >= LIMITS.rateWindows) this.#forgetOldest(now);
    const window = new RateWindow(key, limit, this.#services, alone ? 0 : (known?.carriesOver(now) ?? 0));
    this.#windows.set(key, window);
    return window;
  }

  #forgetOldest(now: number): void {
    for (const [key, window] of this.#windows) {
      this.#windows.delete(key);
      // Whoever can fill the memory must not have a count forgotten by it.
      if (window.owes && now < window.endsAt) window.tell();
      return;
    }
  }

  #namesOf(rule: CompiledRule, { requests, perMs, by }: RateLimit): Names {
    let names = this.#names.get(rule);
    if (names === undefined) {
      const shown = `"${rule.id.replace(/[^\x20-\x21\x23-\x5b\x5d-\x7e]/g, '?')}"`;
      names = {
        // A limit that was changed counts anew; one that was only reloaded goes on. No name holds a line break.
        key: `${rule.id}\n${requests}/${perMs} ${by}\n`,
        shown,
        policyField: `${shown};q=${requests};w=${Math.ceil(perMs / 1000)}`,
      };
      this.#names.set(rule, names);
    }
    return names;
  }
}

/** What the limit counts by. Without a subject the token stands for it; without a token the address. */
function keyOf(limit: RateLimit, exchange: Limited): string {
  const { principal } = exchange;
  if (limit.by === 'ip' || principal === null) return `ip ${countedAddress(exchange.client)}`;
  if (limit.by === 'subject' && principal.subject !== null) return keyOfSubject(principal.subject, principal.foreign);
  return `token ${principal.tokenId}`;
}

/** `foreign`: whose word the subject is. Subjects are texts of others, and a window is kept by its key: that of a long one is of one length. */
function keyOfSubject(subject: string, foreign: ForeignToken | null): string {
  // Two issuers may use one name for two people, and neither is to use up what is another's. The name of none holds a line break.
  if (foreign !== null) return `subject of ${sha256(`${foreign.issuer ?? ''}\n${subject}`).toString('hex')}`;
  return subject.length <= SUBJECT_CHARS ? `subject ${subject}` : `subject# ${sha256(subject).toString('hex')}`;
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
