import type { AccessDetails, AuditEventInput } from '../model/audit-event.ts';
import type { McpMessage } from '../model/mcp-message.ts';
import { type Principal, TOKEN_TYPES } from '../model/principal.ts';
import type { ClaimValue } from '../model/token-record.ts';
import type { PolicyRequest } from './compiled-policy.ts';

/** An audit event as it stands in a line; whatever a line holds may be of another shape than it should. */
export type RecordedEvent = Omit<AuditEventInput, 'time'> & { readonly time: string };

/** `would_deny`: denied, and let through because the rule or API only reported. */
export type ReplayedOutcome = 'allow' | 'would_deny' | 'deny';

/** What an access event tells about one request. */
export interface RecordedRequest {
  readonly outcome: ReplayedOutcome;
  readonly reason: string | null;
  readonly request: PolicyRequest;
  /** Version of the policy that decided. */
  readonly policy: string | null;
  readonly api: string | null;
  readonly rule: string | null;
  readonly credential: RecordedCredential;
  /** The method that a preflight announces; null where the request was none. */
  readonly preflight: string | null;
  /** The rate limit that refused it, see `rateLimitText`. */
  readonly rateLimit: string | null;
}

/**
 * `unread`: a token came along and nobody looked at it. `refused`: the token itself was refused, or could not be looked
 * up. `unknown`: the event does not say.
 */
export type RecordedCredential =
  | { readonly kind: 'none' | 'unread' | 'refused' | 'unknown' }
  | {
      readonly kind: 'token';
      readonly principal: Principal;
      /** When the conditions were judged, milliseconds since the epoch. */
      readonly decidedAt: number;
      /** Not all claims were recorded. */
      readonly claimsCut: boolean;
    };

const OUTCOMES: Readonly<Record<string, ReplayedOutcome>> = {
  'access.allowed': 'allow',
  'access.would_deny': 'would_deny',
  'access.denied': 'deny',
};

/** Refusals that end in the token and not in the policy. Without a token there is `token_missing`, with two `token_ambiguous`. */
const TOKEN_REFUSALS: ReadonlySet<string> = new Set([
  'token_malformed',
  'token_unknown',
  'token_expired',
  'token_not_yet_valid',
  'token_revoked',
  'token_superseded',
  'token_wrong_environment',
  'token_untrusted',
  'store_unavailable',
]);

/** Null for an event that is not of a request, or of one of which not even method and path are known. */
export function readRecordedRequest(event: RecordedEvent): RecordedRequest | null {
  const outcome = Object.hasOwn(OUTCOMES, event.type) ? OUTCOMES[event.type] : undefined;
  const method = textOf(event.method);
  const path = textOf(event.path);
  if (outcome === undefined || method === null || path === null) return null;
  const details = detailsOf(event.details);
  return {
    outcome,
    reason: textOf(event.reason),
    request: {
      method,
      path,
      host: textOf(event.host) ?? '',
      ip: textOf(event.ip) ?? '',
      ...messageOf(details, method),
    },
    policy: textOf(event.policy),
    api: textOf(event.api),
    rule: textOf(event.rule),
    credential: credentialOf(event, details, outcome),
    preflight: textOf(details.preflight),
    rateLimit: textOf(details.rate_limit),
  };
}

/** Left out where the event does not tell; null where the gateway cannot have looked at any. */
function messageOf({ mcp, decision_only: decisionOnly }: AccessDetails, method: string): { mcp?: McpMessage | null } {
  if (method !== 'POST' || decisionOnly === true) return { mcp: null };
  if (typeof mcp !== 'object' || mcp === null) return {};
  return { mcp: { method: textOf(mcp.method), tool: textOf(mcp.tool) } };
}

function credentialOf(event: RecordedEvent, details: AccessDetails, outcome: ReplayedOutcome): RecordedCredential {
  const { token, credential, decided_at: decidedAt } = details;
  // A token may also be refused after the decision, when it was revoked meanwhile.
  if (outcome === 'deny' && TOKEN_REFUSALS.has(textOf(event.reason) ?? '')) return { kind: 'refused' };
  if (typeof token === 'object' && token !== null && typeof decidedAt === 'number') {
    const principal = principalOf(event, token);
    if (principal === null) return { kind: 'unknown' };
    return { kind: 'token', principal, decidedAt, claimsCut: token.claims_cut === true };
  }
  if (credential === 'none' || credential === 'unread') return { kind: credential };
  if (outcome !== 'deny') return { kind: 'unknown' };
  // A preflight carries none either, but is not told apart from another OPTIONS by versions that say no more.
  if (event.reason === 'token_missing') return { kind: event.method === 'OPTIONS' ? 'unknown' : 'none' };
  return { kind: 'unknown' };
}

function principalOf(event: RecordedEvent, token: NonNullable<AccessDetails['token']>): Principal | null {
  const tokenType = TOKEN_TYPES.find((known) => known === event.token_type);
  const { scopes, roles = [], ip = [], claims = {}, issued_at: issuedAt } = token;
  if (tokenType === undefined || !isTexts(scopes) || !isTexts(roles) || !isTexts(ip)) return null;
  if (typeof issuedAt !== 'number' || typeof claims !== 'object' || claims === null) return null;
  return {
    tokenType,
    tokenId: textOf(event.token_id) ?? '',
    subject: textOf(event.subject),
    owner: textOf(event.owner),
    class: textOf(token.class),
    scopes,
    roles,
    claims,
    ip,
    issuedAt,
    expiresAt: Number.POSITIVE_INFINITY,
    supersededUntil: null,
    foreign: null,
    confirmation: null,
  };
}

/** Taken at its word; every member is looked at where it is used. */
function detailsOf(details: RecordedEvent['details']): AccessDetails {
  return typeof details === 'object' && details !== null ? details : {};
}

function textOf(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}

/** What the audit trail puts in place of what looks like a token, and of what is too long for a line. */
const REPLACED = /…|\[jwt\]|\[redacted\]|\ufffd/;

/** Whether a text may be another one than that which was decided on. */
export function wasReplaced(text: string): boolean {
  return REPLACED.test(text);
}

export function claimWasReplaced(value: ClaimValue | undefined): boolean {
  if (typeof value === 'string') return wasReplaced(value);
  return Array.isArray(value) && value.some(claimWasReplaced);
}
