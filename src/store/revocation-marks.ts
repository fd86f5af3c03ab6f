import { sha256 } from '../base/encoding.ts';
import { Fault } from '../model/fault.ts';
import type { Principal } from '../model/principal.ts';
import type { MarkSelectors, RevocationMark } from '../model/revocation-mark.ts';

/** No token's id holds a colon, so an entry of the log is either about a token or about a mark. */
const PREFIX = 'mark:';

/** Characters of base64url: 132 bits. */
const DIGEST_LENGTH = 22;

/** By what a token is matched against marks; nothing matches where `foreign` is null. */
export type MarkedPrincipal = Pick<Principal, 'tokenId' | 'foreign'>;

/** The same selectors have the same id, so a mark is found by what it selects, and two of one id mean the same tokens. */
export function markId({ tokenId, jti, subject, issuer }: MarkSelectors): string {
  const digest = sha256(JSON.stringify([tokenId, jti, subject, issuer])).toString('base64url');
  return PREFIX + digest.slice(0, DIGEST_LENGTH);
}

export function isMarkId(id: string): boolean {
  return id.startsWith(PREFIX);
}

/** The ids of every mark that could cover the token: nine at most, of which the store is asked. */
export function possibleMarkIds({ tokenId, foreign }: MarkedPrincipal): string[] {
  if (foreign === null) return [];
  const either = (value: string | null): (string | null)[] => (value === null ? [null] : [null, value]);
  const ids = [markId({ tokenId, jti: null, subject: null, issuer: null })];
  for (const jti of either(foreign.jti)) {
    for (const subject of either(foreign.subject)) {
      for (const issuer of either(foreign.issuer)) ids.push(markId({ tokenId: null, jti, subject, issuer }));
    }
  }
  return ids;
}

export function markCovers(mark: RevocationMark, { tokenId, foreign }: MarkedPrincipal): boolean {
  if (foreign === null) return false;
  return (
    (mark.tokenId === null || mark.tokenId === tokenId) &&
    (mark.jti === null || mark.jti === foreign.jti) &&
    (mark.subject === null || mark.subject === foreign.subject) &&
    (mark.issuer === null || mark.issuer === foreign.issuer) &&
    (mark.issuedBefore === null || foreign.issuedAt === null || foreign.issuedAt < mark.issuedBefore)
  );
}

/** What stands, and what is added to it under the same id: nothing that either covers is let go, or sooner. */
export function mergeMarks(stands: RevocationMark | null, added: RevocationMark): RevocationMark {
  if (stands === null) return added;
  const issuedBefore = later(stands.issuedBefore, added.issuedBefore);
  const keepUntil = later(stands.keepUntil, added.keepUntil);
  // Who repeats what stands is told who did it first; who adds tokens to it is their revoker.
  return { ...(issuedBefore === stands.issuedBefore ? stands : added), issuedBefore, keepUntil };
}

/** Null is the end of time. */
function later(a: number | null, b: number | null): number | null {
  return a === null || b === null ? null : Math.max(a, b);
}

/**
 * Marks stay so long beyond the end of their tokens, as long as there is room, milliseconds: a clock that jumps ahead and back
 * must not bring tokens back to life.
 */
export const KEPT_BEYOND_END_MS = 24 * 3_600_000;

export function hasEnded({ keepUntil }: RevocationMark, now: number): boolean {
  return keepUntil !== null && keepUntil <= now;
}

/** The stored text; equal marks have equal texts. What could not be read back is refused here (Fault `internal`). */
export function encodeMark(mark: RevocationMark): string {
  const { id, tokenId, jti, subject, issuer, issuedBefore, keepUntil, revokedAt, revokedBy, reason } = mark;
  if (!isMark(mark, id)) throw new Fault('internal', `revocation ${id}: it is not well-formed`);
  return JSON.stringify({
    id,
    tokenId,
    jti,
    subject,
    issuer,
    issuedBefore,
    keepUntil,
    revokedAt,
    revokedBy,
    reason,
  } satisfies RevocationMark);
}

/** Throws Fault `internal` where the text is not a mark with that id: what is damaged must never read as "no mark". */
export function decodeMark(id: string, text: unknown): RevocationMark {
  let value: unknown;
  try {
    value = typeof text === 'string' ? JSON.parse(text) : undefined;
  } catch {
    value = undefined;
  }
  if (isMark(value, id)) return value;
  throw new Fault('internal', `revocation ${id}: what is stored of it is damaged`);
}

function isMark(value: unknown, id: string): value is RevocationMark {
  if (typeof value !== 'object' || value === null) return false;
  const mark: Partial<Record<keyof RevocationMark, unknown>> = value;
  const { tokenId, jti, subject, issuer } = mark;
  return (
    mark.id === id &&
    isTextOrNull(tokenId) &&
    isTextOrNull(jti) &&
    isTextOrNull(subject) &&
    isTextOrNull(issuer) &&
    isTimeOrNull(mark.issuedBefore) &&
    isTimeOrNull(mark.keepUntil) &&
    Number.isSafeInteger(mark.revokedAt) &&
    typeof mark.revokedBy === 'string' &&
    isTextOrNull(mark.reason) &&
    markId({ tokenId, jti, subject, issuer }) === id
  );
}

function isTextOrNull(value: unknown): value is string | null {
  return value === null || typeof value === 'string';
}

function isTimeOrNull(value: unknown): boolean {
  return value === null || Number.isSafeInteger(value);
}
