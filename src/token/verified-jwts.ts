import type { VerificationKey } from '../base/jwk-set.ts';
import type { AuthenticationOutcome } from './authenticator.ts';
import type { KeySet } from './key-sets.ts';

/** A JWT whose signature was right. */
export interface VerifiedJwt {
  readonly outcome: Extract<AuthenticationOutcome, { ok: true }>;
  readonly keys: KeySet;
  readonly key: VerificationKey;
  /** Milliseconds since the epoch. */
  readonly validFrom: number;
  readonly validUntil: number;
  /** About how much memory it takes: the size of the token. */
  readonly bytes: number;
}

/**
 * Verified JWTs by the digest of their bytes, bounded in number and size. In two halves: what is used moves to the newer
 * one; when that is full the older one is forgotten as a whole. So a hit that need not move costs one look-up.
 */
export class VerifiedJwts {
  readonly #mostEach: number;
  readonly #mostBytesEach: number;
  #newer = new Map<string, VerifiedJwt>();
  #newerBytes = 0;
  #older = new Map<string, VerifiedJwt>();

  constructor(most: number, mostBytes: number) {
    this.#mostEach = Math.max(1, Math.floor(most / 2));
    this.#mostBytesEach = Math.floor(mostBytes / 2);
  }

  get size(): number {
    return this.#newer.size + this.#older.size;
  }

  get(digest: string): VerifiedJwt | undefined {
    const found = this.#newer.get(digest);
    if (found !== undefined) return found;
    const older = this.#older.get(digest);
    if (older === undefined) return undefined;
    this.#older.delete(digest);
    this.set(digest, older);
    return older;
  }

  set(digest: string, verified: VerifiedJwt): void {
    if (this.#newer.size >= this.#mostEach || this.#newerBytes + verified.bytes > this.#mostBytesEach) {
      this.#older = this.#newer;
      this.#newer = new Map();
      this.#newerBytes = 0;
    }
    if (!this.#newer.has(digest)) this.#newerBytes += verified.bytes;
    this.#newer.set(digest, verified);
  }

  delete(digest: string): void {
    const found = this.#newer.get(digest);
    if (found !== undefined) this.#newerBytes -= found.bytes;
    this.#newer.delete(digest);
    this.#older.delete(digest);
  }
}
