import type { MaybePromise } from '../base/result.ts';
import type { Principal } from '../model/principal.ts';
import type { CompiledPolicy, CompiledRule, PolicyRequest, RouteMatch } from '../policy/compiled-policy.ts';
import { decide, effectiveScopes } from '../policy/decide.ts';
import { NEVER_FORWARDED } from '../policy/never-forwarded.ts';
import { isReservedPath } from '../policy/reserved-paths.ts';
import type { AuthenticationOutcome } from '../token/authenticator.ts';
import { canonicalTarget } from './canonical-path.ts';
import { isDecisionCall, NO_TRUSTED_PROXY, readOriginalRequest } from './decision-endpoint.ts';
import type { Exchange } from './exchange.ts';
import type { Gateway } from './gateway.ts';
import { KEY_SET_PATH, KeySetCall } from './key-set.ts';
import { mayCarryMessage, readMcpBody } from './mcp-body.ts';
import { OwnTokenCall, ownTokenAction } from './own-token.ts';
import { Permit, permitAllowed, permitReported } from './permit.ts';
import { checkPossession } from './possession.ts';
import { type Refusal, refuse } from './refusal.ts';
import type { RequestHead } from './request-head.ts';
import type { ResourceMetadataCall } from './resource-metadata.ts';
import { isTraceparent } from './trace-context.ts';

export type Verdict = Permit | Refusal | OwnTokenCall | KeySetCall | ResourceMetadataCall;

/**
 * From a request to a permit or a refusal: admission, one reading of head and path, one credential, authentication,
 * decision. At once where the store is in this process. Every way that is not an allow ends in a refusal.
 */
export function judge(gateway: Gateway, exchange: Exchange): MaybePromise<Verdict> {
  const head = readHead(gateway, exchange);
  if ('reason' in head) return head;
  const malformed = readTarget(gateway, exchange, head);
  if (malformed !== null) return malformed;
  const { assertion } = gateway.options;
  if (assertion !== null && exchange.path === KEY_SET_PATH && !exchange.decisionOnly) {
    return new KeySetCall(assertion.keys.keySet(), assertion.keys.maxAgeSeconds);
  }

  const policy = gateway.options.policy.current();
  if (policy === null) return refuse('route_not_declared', 'No policy is loaded.');
  exchange.policyVersion = policy.version;
  const request: PolicyRequest = {
    method: exchange.method,
    host: exchange.host,
    path: exchange.path,
    ip: exchange.client,
  };
  if (policy.routes.ambiguous(request)) return refuse('path_ambiguous');
  if (head.credentialAmbiguous) return refuse('token_ambiguous');
  const reserved = isReservedPath(exchange.path);
  if (reserved && !exchange.decisionOnly) {
    const metadata = gateway.resources.find(policy, exchange.path, exchange.host);
    if (metadata !== null) return metadata;
  }
  const match = reserved ? null : policy.routes.match(request);
  exchange.api = match?.api ?? null;
  exchange.rule = match?.rule ?? null;

  const bodyBytes = gateway.options.limits.bodyBytes;
  if (bodyBytes !== null && head.contentLength > bodyBytes) return refuse('body_too_large');
  if (match?.rule?.public === true) return conclude(gateway, exchange, policy, match, request, null);
  if (head.credential === null) {
    if (match !== null && match.api.preflight === 'forward' && isPreflight(exchange)) {
      return conclude(gateway, exchange, policy, preflightMatch(policy, match, exchange, request), request, null);
    }
    return refuse('token_missing');
  }
  const outcome = gateway.options.authenticator.authenticate(
    head.credential,
    gateway.options.clock.now(),
    exchange.api?.onUnavailable ?? null,
    exchange.request.memo?.credential ?? null,
  );
  return outcome instanceof Promise
    ? outcome.then((settled) => authenticated(gateway, exchange, policy, match, request, settled))
    : authenticated(gateway, exchange, policy, match, request, outcome);
}

/** Whether the process takes the request at all, and whether its head has exactly one reading. */
function readHead(gateway: Gateway, exchange: Exchange): RequestHead | Refusal {
  const { request } = exchange;
  if (gateway.draining) return refuse('draining');
  if (gateway.options.audit.saturated) return refuse('overloaded', 'The audit trail cannot keep up.');
  if (request.rawHeaders.length > gateway.options.limits.headers * 2) return refuse('headers_too_large');
  if (request.httpVersion !== '1.1' && request.httpVersion !== '1.0') return refuse('request_malformed');
  const { memo } = request;
  const head = memo?.head ?? gateway.heads.read(request.rawHeaders, request.httpVersion);
  if (head === null) {
    return refuse('request_malformed', 'The Host, the framing or the Connection of the request is not valid.');
  }
  if (NEVER_FORWARDED.has(exchange.method)) return refuse('request_malformed', 'The method is not served here.');
  // HTTP/1.0 knows no OPTIONS (RFC 1945 §8); RTSP does, and node's parser takes its request lines for HTTP/1.0.
  if (exchange.method === 'OPTIONS' && request.httpVersion === '1.0') return refuse('request_malformed');
  if (memo !== undefined) memo.head = head;
  exchange.head = head;
  exchange.client = gateway.addresses.client(exchange.peer, head);
  exchange.host = head.hostName;
  exchange.traceparent =
    head.traceparent !== null && isTraceparent(head.traceparent) ? head.traceparent : gateway.ids.traceparent();
  return head;
}

