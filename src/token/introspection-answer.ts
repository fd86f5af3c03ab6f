import { err, ok, type Result } from '../base/result.ts';
import { isJsonObject, type JsonObject, type JsonValue, memberOf, parseStrictJson } from '../base/strict-json.ts';
import type { Confirmation } from '../model/principal.ts';
import { CLAIM_LIMITS, LAST_SECOND, ONE_LINE, readConfirmation, SCOPE_TOKEN } from './jwt-claims.ts';

/** What a server says of a token (RFC 7662 §2.2). Times are milliseconds since the epoch. */
export type IntrospectionAnswer =
  | { readonly active: false }
  /** Active, but not one that may be used here. */
  | { readonly active: true; readonly untrusted: string }
  | {
      readonly active: true;
      readonly untrusted: null;
      readonly issuer: string | null;
      readonly jti: string | null;
      readonly subject: string | null;
      readonly scopes: readonly string[];
      readonly roles: readonly string[];
      readonly issuedAt: number | null;
      readonly notBefore: number | null;
      /** Null: the server does not say. */
      readonly expiresAt: number | null;
      readonly confirmation: Confirmation | null;
      /** All other members. */
      readonly claims: JsonObject;
    };

export interface AnswerRules {
  /** Null: whoever a token is for. */
  readonly audiences: readonly string[] | null;
  readonly requireTokenType: boolean;
}

/** Members that a principal has a place of its own for, or that say nothing beyond the answer itself. */
const ELSEWHERE: ReadonlySet<string> = new Set([
  'active',
  'sub',
  'exp',
  'nbf',
  'iat',
  'jti',
  'cnf',
  'scope',
  '__proto__',
]);

/**
 * Reads the body of an answer; pure. The error says what is wrong with the answer, so with the server, and repeats nothing of
 * it: such an answer is no word against the token.
 */
export function readIntrospectionAnswer(bytes: Uint8Array, rules: AnswerRules): Result<IntrospectionAnswer, string> {
  const document = parseStrictJson(bytes);
  if (!document.ok) return err(`the JSON of the answer: ${document.error}`);
  if (!isJsonObject(document.value)) return err('the answer is no object');
  const active = memberOf(document.value, 'active');
  // "true" and 1 are no yes.
  if (typeof active !== 'boolean') return err('active is not a boolean');
  return active ? readActive(document.value, rules) : ok({ active: false });
}

function readActive(members: JsonObject, rules: AnswerRules): Result<IntrospectionAnswer, string> {
  const [issuer, jti, subject] = ['iss', 'jti', 'sub'].map((name) => readText(members, name));
  const [expiresAt, issuedAt, notBefore] = ['exp', 'iat', 'nbf'].map((name) => readTime(members, name));
  const scopes = readScopes(memberOf(members, 'scope'));
  const roles = readNames(memberOf(members, 'roles'));
  if (issuer === undefined || jti === undefined || subject === undefined) {
    return err('iss, jti or sub is not one short line of text');
  }
  if (expiresAt === undefined || issuedAt === undefined || notBefore === undefined) {
    return err('exp, iat or nbf is not a number of seconds');
  }
  if (scopes === null) return err('scope is not a text of scopes with single spaces between');
  if (roles === null) return err('roles is neither a text nor a list of texts');
  const untrusted = unlikeAccessToken(members, rules) ?? forOthers(memberOf(members, 'aud'), rules.audiences);
  if (untrusted !== null) return ok({ active: true, untrusted });
  const confirmation = readConfirmation(memberOf(members, 'cnf'));
  if (!confirmation.ok) return ok({ active: true, untrusted: confirmation.error });
  const claims = Object.fromEntries(Object.entries(members).filter(([name]) => !ELSEWHERE.has(name)));
  const said = { issuer, jti, subject, scopes, roles, issuedAt, notBefore, expiresAt };
  return ok({ active: true, untrusted: null, ...said, confirmation: confirmation.value, claims });
}

/**
 * A refresh token is active too. What the answer says it is has to be an access token: `token_type` (RFC 7662 §2.2), and what
 * known servers say beside it (`token_use`: Ory Hydra; `typ`: Keycloak).
 */
function unlikeAccessToken(members: JsonObject, { requireTokenType }: AnswerRules): string | null {
  const type = memberOf(members, 'token_type') ?? null;
  if (type === null && requireTokenType) return 'Its server does not say that it is an access token (token_type).';
  const isBearer = typeof type === 'string' && ['bearer', 'dpop'].includes(type.toLowerCase());
  if (type !== null && !isBearer) return 'It is of a type that is not understood here (token_type).';
  const use = memberOf(members, 'token_use') ?? null;
  const typ = memberOf(members, 'typ');
  const other = typeof typ === 'string' && /^(refresh|offline|id)$/i.test(typ);
  return (use !== null && use !== 'access_token') || other ? 'It is not an access token.' : null;
}

function forOthers(aud: JsonValue | undefined, audiences: readonly string[] | null): string | null {
  if (audiences === null) return null;
  const named = typeof aud === 'string' ? [aud] : Array.isArray(aud) ? aud.slice(0, CLAIM_LIMITS.audiences) : [];
  return named.some((one) => typeof one === 'string' && audiences.includes(one))
    ? null
    : 'It is for another audience (aud).';
}

/** Null: absent; undefined: of a wrong type. */
function readText(members: JsonObject, name: string): string | null | undefined {
  const value = memberOf(members, name) ?? null;
  if (value === null) return null;
  return typeof value === 'string' && value.length <= CLAIM_LIMITS.text && ONE_LINE.test(value) ? value : undefined;
}

/** RFC 7519 §2: seconds, perhaps with a fraction. Null: absent; undefined: not one. */
function readTime(members: JsonObject, name: string): number | null | undefined {
  const value = memberOf(members, name) ?? null;
  if (value === null) return null;
  return typeof value === 'number' && value >= 0 && value <= LAST_SECOND ? Math.floor(value * 1000) : undefined;
}

function readScopes(scope: JsonValue | undefined): readonly string[] | null {
  if (scope === undefined || scope === null || scope === '') return [];
  return typeof scope === 'string' ? namesOf(scope.split(' '), SCOPE_TOKEN) : null;
}

function readNames(value: JsonValue | undefined): readonly string[] | null {
  if (value === undefined || value === null || value === '') return [];
  return namesOf(Array.isArray(value) ? value : [value], ONE_LINE);
}

function namesOf(list: readonly JsonValue[], name: RegExp): readonly string[] | null {
  if (list.length > CLAIM_LIMITS.scopes) return null;
  const good = list.filter((one) => typeof one === 'string' && one.length <= CLAIM_LIMITS.name && name.test(one));
  return good.length === list.length ? [...new Set(good.map(String))] : null;
}
