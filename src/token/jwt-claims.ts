import { err, ok, type Result } from '../base/result.ts';
import { isJsonObject, type JsonObject, type JsonValue, memberOf } from '../base/strict-json.ts';
import type { Confirmation } from '../model/principal.ts';
import type { TokenReason } from './authenticator.ts';
import type { JwtIssuer } from './jwt-issuer.ts';

/** What the claims of a JWT say, checked as far as claims can be by themselves: nothing of it is proven yet. */
export interface JwtClaims {
  readonly subject: string | null;
  readonly jti: string | null;
  readonly scopes: readonly string[];
  readonly roles: readonly string[];
  readonly confirmation: Confirmation | null;
  /** The claims that a policy may ask for: all but those that stand elsewhere in a principal. */
  readonly others: JsonObject;
  /** `iat`, milliseconds since the epoch; null where it does not say. */
  readonly issuedAt: number | null;
  /** From when and until when the token is taken, the clock skew included, milliseconds since the epoch. */
  readonly validFrom: number;
  readonly validUntil: number;
}

export interface ClaimsRefusal {
  readonly reason: Extract<TokenReason, 'token_untrusted' | 'token_expired' | 'token_not_yet_valid'>;
  readonly detail: string | null;
  /** What could be read all the same, where the time alone is against it. */
  readonly claims: JwtClaims | null;
}

/** Bounds of what a token of another issuer may bring along; the whole is bounded by the size of a credential. */
export const CLAIM_LIMITS = { text: 255, name: 128, scopes: 200, roles: 200, audiences: 100 } as const;

/** The last second of the year 9999, which is the last that RFC 3339 can write. */
export const LAST_SECOND = 253_402_300_799;

/** Members that a principal has a place of its own for, or that say nothing beyond the token itself. */
const ELSEWHERE: ReadonlySet<string> = new Set(['sub', 'exp', 'nbf', 'iat', 'jti', 'cnf']);

/** RFC 6749 §3.3. */
export const SCOPE_TOKEN = /^[\x21\x23-\x5b\x5d-\x7e]+$/;

/** One line that can be shown and logged: no control characters, no separators of lines, no invisible directions. */
export const ONE_LINE = /^[^\p{C}\p{Zl}\p{Zp}]+$/u;

/** The same, without white space at its ends: a header field would lose it on the way, and be another text. */
const TRIMMED_LINE = /^[^\p{C}\p{Z}](?:[^\p{C}\p{Zl}\p{Zp}]*[^\p{C}\p{Z}])?$/u;

/** SHA-256 in base64url. */
const THUMBPRINT = /^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/;

/** RFC 7519 §4.1 and §7.2, with the stricter rules of RFC 8725 §3. `now` is milliseconds since the epoch. Pure. */
export function readJwtClaims(payload: JsonObject, issuer: JwtIssuer, now: number): Result<JwtClaims, ClaimsRefusal> {
  const read = readClaims(payload, issuer, now);
  if (!read.ok) return err({ reason: 'token_untrusted', detail: read.error, claims: null });
  const claims = read.value;
  if (!(now < claims.validUntil)) return err({ reason: 'token_expired', detail: null, claims });
  if (!(now >= claims.validFrom)) return err({ reason: 'token_not_yet_valid', detail: null, claims });
  return ok(claims);
}

/**
 * Which token it is and how long it can live, whether or not it is taken now: neither its audience is looked at nor whether its
 * time has come, and it is granted nothing. An error for what no setting and no time would let in.
 */
export function readJwtIdentity(payload: JsonObject, issuer: JwtIssuer): Result<JwtClaims, string> {
  const dates = readDates(payload);
  if (!dates.ok) return dates;
  const subject = readText(payload, 'sub');
  if (!subject.ok) return subject;
  const jti = readText(payload, 'jti');
  if (!jti.ok) return jti;
  return ok({ ...timesOf(dates.value, issuer), subject: subject.value, jti: jti.value, ...NOTHING_GRANTED });
}

const NOTHING_GRANTED = { scopes: [], roles: [], confirmation: null, others: {} } as const;

function readClaims(payload: JsonObject, issuer: JwtIssuer, now: number): Result<JwtClaims, string> {
  const times = readTimes(payload, issuer, now);
  if (!times.ok) return times;
  if (!isForAudience(memberOf(payload, 'aud'), issuer.audiences)) return err('It is for another audience (aud).');
  const subject = readText(payload, 'sub');
  if (!subject.ok) return subject;
  const jti = readText(payload, 'jti');
  if (!jti.ok) return jti;
  const scopes = readNames(split(claimAt(payload, issuer.scopeClaim)), CLAIM_LIMITS.scopes, SCOPE_TOKEN);
  if (scopes === null) return err('Its scopes are neither a text nor a list of texts, or too many.');
  const roles = readNames(claimAt(payload, issuer.rolesClaim), CLAIM_LIMITS.roles, ONE_LINE);
  if (roles === null) return err('Its roles are neither a text nor a list of texts, or too many.');
  const confirmation = readConfirmation(memberOf(payload, 'cnf'));
  if (!confirmation.ok) return confirmation;
  for (const { name, value } of issuer.requiredClaims) {
    const claim = claimAt(payload, name);
    if (claim === undefined || claim === null) return err(`It lacks a claim that is required here (${name}).`);
    if (value !== null && claim !== value && !(Array.isArray(claim) && claim.includes(value))) {
      return err(`A claim has not the value that is required here (${name}).`);
    }
  }
  // In the order of their names, so that the audit trail need not sort them with every request.
  const named = Object.entries(payload).toSorted(([a], [b]) => (a < b ? -1 : 1));
  const others = Object.fromEntries(named.filter(([name]) => !ELSEWHERE.has(name)));
  return ok({
    ...times.value,
    subject: subject.value,
    jti: jti.value,
    scopes,
    roles,
    confirmation: confirmation.value,
    others,
  });
}