function readTarget(gateway: Gateway, exchange: Exchange, head: RequestHead): Refusal | null {
  const text = exchange.request.url ?? '';
  if (isDecisionCall(text) && gateway.addresses.isTrusted(exchange.peer)) return readOriginalRequest(exchange, head);
  const target = canonicalTarget(text);
  if (!target.ok) return refuse(target.reason);
  // RFC 9112 §3.2.2 lets the target override Host; two different authorities are two readings, so refused.
  if (target.authority !== null && target.authority.toLowerCase() !== head.host.toLowerCase()) {
    return refuse('request_malformed', 'The request-target and the Host name different authorities.');
  }
  exchange.path = target.path;
  exchange.query = target.query;
  return null;
}

/** A CORS preflight (Fetch standard, "CORS-preflight request"): it can carry no token. */
export function isPreflight(exchange: Exchange): boolean {
  const { headers } = exchange.request;
  return (
    exchange.method === 'OPTIONS' &&
    headers.origin !== undefined &&
    headers['access-control-request-method'] !== undefined &&
    // Envoy asks for a decision with an empty body of a stated length.
    (exchange.head?.framing === 'none' || (exchange.decisionOnly && exchange.head?.contentLength === 0))
  );
}

/** The route of the request that the preflight announces: only a declared one is asked for at the upstream. */
function preflightMatch(
  policy: CompiledPolicy,
  match: RouteMatch,
  exchange: Exchange,
  request: PolicyRequest,
): PreflightMatch | null {
  const method = exchange.request.headers['access-control-request-method'] ?? '';
  const announced = policy.routes.match({ ...request, method });
  if (announced === null || announced.rule === null || announced.api !== match.api) return null;
  return { preflight: true, match: announced };
}

interface PreflightMatch {
  readonly preflight: true;
  readonly match: RouteMatch;
}

/** What is wrong most often: a token that was cut, broken over two lines, or pasted with a space in it. */
const MISCOPIED = 'This is not a whole token: its form or its checksum is wrong. Copy it again, without spaces.';

function authenticated(
  gateway: Gateway,
  exchange: Exchange,
  policy: CompiledPolicy,
  match: RouteMatch | null,
  request: PolicyRequest,
  outcome: AuthenticationOutcome,
): MaybePromise<Verdict> {
  if (!outcome.ok) return unauthenticated(gateway, exchange, outcome);
  const { principal } = outcome;
  // Known and proven, whoever presents it.
  exchange.tokenId = principal.tokenId;
  if (principal.confirmation === null && exchange.head?.dpop !== true) {
    return possessed(gateway, exchange, policy, match, request, outcome);
  }
  // A leaked token may be ended by whoever finds it, also without its key.
  if (match === null && ownTokenAction(exchange.path) === 'revoke') {
    return possessed(gateway, exchange, policy, match, request, outcome);
  }
  const doubt = checkPossession(gateway, exchange, principal);
  if (!(doubt instanceof Promise)) return doubt ?? possessed(gateway, exchange, policy, match, request, outcome);
  return doubt.then((settled) => {
    exchange.waited = true;
    return settled ?? possessed(gateway, exchange, policy, match, request, outcome);
  });
}

/** The token is let in: whoever presents it may. */
function possessed(
  gateway: Gateway,
  exchange: Exchange,
  policy: CompiledPolicy,
  match: RouteMatch | null,
  request: PolicyRequest,
  outcome: Extract<AuthenticationOutcome, { ok: true }>,
): MaybePromise<Verdict> {
  exchange.principal = outcome.principal;
  exchange.scopes = effectiveScopes(policy, outcome.principal);
  // Of tokens of others there is no record that a use could be noted in.
  if (outcome.principal.foreign === null) {
    gateway.options.uses.note({
      id: outcome.principal.tokenId,
      at: gateway.options.clock.now(),
      ip: exchange.client || exchange.peer,
      count: 1,
      generation: outcome.generation,
    });
  }
  if (outcome.retiresOlder !== true) return admit(gateway, exchange, policy, match, request, outcome);
  return gateway.options.generations.retireOlder(outcome.principal.tokenId, outcome.generation).then(() => {
    exchange.waited = true;
    return admit(gateway, exchange, policy, match, request, outcome);
  });
}

function unauthenticated(
  gateway: Gateway,
  exchange: Exchange,
  outcome: Extract<AuthenticationOutcome, { ok: false }>,
): MaybePromise<Refusal> {
  exchange.tokenId = outcome.tokenId;
  const miscopied = outcome.reason === 'token_malformed' ? MISCOPIED : null;
  const refusal = refuse(outcome.reason, outcome.detail ?? miscopied);
  if (outcome.reason !== 'token_superseded') return refusal;
  return gateway.reportReuse(exchange, outcome)?.then(() => refusal) ?? refusal;
}

