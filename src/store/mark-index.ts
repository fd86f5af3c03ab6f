import { LIMITS } from '../base/limits.ts';
import type { RevocationMark } from '../model/revocation-mark.ts';
import { hasEnded, KEPT_BEYOND_END_MS, type MarkedPrincipal, markCovers, mergeMarks } from './revocation-marks.ts';

/**
 * Marks in memory, by the narrowest of their selectors. Asked for every request with a token of others: a few look-ups and
 * no allocation. It only grows, except by what has ended: so nothing that is told twice, or late, takes anything out.
 */
export class MarkIndex {
  readonly #byId = new Map<string, RevocationMark>();
  readonly #byToken = new Map<string, RevocationMark[]>();
  readonly #byJti = new Map<string, RevocationMark[]>();
  readonly #bySubject = new Map<string, RevocationMark[]>();
  readonly #byIssuer = new Map<string, RevocationMark[]>();
  /** Those that select by the time of issue alone: one at most. */
  readonly #others: RevocationMark[] = [];

  get(id: string): RevocationMark | null {
    return this.#byId.get(id) ?? null;
  }

  values(): readonly RevocationMark[] {
    return [...this.#byId.values()];
  }

  add(mark: RevocationMark): void {
    const known = this.#byId.get(mark.id) ?? null;
    const merged = mergeMarks(known, mark);
    this.#byId.set(mark.id, merged);
    const bucket = this.#bucket(mark);
    const at = bucket.findIndex(({ id }) => id === mark.id);
    if (at === -1) bucket.push(merged);
    else bucket[at] = merged;
  }

  covers(token: MarkedPrincipal): boolean {
    const { foreign } = token;
    if (foreign === null || this.#byId.size === 0) return false;
    return (
      anyCovers(this.#byToken.get(token.tokenId), token) ||
      (foreign.jti !== null && anyCovers(this.#byJti.get(foreign.jti), token)) ||
      (foreign.subject !== null && anyCovers(this.#bySubject.get(foreign.subject), token)) ||
      (foreign.issuer !== null && anyCovers(this.#byIssuer.get(foreign.issuer), token)) ||
      anyCovers(this.#others, token)
    );
  }

  /** Lets go of marks none of whose tokens can be alive; of those that ended of late only where there are too many. */
  forgetEnded(now: number): void {
    this.#forget(now - KEPT_BEYOND_END_MS);
    if (this.#byId.size > LIMITS.revocationMarks) this.#forget(now);
  }

  #forget(at: number): void {
    const ended = this.values().filter((mark) => hasEnded(mark, at));
    for (const mark of ended) {
      this.#byId.delete(mark.id);
      const bucket = this.#bucket(mark);
      bucket.splice(
        bucket.findIndex(({ id }) => id === mark.id),
        1,
      );
      if (bucket.length > 0) continue;
      if (mark.tokenId !== null) this.#byToken.delete(mark.tokenId);
      else if (mark.jti !== null) this.#byJti.delete(mark.jti);
      else if (mark.subject !== null) this.#bySubject.delete(mark.subject);
      else if (mark.issuer !== null) this.#byIssuer.delete(mark.issuer);
    }
  }

  #bucket({ tokenId, jti, subject, issuer }: RevocationMark): RevocationMark[] {
    if (tokenId !== null) return bucketOf(this.#byToken, tokenId);
    if (jti !== null) return bucketOf(this.#byJti, jti);
    if (subject !== null) return bucketOf(this.#bySubject, subject);
    return issuer === null ? this.#others : bucketOf(this.#byIssuer, issuer);
  }
}

function bucketOf(buckets: Map<string, RevocationMark[]>, key: string): RevocationMark[] {
  const known = buckets.get(key);
  if (known !== undefined) return known;
  const made: RevocationMark[] = [];
  buckets.set(key, made);
  return made;
}

function anyCovers(marks: readonly RevocationMark[] | undefined, token: MarkedPrincipal): boolean {
  if (marks === undefined) return false;
  for (const mark of marks) if (markCovers(mark, token)) return true;
  return false;
}
