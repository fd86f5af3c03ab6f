import type { ConditionName } from '../model/condition.ts';
import type { Principal } from '../model/principal.ts';
import { ADMIN_CLASS } from './classes.ts';
import type {
  CompiledPolicy,
  CompiledRule,
  Decision,
  DenyDecision,
  PathParams,
  PolicyRequest,
  RouteMatch,
} from './compiled-policy.ts';
import { addressWithin } from './conditions/ip.ts';
import { holdsScope } from './scope.ts';

const NO_PARAMS: PathParams = Object.freeze(Object.create(null));
const NO_SCOPES: readonly string[] = Object.freeze([]);

/**
 * The decision on one request. Total: whatever cannot be judged is denied. The rows, from the top:
 *
 * | no rule, no token                        | deny `token_missing`: nobody without a token learns what is declared |
 * | no rule, a token                         | deny `route_not_declared`                                             |
 * | a public rule                            | allow, whoever asks                                                   |
 * | any other rule, no token                 | deny `token_missing`                                                  |
 * | used from outside the token's own blocks | deny `condition_failed` (ip)                                          |
 * | the token's scopes do not suffice        | deny `scope_insufficient`                                             |
 * | the first condition that does not hold   | deny `condition_failed`                                               |
 * | none of these                            | allow                                                                 |
 *
 * Report mode never covers the lack of a token nor the token's own blocks: those are the token's bounds, not the policy's.
 */
export function decide(
  policy: CompiledPolicy,
  match: RouteMatch | null,
  request: PolicyRequest,
  principal: Principal | null,
  now: number,
): Decision {
  const rule = match === null ? null : match.rule;
  if (match === null || rule === null) {
    if (principal === null) return deny(match, 'token_missing', NO_TOKEN, null, false);
    const reportOnly = match?.api.mode === 'report' && withinOwnBlocks(principal, request.ip);
    return deny(match, 'route_not_declared', 'no rule declares this method and path', null, reportOnly);
  }
  if (rule.public) return { effect: 'allow', rule, api: match.api, params: match.params };
  if (principal === null) return deny(match, 'token_missing', NO_TOKEN, null, false);
  if (!withinOwnBlocks(principal, request.ip)) {
    return deny(match, 'condition_failed', 'the token may not be used from this address', 'ip', false);
  }
  const reportOnly = rule.mode === 'report';
  if (!scopesSuffice(policy, rule, principal)) {
    return deny(match, 'scope_insufficient', missingScopes(rule), null, reportOnly, rule.scopes.scopes);
  }
  if (rule.conditions.length > 0) {
    const input = { principal, params: match.params, ip: request.ip, now, mcp: request.mcp ?? null };
    for (const condition of rule.conditions) {
      if (condition.holds(input)) continue;
      return deny(match, 'condition_failed', `condition ${condition.name} is not met`, condition.name, reportOnly);
    }
  }
  return { effect: 'allow', rule, api: match.api, params: match.params };
}

const NO_TOKEN = 'the request carries no token';

/** Whether the token's own list of address blocks, if it has one, holds the client's address. */
export function withinOwnBlocks(principal: Principal, ip: string): boolean {
  return principal.ip.length === 0 || addressWithin(ip, principal.ip);
}

/** Whether own scopes and those of the roles cover what the rule asks for. A role that the policy lacks grants nothing. */
export function scopesSuffice(policy: CompiledPolicy, rule: CompiledRule, principal: Principal): boolean {
  const { kind, scopes } = rule.scopes;
  for (const scope of scopes) {
    const held = holds(policy, principal, scope);
    if (kind === 'any' && held) return true;
    if (kind === 'all' && !held) return false;
  }
  return kind === 'all';
}

function holds(policy: CompiledPolicy, principal: Principal, scope: string): boolean {
  if (holdsScope(principal.scopes, scope, principal.class === ADMIN_CLASS)) return true;
  for (const name of principal.roles) {
    const role = policy.roles.get(name);
    if (role !== undefined && holdsScope(role.scopes, scope, false)) return true;
  }
  return false;
}

/** The token's own scopes and those of its roles: what it holds under this policy. The same list where it has no roles. */
export function effectiveScopes(
  policy: CompiledPolicy,
  principal: Pick<Principal, 'scopes' | 'roles'>,
): readonly string[] {
  if (principal.roles.length === 0) return principal.scopes;
  const ofRoles = principal.roles.flatMap((name) => policy.roles.get(name)?.scopes ?? []);
  return [...new Set([...principal.scopes, ...ofRoles])];
}

function missingScopes({ scopes: { kind, scopes } }: CompiledRule): string {
  return `the token needs ${kind === 'any' ? 'one of' : 'all of'}: ${scopes.join(', ')}`;
}

function deny(
  match: RouteMatch | null,
  reason: DenyDecision['reason'],
  detail: string,
  condition: ConditionName | null,
  reportOnly: boolean,
  requiredScopes: readonly string[] = NO_SCOPES,
): DenyDecision {
  return {
    effect: 'deny',
    reason,
    detail,
    condition,
    requiredScopes,
    rule: match === null ? null : match.rule,
    api: match === null ? null : match.api,
    reportOnly,
    params: match === null ? NO_PARAMS : match.params,
  };
}
