/**
 * Why a request was refused: one closed list for answers, logs, metrics, audit, documentation and tests.
 *
 * `challenge` is the RFC 6750 §3.1 error code of the `WWW-Authenticate` answer; `none` is a challenge without a
 * code (§3: nothing was presented), `null` no challenge at all.
 */
export interface ReasonEntry {
  readonly status: number;
  readonly title: string;
  readonly challenge: 'invalid_request' | 'invalid_token' | 'insufficient_scope' | 'none' | null;
  /** Seconds for `Retry-After`, where a repeat makes sense. */
  readonly retryAfter: number | null;
}

function entry(
  status: number,
  title: string,
  challenge: ReasonEntry['challenge'] = null,
  retryAfter: number | null = null,
): ReasonEntry {
  return { status, title, challenge, retryAfter };
}

export const REASONS = {
  path_ambiguous: entry(400, 'The path can be read in more than one way'),
  request_malformed: entry(400, 'The request is malformed'),
  token_ambiguous: entry(400, 'More than one token was presented', 'invalid_request'),
  token_missing: entry(401, 'A token is required', 'none'),
  token_malformed: entry(401, 'The token is malformed', 'invalid_token'),
  token_unknown: entry(401, 'The token is not known', 'invalid_token'),
  token_expired: entry(401, 'The token has expired', 'invalid_token'),
  token_not_yet_valid: entry(401, 'The token is not valid yet', 'invalid_token'),
  token_revoked: entry(401, 'The token has been revoked', 'invalid_token'),
  token_superseded: entry(401, 'The token has been replaced by a newer one', 'invalid_token'),
  token_wrong_environment: entry(401, 'The token belongs to another environment', 'invalid_token'),
  token_untrusted: entry(401, 'The token is not trusted here', 'invalid_token'),
  scope_insufficient: entry(403, 'The token lacks a required scope', 'insufficient_scope'),
  route_not_declared: entry(403, 'No policy allows this request', 'insufficient_scope'),
  condition_failed: entry(403, 'A condition of the policy is not met', 'insufficient_scope'),
  body_too_large: entry(413, 'The request body is too large'),
  headers_too_large: entry(431, 'The request headers are too large'),
  request_timeout: entry(408, 'The request took too long to arrive'),
  rate_limited: entry(429, 'Too many requests'),
  upstream_unreachable: entry(502, 'The upstream cannot be reached'),
  upstream_invalid: entry(502, 'The upstream gave an invalid answer'),
  upstream_timeout: entry(504, 'The upstream did not answer in time'),
  store_unavailable: entry(503, 'The token store cannot be reached', null, 1),
  draining: entry(503, 'The gateway is shutting down', null, 1),
  overloaded: entry(503, 'The gateway is overloaded', null, 1),
} as const satisfies Readonly<Record<string, ReasonEntry>>;

export type Reason = keyof typeof REASONS;

export const REASON_NAMES = Object.keys(REASONS) as readonly Reason[];
