import type { Principal } from '../model/principal.ts';
import type { CompiledPolicy, CompiledRule, RateLimit, RouteMatch } from './compiled-policy.ts';
import { decide } from './decide.ts';
import { claimWasReplaced, type RecordedRequest, type ReplayedOutcome, wasReplaced } from './recorded-request.ts';
import { isReservedPath } from './reserved-paths.ts';

/** Why a recorded request cannot be decided again, for people. */
export const UNDECIDABLE = {
  not_recorded: 'the event does not say what the decision needs: it is from an older version, or was cut',
  credential_unread: 'a public rule let it in, and nobody looked at the token that came along',
  text_replaced: 'a text in the event was masked or cut, because it looks like a token or is too long',
  claim_not_recorded: 'a condition looks at a claim that was too long to be recorded',
  message_not_recorded: 'a condition looks at the message in the body, and the event does not tell it',
  rate_limit:
    'it was refused by a rate limit that is another one now, and what that refuses depends on all requests around it',
} as const;
export type UndecidableCause = keyof typeof UNDECIDABLE;

export type Redecision =
  | {
      readonly kind: 'decided';
      readonly outcome: ReplayedOutcome;
      readonly reason: string | null;
      readonly rule: CompiledRule | null;
      readonly api: string | null;
    }
  | { readonly kind: 'undecidable'; readonly cause: UndecidableCause }
  /** Whatever the policies say, the request stays refused or answered as it was. */
  | { readonly kind: 'outside' };

export interface ReplayOptions {
  /** Judge as if every rule and API enforced. */
  readonly enforce: boolean;
}

/** Refusals that come before any policy is asked, or have nothing to do with it. */
const OUTSIDE_POLICY: ReadonlySet<string> = new Set([
  'request_malformed',
  'token_ambiguous',
  'body_too_large',
  'headers_too_large',
  'request_timeout',
  'upstream_unreachable',
  'upstream_invalid',
  'upstream_timeout',
  'draining',
  'overloaded',
]);

const OUTSIDE: Redecision = { kind: 'outside' };

/**
 * The decision on a recorded request under these policies: the same steps in the same order as on the data plane, with the
 * event's own time. Total and pure. What the event does not tell is never guessed.
 */
export function redecide(policy: CompiledPolicy, recorded: RecordedRequest, options: ReplayOptions): Redecision {
  const { request, outcome, reason } = recorded;
  if (isReservedPath(request.path)) return OUTSIDE;
  // Denied without a reason: the client had gone before there was a decision.
  if (outcome === 'deny' && (reason === null || OUTSIDE_POLICY.has(reason))) return OUTSIDE;
  if (wasReplaced(request.path) || wasReplaced(request.host)) return undecidable('text_replaced');
  if (policy.routes.ambiguous(request)) return denied('path_ambiguous', null);
  const match = policy.routes.match(request);
  if (match?.rule?.public === true) return allowed(match.rule, recorded, policy, options);
  return judged(policy, recorded, match, options);
}

function judged(
  policy: CompiledPolicy,
  recorded: RecordedRequest,
  match: RouteMatch | null,
  options: ReplayOptions,
): Redecision {
  const { credential } = recorded;
  switch (credential.kind) {
    case 'none':
      return withoutToken(policy, recorded, match);
    case 'refused':
      return OUTSIDE;
    case 'unread':
      return undecidable('credential_unread');
    case 'unknown':
      return recorded.policy === policy.version ? asRecorded(policy, recorded, options) : undecidable('not_recorded');
    case 'token':
      return withToken(policy, recorded, match, credential, options);
  }
}

/** A preflight may go on to the upstream; nothing else may. */
function withoutToken(policy: CompiledPolicy, recorded: RecordedRequest, match: RouteMatch | null): Redecision {
  const { request, preflight } = recorded;
  if (preflight === null || match === null || match.api.preflight !== 'forward') return denied('token_missing', match);
  const announced = policy.routes.match({ ...request, method: preflight });
  if (announced === null || announced.rule === null || announced.api !== match.api)
    return denied('token_missing', match);
  return { kind: 'decided', outcome: 'allow', reason: null, rule: announced.rule, api: announced.api.name };
}

