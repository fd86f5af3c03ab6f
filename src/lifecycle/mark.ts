import { rfc3339 } from '../base/encoding.ts';
import { LIMITS } from '../base/limits.ts';
import { err, ok, type Result } from '../base/result.ts';
import type { AuditEventInput } from '../model/audit-event.ts';
import { Fault } from '../model/fault.ts';
import type { Principal } from '../model/principal.ts';
import type { MarkSelectors, RevocationMark } from '../model/revocation-mark.ts';
import type { MarkStore, PutMark } from '../store/mark-store.ts';
import { markCovers, markId } from '../store/revocation-marks.ts';
import type { Actor, LifecycleContext, LifecycleError, Propagation } from './context.ts';
import { checkText } from './fields.ts';
import { propagateRevoked, type Revocation } from './revoke.ts';

/** What it takes to revoke tokens that others issued: present where this gateway takes any. */
export interface ForeignLifecycle {
  putMark: MarkStore['putMark'];
  /** How far the clock of an issuer may be ahead of this one, milliseconds. */
  readonly clockSkewMs: number;
  /** The longest that one of the tokens may live, milliseconds; null: nobody can say. */
  readonly longestLifeMs: number | null;
  /** What is under way in this process with tokens that fit. */
  countOpen(fits: (principal: Principal) => boolean): number;
}

/** A mark outlives its tokens by so much, milliseconds: clocks differ, and a skew that is granted may be raised. */
const MARGIN_MS = 3_600_000;

/** Issuers cut or round `iat` to seconds (RFC 7519 §2 allows fractions), milliseconds. */
const SECOND_MS = 1000;

/** Longer texts of a token are not kept, but a digest of theirs, characters. */
const MAX_SELECTOR = 512;

/** The last moment that RFC 3339 can write; what is kept longer is kept for good. */
const LAST_MOMENT = Date.parse('9999-12-31T23:59:59.999Z');

/** Tokens that are held by nobody but their holders must not use up what administrators need. */
const HELD_BY_HOLDERS = 2;

/** What a revocation of tokens of others selects, before it is made. */
export interface MarkRequest extends MarkSelectors {
  /** Milliseconds since the epoch, exclusive; null where it was not asked for. */
  readonly issuedBefore: number | null;
  /** When the one token that is meant ends, where that is known. */
  readonly expiresAt: number | null;
}

/**
 * The mark for a request. Where neither one token nor a time is named, those are meant that exist now: of a subject that was revoked,
 * a token which is issued later is good. What its issuer's clock says of that moment may be ahead by the skew that is granted, and
 * a token that the mark cannot tell from an older one is taken for it.
 */
export function plannedMark(
  foreign: ForeignLifecycle,
  request: MarkRequest,
  by: { readonly actor: Actor; readonly reason: string | null; readonly now: number },
): RevocationMark {
  const { tokenId, jti, subject, issuer } = request;
  const selectors = { tokenId, jti, subject, issuer };
  const issuedBefore = boundOf(foreign, request, by.now);
  const ends = request.expiresAt ?? endOf(foreign, Math.max(issuedBefore ?? 0, by.now));
  const keepUntil = ends === null || ends + MARGIN_MS > LAST_MOMENT ? null : Math.ceil(ends + MARGIN_MS);
  const { actor, reason } = by;
  return {
    id: markId(selectors),
    ...selectors,
    issuedBefore,
    keepUntil,
    revokedAt: by.now,
    revokedBy: actor.name,
    reason,
  };
}

function boundOf({ clockSkewMs }: ForeignLifecycle, request: MarkRequest, now: number): number | null {
  const { issuedBefore, tokenId, jti } = request;
  if (issuedBefore === null) return tokenId === null && jti === null ? now + clockSkewMs + SECOND_MS : null;
  // Within a second: one that was issued before, and whose issuer rounds up, says the next whole second.
  return issuedBefore % SECOND_MS === 0 ? issuedBefore : Math.ceil(issuedBefore / SECOND_MS) * SECOND_MS + 1;
}

function endOf({ longestLifeMs, clockSkewMs }: ForeignLifecycle, issuedBefore: number): number | null {
  return longestLifeMs === null ? null : issuedBefore + longestLifeMs + clockSkewMs;
}

/** The one token that somebody presented: by its issuer's name for it, or, where it has none, by a digest. */
export function requestForToken({ tokenId, tokenType, foreign, expiresAt }: Principal): MarkRequest {
  const { issuer = null, jti = null } = foreign ?? {};
  const named = issuer !== null && jti !== null && issuer.length <= MAX_SELECTOR && jti.length <= MAX_SELECTOR;
  return {
    tokenId: named ? null : tokenId,
    jti: named ? jti : null,
    issuer: named ? issuer : null,
    subject: null,
    issuedBefore: null,
    // What an introspection server says of the end may change with its next answer (RFC 7662 §2.2: it is optional).
    expiresAt: tokenType === 'jwt' ? expiresAt : null,
  };
}