type Times = Pick<JwtClaims, 'issuedAt' | 'validFrom' | 'validUntil'>;

interface Dates {
  readonly expiresAt: number;
  readonly notBefore: number | null;
  readonly issuedAt: number | null;
}

function readTimes(payload: JsonObject, issuer: JwtIssuer, now: number): Result<Times, string> {
  const { clockSkewMs, maxLifetimeMs } = issuer;
  const dates = readDates(payload);
  if (!dates.ok) return dates;
  const { expiresAt, issuedAt } = dates.value;
  // An issuer that does not say when it made the token cannot have made it later than now.
  const lifetime = expiresAt - (issuedAt ?? now);
  if (lifetime > maxLifetimeMs + (issuedAt === null ? clockSkewMs : 0)) {
    return err('It lives longer than tokens of its issuer may here (exp, iat).');
  }
  return ok(timesOf(dates.value, issuer));
}

function timesOf({ expiresAt, notBefore, issuedAt }: Dates, { clockSkewMs }: JwtIssuer): Times {
  const begins = Math.max(notBefore ?? Number.NEGATIVE_INFINITY, issuedAt ?? Number.NEGATIVE_INFINITY);
  return { issuedAt, validFrom: begins - clockSkewMs, validUntil: expiresAt + clockSkewMs };
}

function readDates(payload: JsonObject): Result<Dates, string> {
  const expiresAt = numericDate(memberOf(payload, 'exp'));
  if (expiresAt === undefined) return err('It says not when it ends (exp), or not as a number of seconds.');
  const claimed = { nbf: memberOf(payload, 'nbf'), iat: memberOf(payload, 'iat') };
  const notBefore = claimed.nbf === undefined ? null : numericDate(claimed.nbf);
  const issuedAt = claimed.iat === undefined ? null : numericDate(claimed.iat);
  if (notBefore === undefined || issuedAt === undefined) return err('Its times (nbf, iat) are not numbers of seconds.');
  return ok({ expiresAt, notBefore, issuedAt });
}

/** RFC 7519 §2: seconds, perhaps with a fraction. Milliseconds since the epoch; undefined for everything else. */
function numericDate(value: JsonValue | undefined): number | undefined {
  if (typeof value !== 'number' || !(value >= 0 && value <= LAST_SECOND)) return undefined;
  return Math.floor(value * 1000);
}

function isForAudience(aud: JsonValue | undefined, audiences: readonly string[]): boolean {
  if (typeof aud === 'string') return audiences.includes(aud);
  if (!Array.isArray(aud) || aud.length > CLAIM_LIMITS.audiences) return false;
  return isTexts(aud) && aud.some((one) => audiences.includes(one));
}

/** A claim that identifies: absent, or a text of one line. */
function readText(payload: JsonObject, name: string): Result<string | null, string> {
  const value = memberOf(payload, name);
  if (value === undefined) return ok(null);
  if (typeof value === 'string' && value.length <= CLAIM_LIMITS.text && TRIMMED_LINE.test(value)) return ok(value);
  return err(`A claim that has to be one short line of text is not (${name}).`);
}

/** A text of scopes holds them with single spaces between (RFC 8693 §4.2). */
function split(value: JsonValue | undefined): JsonValue | undefined {
  return typeof value === 'string' && value !== '' ? value.split(' ') : value;
}

/** A list of names, or one name; null for anything else. A role may have a space in its name. */
function readNames(value: JsonValue | undefined, most: number, name: RegExp): readonly string[] | null {
  if (value === undefined || value === null || value === '') return [];
  const names = typeof value === 'string' ? [value] : value;
  if (!Array.isArray(names) || names.length > most || !isTexts(names)) return null;
  return names.every((one) => one.length <= CLAIM_LIMITS.name && name.test(one)) ? [...new Set(names)] : null;
}

function isTexts(list: readonly JsonValue[]): list is readonly string[] {
  return list.every((item) => typeof item === 'string');
}

/** A claim by its name, or, where the name begins with a slash, by its JSON Pointer (RFC 6901): `/realm_access/roles`. */
function claimAt(payload: JsonObject, name: string): JsonValue | undefined {
  if (!name.startsWith('/')) return memberOf(payload, name);
  let value: JsonValue | undefined = payload;
  for (const step of name.slice(1).split('/')) {
    if (!isJsonObject(value)) return undefined;
    value = memberOf(value, step.replaceAll('~1', '/').replaceAll('~0', '~'));
  }
  return value;
}

/** RFC 7800 §3.1. A binding that is not understood must not be taken for none. */
export function readConfirmation(cnf: JsonValue | undefined): Result<Confirmation | null, string> {
  if (cnf === undefined) return ok(null);
  const names = isJsonObject(cnf) ? Object.keys(cnf) : [];
  if (!isJsonObject(cnf) || names.length === 0 || names.some((name) => name !== 'x5t#S256' && name !== 'jkt')) {
    return err('It is bound to a key in a way that is not understood here (cnf).');
  }
  const thumbprints = [memberOf(cnf, 'x5t#S256') ?? null, memberOf(cnf, 'jkt') ?? null];
  const [certificateThumbprint = null, keyThumbprint = null] = thumbprints.map((value) =>
    typeof value === 'string' && THUMBPRINT.test(value) ? value : null,
  );
  if (names.length !== [certificateThumbprint, keyThumbprint].filter((one) => one !== null).length) {
    return err('The key that it is bound to is not named as it should be (cnf).');
  }
  return ok({ certificateThumbprint, keyThumbprint });
}
