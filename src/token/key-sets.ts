import { setTimeout as pause } from 'node:timers/promises';
import type { Clock } from '../base/clock.ts';
import { readJwkSet, type VerificationKey } from '../base/jwk-set.ts';
import type { JwsAlgorithm } from '../base/jws-algorithm.ts';
import type { KeySource } from './key-sources.ts';

/** The keys of one issuer. */
export interface KeySet {
  /** Those that may have signed a token; those of a token that names none are all that fit its algorithm. */
  find(kid: string | null, algorithm: JwsAlgorithm): readonly VerificationKey[];
  /** Whether a key of this name is known, whatever it is for. */
  knows(kid: string): boolean;
  /** Whether a key that was found earlier is still one of the issuer's. */
  holds(key: VerificationKey): boolean;
  /**
   * Null where nothing newer can be had now. Otherwise resolves, never rejects, when the attempt that is under way, or else a
   * new one, is over. What was under way may have begun before the caller came to know of a key.
   */
  renew(): Promise<void> | null;
  /**
   * For callers that are known and need to be sure: resolves, never rejects, when an attempt that began after the call is over,
   * with whether the keys are now the issuer's newest. Whatever has used up `renew`; attempts for it begin a second apart.
   */
  newest(): Promise<boolean>;
  /** False while no set has been had, or when the last attempt to have one failed: then a missing key says nothing. */
  readonly authoritative: boolean;
}

/** How an issuer's keys became known, or not; for metrics and the log. */
export interface KeySetObserver {
  refreshed(keys: number, unusable: readonly { readonly index: number; readonly why: string }[]): void;
  /** Of each attempt. `first`: the one before succeeded, or there was none. */
  failed(error: unknown, first: boolean): void;
}

export interface KeySetTimes {
  /** For one attempt, discovery included. */
  readonly timeoutMs: number;
  /** Between two fetches because of an unknown key. */
  readonly coolDownMs: number;
  /** Between two fetches for callers of `newest`, who wait for as long. */
  readonly insistMs: number;
  /** After a failure, while old keys go on. */
  readonly retryMs: number;
  /** After a failure without any keys: first and longest wait. */
  readonly firstRetryMs: number;
  readonly longestFirstRetryMs: number;
}

export const KEY_SET_TIMES: KeySetTimes = {
  timeoutMs: 5_000,
  coolDownMs: 30_000,
  insistMs: 1_000,
  retryMs: 30_000,
  firstRetryMs: 250,
  longestFirstRetryMs: 5_000,
};

/**
 * Keys that are fetched in the background, from the start and again and again: one attempt at a time, so that the newest
 * answer wins; the last good set goes on for as long as there is no newer one. A key that stands in the newer set as well
 * is the same object.
 */
export class FetchedKeySet implements KeySet {
  readonly #source: KeySource;
  readonly #algorithms: readonly JwsAlgorithm[];
  readonly #clock: Pick<Clock, 'monotonic'>;
  readonly #observer: KeySetObserver;
  readonly #times: KeySetTimes;
  #keys: ReadonlyMap<string, VerificationKey> = new Map();
  #held: ReadonlySet<VerificationKey> = new Set();
  #loaded = false;
  /** Whether what the source gave last was a set. */
  #understood = false;
  /** Attempts that failed since the last that did not. */
  #failures = 0;
  #attempt: Promise<void> | null = null;
  /** When keys were last fetched because one was unknown (monotonic). */
  #soughtAt = Number.NEGATIVE_INFINITY;
  /** What callers of `newest` wait for that came before it began. */
  #newest: Promise<boolean> | null = null;
  /** When keys were last fetched for callers of `newest` (monotonic). */
  #insistedAt = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | null = null;
  readonly #closed = new AbortController();

  constructor(
    source: KeySource,
    algorithms: readonly JwsAlgorithm[],
    clock: Pick<Clock, 'monotonic'>,
    observer: KeySetObserver,
    times: KeySetTimes = KEY_SET_TIMES,
  ) {
    this.#source = source;
    this.#algorithms = algorithms;
    this.#clock = clock;
    this.#observer = observer;
    this.#times = times;
  }

  /** Resolves after the first attempt, whatever came of it. */
  start(): Promise<void> {
    return this.#refresh();
  }

