import type { AccessDetails } from '../model/audit-event.ts';
import type { McpMessage } from '../model/mcp-message.ts';
import type { Principal } from '../model/principal.ts';
import type { Claims, ClaimValue } from '../model/token-record.ts';
import { rateLimitText } from '../policy/replay.ts';
import type { Exchange } from './exchange.ts';
import { isPreflight } from './judge.ts';

const NO_CREDENTIAL: AccessDetails = { credential: 'none' };
const UNREAD_CREDENTIAL: AccessDetails = { credential: 'unread' };

/** Characters of the claims of one event, about: an issuer's many claims must not make every line of the trail long. */
const CLAIMS_CHARS = 4096;

/** Longest method of a preflight that is recorded: no known one is longer. */
const METHOD_CHARS = 32;

/**
 * What the decision on a request hung on, for its audit event; undefined where the policy was not asked. Lists are handed
 * on as they are, members in the order of their names, so that the event is written without another look at them.
 */
export function decisionBasis(exchange: Exchange, bases: TokenBases): AccessDetails | undefined {
  const { decisionOnly, mcp } = exchange;
  if (!decisionOnly && mcp === null) return basisOf(exchange, bases);
  const { credential, decided_at, preflight, rate_limit, token } = basisOf(exchange, bases) ?? {};
  const decision_only = decisionOnly ? true : undefined;
  return { credential, decided_at, decision_only, mcp: recordedMessage(mcp), preflight, rate_limit, token };
}

/** Members that say nothing are left out; an answer to the server has none. */
function recordedMessage(mcp: McpMessage | null): AccessDetails['mcp'] {
  if (mcp === null) return undefined;
  const { method, tool } = mcp;
  return { ...(method === null ? {} : { method }), ...(tool === null ? {} : { tool }) };
}

function basisOf(exchange: Exchange, bases: TokenBases): AccessDetails | undefined {
  const { principal } = exchange;
  if (principal === null) return withoutToken(exchange);
  if (exchange.decidedAt === 0) return undefined;
  const limit = (exchange.wouldDeny ?? exchange.reason) === 'rate_limited' ? (exchange.rule?.rateLimit ?? null) : null;
  return withToken(principal, exchange.decidedAt, limit === null ? undefined : rateLimitText(limit), bases);
}

/** What the policy saw of a principal; the same object for as long as the principal is the same. */
export type TokenBases = WeakMap<Principal, NonNullable<AccessDetails['token']>>;

export function withToken(
  principal: Principal,
  decidedAt: number,
  rateLimit?: string,
  bases: TokenBases = new WeakMap(),
): AccessDetails {
  let token = bases.get(principal);
  if (token === undefined) {
    token = tokenBasis(principal);
    bases.set(principal, token);
  }
  return { decided_at: decidedAt, rate_limit: rateLimit, token };
}

function tokenBasis(principal: Principal): NonNullable<AccessDetails['token']> {
  const { claims, cut } = recordable(principal.claims);
  return {
    claims,
    claims_cut: cut,
    class: principal.class ?? undefined,
    ip: principal.ip.length === 0 ? undefined : principal.ip,
    issued_at: principal.issuedAt,
    issuer: principal.foreign?.issuer ?? undefined,
    jti: principal.foreign?.jti ?? undefined,
    roles: principal.roles.length === 0 ? undefined : principal.roles,
    scopes: principal.scopes,
  };
}

/** Requests that were judged without a token; for those that are refused for theirs, no policy has a say. */
function withoutToken(exchange: Exchange): AccessDetails | undefined {
  const { head, reason } = exchange;
  if (head === null || exchange.path === '') return undefined;
  const none = head.credential === null;
  const preflight = none && exchange.method === 'OPTIONS';
  if (preflight) return isPreflight(exchange) ? { credential: 'none', preflight: announced(exchange) } : NO_CREDENTIAL;
  const judged = exchange.decidedAt !== 0 || reason === 'path_ambiguous';
  if (!judged) return undefined;
  return none ? NO_CREDENTIAL : UNREAD_CREDENTIAL;
}

function announced(exchange: Exchange): string {
  return (exchange.request.headers['access-control-request-method'] ?? '').slice(0, METHOD_CHARS);
}

interface Recordable {
  readonly claims: Claims | undefined;
  readonly cut: true | undefined;
}

const NO_CLAIMS: Recordable = { claims: undefined, cut: undefined };

/** The claims that a condition can look at, as far as there is room; the very same object where that is all of them. */
function recordable(claims: Claims): Recordable {
  const names = Object.keys(claims);
  if (names.length === 0) return NO_CLAIMS;
  let size = 0;
  for (const name of names) {
    const value = claims[name];
    if (!isScalar(value) && !(Array.isArray(value) && value.every(isScalar))) return chosen(claims);
    size += name.length + sizeOf(value);
  }
  return size <= CLAIMS_CHARS ? { claims, cut: undefined } : chosen(claims);
}

function chosen(claims: Claims): Recordable {
  let room = CLAIMS_CHARS;
  let cut: true | undefined;
  const kept = Object.entries(claims).flatMap(([name, value]): [string, ClaimValue][] => {
    if (!isScalar(value) && !Array.isArray(value)) return [];
    const matchable: ClaimValue = Array.isArray(value) ? value.filter(isScalar) : value;
    const size = name.length + sizeOf(matchable);
    if (size > room) cut = true;
    if (size > room) return [];
    room -= size;
    return [[name, matchable]];
  });
  return { claims: Object.fromEntries(kept), cut };
}

function isScalar(value: ClaimValue | undefined): value is string | number | boolean {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';
}

/** About how many characters a claim takes. */
function sizeOf(value: ClaimValue | undefined): number {
  if (typeof value === 'string') return value.length;
  return Array.isArray(value) ? value.reduce((sum: number, item: ClaimValue) => sum + 2 + sizeOf(item), 0) : 8;
}
