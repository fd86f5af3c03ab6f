import type { Clock } from '../base/clock.ts';
import { err, ok, type Result } from '../base/result.ts';
import type { PublishedKey, SigningKey } from '../base/signing-key.ts';

/** Lifetime of an assertion. */
export const ASSERTION_SECONDS = 60;

/** Those who verify may allow for clocks that differ by so much. */
const SKEW_SECONDS = 60;

/** Keys that are published at a time, those that the operator has taken away included. */
const MOST_PUBLISHED = 16;

/** Longest time that others may keep what is published here, seconds. */
const LONGEST_MAX_AGE = 300;

interface Published {
  readonly key: SigningKey;
  /** Monotonic milliseconds; nobody may know of the key before. */
  readonly since: number;
  /** When it was found to be of no use any more; null while it signs, or stands in what the operator gave. */
  leftAt: number | null;
}

/**
 * The keys that sign assertions, and those that others verify them with. The operator's first key signs, but not before
 * it has been published for `leadMs`; until then the one before it goes on. A key that was taken away stays published
 * for as long again as another replica may go on signing with it, and one lifetime more. So an upstream that has kept the published keys for at
 * most `leadMs` can verify everything that is signed, whatever the operator does to the file.
 */
export class AssertionKeys {
  readonly #leadMs: number;
  readonly #clock: Pick<Clock, 'monotonic'>;
  readonly #published = new Map<string, Published>();
  #given: readonly SigningKey[];
  #signing: SigningKey;
  #keySet = '';

  /** What is given at the start counts as published before: this process cannot know better. */
  constructor(given: readonly SigningKey[], leadMs: number, clock: Pick<Clock, 'monotonic'>) {
    const [first] = given;
    if (first === undefined) throw new TypeError('at least one key is needed to sign');
    this.#leadMs = leadMs;
    this.#clock = clock;
    this.#given = given;
    this.#signing = first;
    for (const key of given) this.#publish(key, Number.NEGATIVE_INFINITY);
    this.#write();
  }

  /** Takes up what the operator gives now. An error leaves everything as it was. */
  replace(given: readonly SigningKey[]): Result<void, string> {
    this.#settle();
    const news = given.filter(({ published }) => !this.#published.has(published.kid));
    if (given.length === 0) return err('holds no key');
    if (this.#published.size + news.length > MOST_PUBLISHED) {
      return err(`more than ${MOST_PUBLISHED} keys would be published; those that were taken away go in a while`);
    }
    for (const key of news) this.#publish(key, this.#clock.monotonic());
    this.#given = given;
    this.#settle();
    this.#write();
    return ok(undefined);
  }

  /** The key to sign with at this moment. */
  current(): SigningKey {
    this.#settle();
    return this.#signing;
  }

  /** JWK Set (RFC 7517 §5) of all that is published at this moment. */
  keySet(): string {
    this.#settle();
    return this.#keySet;
  }

  /** How long others may keep the set, seconds: well within the time that a new key waits. */
  get maxAgeSeconds(): number {
    return Math.min(LONGEST_MAX_AGE, Math.floor(this.#leadMs / 2000));
  }

  #publish(key: SigningKey, since: number): void {
    this.#published.set(key.published.kid, { key, since, leftAt: null });
  }

  /** What time has brought about since the last look. */
  #settle(): void {
    const now = this.#clock.monotonic();
    this.#signing = this.#signer(now);
    const given = new Set(this.#given.map(({ published }) => published.kid));
    const keepMs = this.#leadMs + (ASSERTION_SECONDS + SKEW_SECONDS) * 1000;
    let dropped = false;
    for (const [kid, entry] of this.#published) {
      if (given.has(kid) || kid === this.#signing.published.kid) entry.leftAt = null;
      else if (entry.leftAt === null) entry.leftAt = now;
      else if (now - entry.leftAt > keepMs) dropped = this.#published.delete(kid) || dropped;
    }
    if (dropped) this.#write();
  }

  #signer(now: number): SigningKey {
    const ripe = ({ published }: SigningKey): boolean =>
      now - (this.#published.get(published.kid)?.since ?? now) >= this.#leadMs;
    const [first = this.#signing] = this.#given;
    if (ripe(first) || first === this.#signing) return first;
    // The next best, where the operator has taken away the one that signs.
    const kept = this.#given.find(({ published }) => published.kid === this.#signing.published.kid);
    return kept ?? this.#given.find(ripe) ?? this.#signing;
  }

  #write(): void {
    const keys: PublishedKey[] = [...this.#published.values()].map(({ key }) => key.published);
    this.#keySet = JSON.stringify({ keys });
  }
}