  close(): void {
    this.#closed.abort();
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  get authoritative(): boolean {
    return this.#loaded && this.#failures === 0;
  }

  find(kid: string | null, algorithm: JwsAlgorithm): readonly VerificationKey[] {
    return [...this.#held].filter((key) => (kid === null || key.kid === kid) && key.algorithms.includes(algorithm));
  }

  knows(kid: string): boolean {
    for (const key of this.#held) if (key.kid === kid) return true;
    return false;
  }

  holds(key: VerificationKey): boolean {
    return this.#held.has(key);
  }

  renew(): Promise<void> | null {
    return this.#attempt ?? (this.#maySeek() ? this.#seek() : null);
  }

  newest(): Promise<boolean> {
    this.#newest ??= this.#insist();
    return this.#newest;
  }

  async #insist(): Promise<boolean> {
    const { signal } = this.#closed;
    const wait = this.#insistedAt + this.#times.insistMs - this.#clock.monotonic();
    // Also where there is nothing to wait for: whoever asks at the same time is served by the same attempt.
    await pause(Math.max(0, wait), undefined, { signal }).catch(() => undefined);
    // What is under way may have been answered before the caller came.
    while (this.#attempt !== null) await this.#attempt;
    // From here on whoever comes needs the next one.
    this.#newest = null;
    if (signal.aborted) return false;
    this.#insistedAt = this.#clock.monotonic();
    await this.#refresh();
    return this.authoritative && !signal.aborted;
  }

  /** Without any keys there is a timer that tries often enough. */
  #maySeek(): boolean {
    const cooledDown = this.#clock.monotonic() - this.#soughtAt >= this.#times.coolDownMs;
    return this.#loaded && cooledDown && !this.#closed.signal.aborted;
  }

  #seek(): Promise<void> {
    this.#soughtAt = this.#clock.monotonic();
    return this.#refresh();
  }

  #refresh(): Promise<void> {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#attempt ??= this.#read().finally(() => {
      this.#attempt = null;
      this.#schedule();
    });
    return this.#attempt;
  }

  /** Never rejects. */
  async #read(): Promise<void> {
    try {
      const bytes = await this.#bounded((signal) => this.#source.read(signal));
      if (bytes !== null) this.#take(bytes);
      if (this.#understood) this.#failures = 0;
    } catch (error) {
      if (this.#closed.signal.aborted) return;
      this.#failures += 1;
      this.#observer.failed(error, this.#failures === 1);
    }
  }

  /** Also where the source does not heed the signal: a folder of a server that hangs, for one. */
  async #bounded<T>(read: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const ended = Promise.withResolvers<never>();
    const controller = new AbortController();
    const end = (why: string): void => {
      controller.abort();
      ended.reject(new Error(why));
    };
    const timer = setTimeout(() => end(`no answer within ${this.#times.timeoutMs} ms`), this.#times.timeoutMs);
    const onClose = (): void => end('closed');
    this.#closed.signal.addEventListener('abort', onClose);
    try {
      return await Promise.race([read(controller.signal), ended.promise]);
    } finally {
      clearTimeout(timer);
      this.#closed.signal.removeEventListener('abort', onClose);
    }
  }

  #take(bytes: Uint8Array): void {
    this.#understood = false;
    const set = readJwkSet(bytes, this.#algorithms);
    if (!set.ok) throw new Error(`the answer ${set.error}`);
    const before = this.#keys;
    this.#keys = new Map(set.value.keys.map((key) => [key.identity, before.get(key.identity) ?? key]));
    this.#held = new Set(this.#keys.values());
    this.#loaded = true;
    this.#understood = true;
    this.#observer.refreshed(this.#held.size, set.value.unusable);
  }

  #schedule(): void {
    if (this.#closed.signal.aborted) return;
    this.#timer = setTimeout(() => void this.#refresh(), this.#pauseMs());
    this.#timer.unref();
  }

  #pauseMs(): number {
    const { retryMs, firstRetryMs, longestFirstRetryMs } = this.#times;
    if (this.#failures === 0) return this.#source.everyMs;
    if (this.#loaded) return Math.min(retryMs, this.#source.everyMs);
    return Math.min(firstRetryMs * 2 ** (this.#failures - 1), longestFirstRetryMs);
  }
}

/** The shared secret of an issuer that signs with HMAC. There is nothing to fetch. */
export class SecretKeySet implements KeySet {
  readonly authoritative = true;
  readonly #keys: readonly VerificationKey[];

  constructor(key: VerificationKey) {
    this.#keys = [key];
  }

  /** Whatever the token calls its key: there is one. */
  find(_kid: string | null, algorithm: JwsAlgorithm): readonly VerificationKey[] {
    return this.#keys.filter((key) => key.algorithms.includes(algorithm));
  }

  knows(): boolean {
    return true;
  }

  holds(key: VerificationKey): boolean {
    return this.#keys.includes(key);
  }

  renew(): null {
    return null;
  }

  async newest(): Promise<true> {
    return true;
  }
}