function withToken(
  policy: CompiledPolicy,
  recorded: RecordedRequest,
  match: RouteMatch | null,
  token: Extract<RecordedRequest['credential'], { kind: 'token' }>,
  options: ReplayOptions,
): Redecision {
  const { principal, decidedAt, claimsCut } = token;
  const missing = whatIsMissing(principal, match?.rule ?? null, claimsCut);
  if (missing !== null) return undecidable(missing);
  const { mcp } = recorded.request;
  const decision = decide(policy, match, recorded.request, principal, decidedAt);
  if (decision.effect === 'deny' && decision.condition === 'mcp') {
    if (mcp === undefined)
      return recorded.policy === policy.version
        ? asRecorded(policy, recorded, options)
        : undecidable('message_not_recorded');
    if ([mcp?.method, mcp?.tool].some((text) => typeof text === 'string' && wasReplaced(text)))
      return undecidable('text_replaced');
  }
  if (decision.effect === 'allow') return allowed(decision.rule, recorded, policy, options);
  const outcome = decision.reportOnly && !options.enforce ? 'would_deny' : 'deny';
  return {
    kind: 'decided',
    outcome,
    reason: decision.reason,
    rule: decision.rule,
    api: decision.api === null ? null : decision.api.name,
  };
}

function whatIsMissing(principal: Principal, rule: CompiledRule | null, claimsCut: boolean): UndecidableCause | null {
  if ([...principal.scopes, ...principal.roles, ...principal.ip].some(wasReplaced)) return 'text_replaced';
  for (const name of rule?.conditions.flatMap(({ claims = [] }) => claims) ?? []) {
    const recorded = Object.hasOwn(principal.claims, name);
    if (claimsCut && !recorded && name !== 'sub') return 'claim_not_recorded';
    const value = name === 'sub' ? (principal.subject ?? undefined) : recorded ? principal.claims[name] : undefined;
    if (claimWasReplaced(value)) return 'text_replaced';
  }
  return null;
}

/** What the same policies decided then; only a request of which the event tells too little comes to this. */
function asRecorded(policy: CompiledPolicy, recorded: RecordedRequest, { enforce }: ReplayOptions): Redecision {
  const { outcome, reason } = recorded;
  const api = policy.apis.find(({ name }) => name === recorded.api);
  const rule = api?.rules.find(({ name }) => name === recorded.rule) ?? null;
  const enforced = enforce && outcome === 'would_deny' ? 'deny' : outcome;
  return { kind: 'decided', outcome: enforced, reason: outcome === 'allow' ? null : reason, rule, api: recorded.api };
}

/** How the audit trail tells a limit. */
export function rateLimitText({ requests, perMs, by }: RateLimit): string {
  return `${requests}/${perMs}ms by ${by}`;
}

/** A limit is no part of the decision, but what it refused stays refused as long as nobody knows better. */
function allowed(
  rule: CompiledRule,
  recorded: RecordedRequest,
  policy: CompiledPolicy,
  { enforce }: ReplayOptions,
): Redecision {
  if (recorded.outcome !== 'allow' && recorded.reason === 'rate_limited' && rule.rateLimit !== null) {
    const same = recorded.policy === policy.version || recorded.rateLimit === rateLimitText(rule.rateLimit);
    if (!same) return undecidable('rate_limit');
    const enforced = recorded.outcome === 'would_deny' && (enforce || rule.mode === 'enforce');
    return enforced ? { kind: 'decided', outcome: 'deny', reason: recorded.reason, rule, api: rule.api.name } : OUTSIDE;
  }
  return { kind: 'decided', outcome: 'allow', reason: null, rule, api: rule.api.name };
}

function denied(reason: string, match: RouteMatch | null): Redecision {
  return { kind: 'decided', outcome: 'deny', reason, rule: match?.rule ?? null, api: match?.api.name ?? null };
}

function undecidable(cause: UndecidableCause): Redecision {
  return { kind: 'undecidable', cause };
}