/** The token with that id (`Principal.tokenId`), of which nothing else is known. */
export function requestForTokenId(tokenId: string): MarkRequest {
  return { tokenId, jti: null, subject: null, issuer: null, issuedBefore: null, expiresAt: null };
}

/** As the audit trail shows them: nothing that could be an id of ours. */
export function isForeignTokenId(text: string): boolean {
  return /^(?:jwt|ext):[A-Za-z0-9_-]{22}$/.test(text);
}

/** How many streams of this process a mark would close. */
export function openFor(foreign: ForeignLifecycle, mark: RevocationMark): number {
  return foreign.countOpen((principal) => markCovers(mark, principal));
}

export interface MadeMark extends PutMark {
  readonly propagation: Propagation;
}

/**
 * Revokes tokens of others. Resolves when the mark is durable, nobody lets any of them in any more and the audit event is durable.
 * Null where there are too many marks; nothing was changed then. `about`: the one token that is meant, for the event.
 */
export async function makeMark(
  context: LifecycleContext,
  foreign: ForeignLifecycle,
  actor: Actor,
  mark: RevocationMark,
  about: Pick<Principal, 'tokenId' | 'tokenType' | 'subject'> | null,
): Promise<MadeMark | null> {
  const most = about?.tokenId === actor.tokenId ? LIMITS.revocationMarks / HELD_BY_HOLDERS : LIMITS.revocationMarks;
  const put = await foreign.putMark(mark, most);
  if (put === null) return null;
  if (!put.repeated) context.metrics.tokenEvent('revoked');
  const [propagated, recorded] = await Promise.allSettled([
    propagateRevoked(context, [mark.id]),
    record(context, actor, put, mark.reason, about),
  ]);
  if (propagated.status === 'rejected') throw propagated.reason;
  if (recorded.status === 'rejected') throw recorded.reason;
  return { ...put, propagation: propagated.value };
}

/** Revokes one token of somebody else's, with the promise and the answer of `revokeToken`. */
export async function revokeForeign(
  context: LifecycleContext,
  actor: Actor,
  token: Principal | { readonly tokenId: string },
  request: { readonly reason: string | null },
): Promise<Result<Revocation, LifecycleError>> {
  const { foreign } = context;
  const errors = request.reason === null ? [] : checkText('reason', request.reason);
  if (errors.length > 0) return err({ kind: 'invalid', errors });
  if (foreign === undefined) return err({ kind: 'not_found' });
  const about = 'tokenType' in token ? token : null;
  const wanted = about === null ? requestForTokenId(token.tokenId) : requestForToken(about);
  const now = context.clock.now();
  const mark = plannedMark(foreign, wanted, { actor, reason: request.reason, now });
  const made = await makeMark(context, foreign, actor, mark, about);
  if (made === null) return err({ kind: 'conflict', message: TOO_MANY });
  return ok({ id: token.tokenId, revoked_at: made.mark.revokedAt, propagation: made.propagation });
}

/** What becomes of a revocation for which there is no room. */
export const TOO_MANY =
  'as many revocations of tokens of others are kept as there may be, so this one was not made: revoke by subject or issuer instead, take the issuer out of the configuration, or wait until some have ended';

async function record(
  context: LifecycleContext,
  actor: Actor,
  { mark, repeated }: PutMark,
  reason: string | null,
  about: Pick<Principal, 'tokenId' | 'tokenType' | 'subject'> | null,
): Promise<void> {
  const tokenId = about?.tokenId ?? mark.tokenId;
  const subject = about?.subject ?? mark.subject;
  const event: AuditEventInput = {
    type: 'token.revoked',
    outcome: 'success',
    ...(tokenId === null ? {} : { token_id: tokenId }),
    ...(about === null ? {} : { token_type: about.tokenType }),
    ...(subject === null ? {} : { subject }),
    actor: actor.name,
    ...(actor.requestId === undefined ? {} : { request_id: actor.requestId }),
    ...(actor.ip === undefined ? {} : { ip: actor.ip }),
    details: { reason, revoked_at: rfc3339(mark.revokedAt), repeated, mark: { ...presentMark(mark) } },
  };
  try {
    await context.audit.recordDurably(event);
  } catch (cause) {
    throw new Fault(
      'audit_unavailable',
      'the tokens of others are revoked, but the audit event could not be recorded: repeat the call once the audit trail can be written',
      { cause },
    );
  }
}

/** A mark as the admin API and the audit trail give it out: times in RFC 3339. */
export interface PresentedMark {
  readonly id: string;
  readonly token_id: string | null;
  readonly jti: string | null;
  readonly subject: string | null;
  readonly issuer: string | null;
  readonly issued_before: string | null;
  /** Null: for good. */
  readonly keep_until: string | null;
}

export function presentMark(mark: RevocationMark): PresentedMark {
  const { id, tokenId, jti, subject, issuer, issuedBefore, keepUntil } = mark;
  return {
    id,
    token_id: tokenId,
    jti,
    subject,
    issuer,
    issued_before: issuedBefore === null ? null : rfc3339(issuedBefore),
    keep_until: keepUntil === null ? null : rfc3339(keepUntil),
  };
}