function admit(
  gateway: Gateway,
  exchange: Exchange,
  policy: CompiledPolicy,
  match: RouteMatch | null,
  request: PolicyRequest,
  { principal, generation }: Extract<AuthenticationOutcome, { ok: true }>,
): MaybePromise<Verdict> {
  if (match === null && !exchange.decisionOnly) {
    const action = ownTokenAction(exchange.path);
    if (action !== null) return new OwnTokenCall(action, principal, generation);
    if (isDecisionCall(exchange.request.url ?? '')) return refuse('route_not_declared', NO_TRUSTED_PROXY);
  }
  return conclude(gateway, exchange, policy, match, request, principal);
}

function conclude(
  gateway: Gateway,
  exchange: Exchange,
  policy: CompiledPolicy,
  route: RouteMatch | PreflightMatch | null,
  request: PolicyRequest,
  principal: Principal | null,
): MaybePromise<Verdict> {
  if (route !== null && 'preflight' in route) {
    const { api, rule, params } = route.match;
    if (rule === null) return refuse('token_missing');
    exchange.rule = rule;
    return permitAllowed({ effect: 'allow', api, rule, params }, null);
  }
  exchange.decidedAt = gateway.options.clock.now();
  const decision = decide(policy, route, request, principal, exchange.decidedAt);
  if (decision.effect === 'deny') {
    if (decision.condition === 'mcp' && route !== null && request.mcp === undefined && mayCarryMessage(exchange)) {
      return judgeMessage(gateway, exchange, policy, route, request, decision.reportOnly);
    }
    const permit = principal === null ? null : permitReported(decision, principal);
    if (permit !== null) {
      exchange.wouldDeny = decision.reason;
      return permit;
    }
    return refuse(decision.reason, decision.detail, {
      requiredScopes: decision.requiredScopes,
      condition: decision.condition,
    });
  }
  const permit = permitAllowed(decision, principal);
  const limit = decision.rule.rateLimit;
  if (limit === null) return permit;
  const refusal = gateway.rateLimits.check(decision.rule, limit, exchange);
  return refusal instanceof Promise
    ? refusal.then((settled) => {
        exchange.waited = true;
        return limited(exchange, decision.rule, permit, settled);
      })
    : limited(exchange, decision.rule, permit, refusal);
}

/**
 * Everything else is met, so the body is read, and the decision made again with what it says. That may have taken as long as a
 * request may: whether the token is still good is asked anew.
 */
async function judgeMessage(
  gateway: Gateway,
  exchange: Exchange,
  policy: CompiledPolicy,
  match: RouteMatch,
  request: PolicyRequest,
  reportOnly: boolean,
): Promise<Verdict> {
  const read = await readMcpBody(gateway, exchange);
  const unreadable = 'reason' in read;
  // Under report mode goes through what has no message too.
  if (unreadable && (!reportOnly || exchange.closed || exchange.status !== 0)) return read;
  const { options } = gateway;
  const whenUnavailable = exchange.api?.onUnavailable ?? null;
  const credential = exchange.head?.credential ?? '';
  const outcome = await options.authenticator.authenticate(credential, options.clock.now(), whenUnavailable);
  if (!outcome.ok) return await unauthenticated(gateway, exchange, outcome);
  exchange.waited = false;
  const { principal } = outcome;
  exchange.principal = principal;
  exchange.scopes = effectiveScopes(policy, principal);
  exchange.mcp = unreadable ? null : read;
  return conclude(gateway, exchange, policy, match, { ...request, mcp: exchange.mcp }, principal);
}

/**
 * The last look at the token of a request that has waited since its token was looked up (for its proof, its limit): the lease that
 * let it in may have ended meanwhile, and nothing that this process has heard would say so. Where nobody can vouch for the
 * token at once it is looked up anew. To be called right before what is permitted is done.
 */
export function confirm(gateway: Gateway, exchange: Exchange, verdict: Verdict): MaybePromise<Verdict> {
  const { principal, waited } = exchange;
  if (!waited || principal === null || !(verdict instanceof Permit)) return verdict;
  const { options } = gateway;
  const whenUnavailable = exchange.api?.onUnavailable ?? null;
  const reason = options.standing(principal, whenUnavailable);
  if (reason === null) return verdict;
  if (reason !== 'store_unavailable') return refuse(reason);
  const credential = exchange.head?.credential ?? '';
  const outcome = options.authenticator.authenticate(credential, options.clock.now(), whenUnavailable);
  const settle = (settled: AuthenticationOutcome): MaybePromise<Verdict> =>
    settled.ok ? verdict : unauthenticated(gateway, exchange, settled);
  return outcome instanceof Promise ? outcome.then(settle) : settle(outcome);
}

/** A rule that only reports lets through also what its limit would refuse. */
function limited(exchange: Exchange, rule: CompiledRule, permit: Permit, refusal: Refusal | null): Verdict {
  if (refusal === null) return permit;
  if (rule.mode !== 'report' || exchange.principal === null) return refusal;
  exchange.wouldDeny = refusal.reason;
  return permit;
}
