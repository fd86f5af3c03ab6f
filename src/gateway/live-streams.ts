import type { Clock } from '../base/clock.ts';
import type { Metrics } from '../metrics/metrics.ts';
import type { Principal } from '../model/principal.ts';
import type { Reason } from '../model/reason.ts';
import type { CompiledApi } from '../policy/compiled-policy.ts';
import type { Exchange } from './exchange.ts';

/** A permitted request that is not over yet, and the way to end it. */
export interface LiveStream {
  readonly exchange: Exchange;
  /** When its token ends, milliseconds since the epoch; null without a token. Moves when the record is changed. */
  expiresAt: number | null;
  /** Where it stands among those of its token; for these alone. */
  place: number;
  /** The client is told the reason where it has seen nothing of an answer yet; otherwise the answer is visibly cut off. */
  close(reason: Reason): void;
}

/** Revoked tokens that are remembered; older ones have long no request left that began before its revocation. */
const MAX_REVOKED = 10_000;

/** Tokens without a request under way whose places are kept, so that the next request need not make one. */
const KEPT_PLACES = 1_000;

/** Longest delay of a timer (Node: a signed 32-bit number of milliseconds). */
const MAX_DELAY_MS = 2 ** 31 - 1;

/**
 * The requests under way of one token. A Set would do but for this: it takes a new table whenever the one in use is full of what
 * was deleted, and the old table points to the new one. Once the collector counts one of them among the old objects, they all hold
 * one another, and with them every request that ever was, until the next full collection.
 */
class UnderWay implements Iterable<LiveStream> {
  readonly #streams: LiveStream[] = [];

  get size(): number {
    return this.#streams.length;
  }

  [Symbol.iterator](): Iterator<LiveStream> {
    return this.#streams[Symbol.iterator]();
  }

  add(stream: LiveStream): void {
    stream.place = this.#streams.length;
    this.#streams.push(stream);
  }

  /** Does nothing where it has been taken out already. */
  delete(stream: LiveStream): void {
    const { place } = stream;
    if (this.#streams[place] !== stream) return;
    const last = this.#streams.pop();
    if (last === undefined || last === stream) return;
    last.place = place;
    this.#streams[place] = last;
  }
}

/**
 * The requests under way of this process, by token, from the moment they are permitted: WebSockets, event streams,
 * downloads, and also those whose answer has not begun. Answers without an end of their own (`exchange.streaming`) are
 * counted, and closed by a drain.
 */
export class LiveStreams {
  readonly #byToken = new Map<string, UnderWay>();
  /** A request that was let in before its token was revoked may come to be permitted only now. */
  readonly #revoked = new Set<string>();
  readonly #metrics: Metrics;
  readonly #clock: Clock;
  readonly #isRevoked: (principal: Principal) => boolean;
  #draining = false;
  /** One timer for all: the earliest end of a token that has had a request under way. */
  #nextExpiry = Number.POSITIVE_INFINITY;
  #timer: NodeJS.Timeout | null = null;

  /** `isRevoked`: what is known at once of a token that somebody else issued. */
  constructor(metrics: Metrics, clock: Clock, isRevoked: (principal: Principal) => boolean) {
    this.#metrics = metrics;
    this.#clock = clock;
    this.#isRevoked = isRevoked;
  }

  /** What has become of the request's token since it was looked up. Null: nothing. */
  refusal({ tokenId, principal }: Pick<Exchange, 'tokenId' | 'principal'>): Reason | null {
    if (tokenId === null || principal === null) return null;
    if (this.#revoked.size > 0 && this.#revoked.has(tokenId)) return 'token_revoked';
    if (principal.foreign !== null && this.#isRevoked(principal)) return 'token_revoked';
    return principal.expiresAt <= this.#clock.now() ? 'token_expired' : null;
  }

  /** In one go with `refusal`: no moment lies between the last look at the token and its being found here. */
  enter(stream: LiveStream): void {
    const key = stream.exchange.tokenId ?? '';
    let streams = this.#byToken.get(key);
    if (streams === undefined) {
      streams = new UnderWay();
      this.#byToken.set(key, streams);
    }
    streams.add(stream);
    if (stream.expiresAt !== null && stream.expiresAt < this.#nextExpiry) this.#expectExpiry(stream.expiresAt);
  }

  /** The answer begins, and it is a long one. Why it must not after all, or null. */
  open({ exchange: { streaming, api } }: LiveStream): Reason | null {
    if (!streaming) return null;
    if (this.#draining) return 'draining';
    this.#metrics.streamsOpen(api?.name ?? '-', 1);
    return null;
  }

  /** Exactly once for what has entered. `opened`: it was counted by `open`. */
  ended(stream: LiveStream, opened: boolean): void {
    const { tokenId, api } = stream.exchange;
    const key = tokenId ?? '';
    const streams = this.#byToken.get(key);
    if (streams !== undefined) {
      streams.delete(stream);
      if (streams.size === 0 && this.#byToken.size > KEPT_PLACES) this.#byToken.delete(key);
    }
    if (opened) this.#metrics.streamsOpen(api?.name ?? '-', -1);
  }

  /** Whether anything of the token is under way. */
  has(tokenId: string): boolean {
    return (this.#byToken.get(tokenId)?.size ?? 0) > 0;
  }

  /** Every token of this gateway that has something under way. */
  tokens(): string[] {
    const foreign = new Set(this.#foreign().map(({ exchange }) => exchange.tokenId));
    return [...this.#byToken]
      .filter(([id, streams]) => id !== '' && streams.size > 0 && !foreign.has(id))
      .map(([id]) => id);
  }

  /** Whoever has something under way with a token that somebody else issued. */
  foreignPrincipals(): Principal[] {
    const principals = this.#foreign().map(({ exchange }) => exchange.principal);
    return [...new Set(principals.filter((principal) => principal !== null))];
  }

  /** How much is under way with tokens of others that fit. */
  countForeign(fits: (principal: Principal) => boolean): number {
    return this.#foreign().filter(({ exchange: { principal } }) => principal !== null && fits(principal)).length;
  }

  /** Closes what is under way with tokens of others that are known to be revoked; returns how much that was. */
  closeRevoked(): number {
    return this.closeForeign(this.#isRevoked);
  }

  /** The same for those that fit, which are revoked by what they fit. */
  closeForeign(fits: (principal: Principal) => boolean): number {
    const revoked = this.#foreign().filter(({ exchange: { principal } }) => principal !== null && fits(principal));
    return this.#close(revoked, 'token_revoked');
  }

  /** Closes what is under way of a revoked token, now and from now on; returns how much that was. */
  closeToken(tokenId: string): number {
    this.#revoked.delete(tokenId);
    this.#revoked.add(tokenId);
    if (this.#revoked.size > MAX_REVOKED) {
      const [oldest = ''] = this.#revoked;
      this.#revoked.delete(oldest);
    }
    return this.#close([...(this.#byToken.get(tokenId) ?? [])], 'token_revoked');
  }

  /** Closes what is under way of a token that the store does not know (any more). */
  closeUnknown(tokenId: string): number {
    return this.#close([...(this.#byToken.get(tokenId) ?? [])], 'token_unknown');
  }

  /** Closes one that may not go on, and where its token is bad whatever else is under way of it. */
  cut(stream: LiveStream, reason: Reason): void {
    const { tokenId } = stream.exchange;
    if (reason === 'token_revoked' && tokenId !== null) this.closeToken(tokenId);
    else if (reason === 'token_unknown' && tokenId !== null) this.closeUnknown(tokenId);
    else this.#close([stream], reason);
  }

  /** The end of a token has moved. */
  expireAt(tokenId: string, expiresAt: number): void {
    for (const stream of this.#byToken.get(tokenId) ?? []) stream.expiresAt = expiresAt;
    if (this.has(tokenId) && expiresAt < this.#nextExpiry) this.#expectExpiry(expiresAt);
  }

  /** Closes what was let in before a moment (monotonic) and nobody can vouch for any more. */
  closeUncovered(beganBefore: number, concerns: (api: CompiledApi | null) => boolean): number {
    const uncovered = this.#all().filter(
      ({ exchange }) => exchange.principal !== null && exchange.startedAt < beganBefore && concerns(exchange.api),
    );
    return this.#close(uncovered, 'store_unavailable');
  }

  /** Closes what would not end by itself, and lets nothing of the kind open any more. */
  drain(): number {
    this.#draining = true;
    const endless = this.#all().filter(({ exchange }) => exchange.streaming);
    return this.#close(endless, 'draining');
  }

  #foreign(): LiveStream[] {
    const found: LiveStream[] = [];
    for (const streams of this.#byToken.values()) {
      for (const stream of streams) {
        // All streams under one token id are of one kind.
        if ((stream.exchange.principal?.foreign ?? null) === null) break;
        found.push(stream);
      }
    }
    return found;
  }

  #all(): LiveStream[] {
    return [...this.#byToken.values()].flatMap((streams) => [...streams]);
  }

  #close(streams: readonly LiveStream[], reason: Reason): number {
    for (const stream of streams) {
      // Its own end is heard of later: until then nobody is to close, and count, it again.
      this.#byToken.get(stream.exchange.tokenId ?? '')?.delete(stream);
      stream.close(reason);
    }
    return streams.length;
  }

  #expectExpiry(at: number): void {
    this.#nextExpiry = at;
    if (this.#timer !== null) clearTimeout(this.#timer);
    const delay = Math.min(Math.max(0, at - this.#clock.now()), MAX_DELAY_MS);
    this.#timer = setTimeout(() => this.#expire(), delay);
    this.#timer.unref();
  }

  #expire(): void {
    const now = this.#clock.now();
    const all = this.#all();
    this.#timer = null;
    this.#nextExpiry = Number.POSITIVE_INFINITY;
    this.#close(
      all.filter(({ expiresAt }) => expiresAt !== null && expiresAt <= now),
      'token_expired',
    );
    let next = Number.POSITIVE_INFINITY;
    for (const { expiresAt } of all) if (expiresAt !== null && expiresAt > now) next = Math.min(next, expiresAt);
    if (next < this.#nextExpiry) this.#expectExpiry(next);
  }
}
