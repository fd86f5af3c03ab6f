import { CONDITION_NAMES, type ConditionName } from '../model/condition.ts';
import type { Principal } from '../model/principal.ts';
import type { CompiledPolicy, CompiledRule, Decision, PolicyRequest, RouteMatch } from './compiled-policy.ts';
import { decide, scopesSuffice, withinOwnBlocks } from './decide.ts';

/** `unjudged`: the decision did not get that far, or there was nothing to judge it on. */
export type StepOutcome = 'pass' | 'fail' | 'unjudged';

export interface ExplainedStep {
  readonly step: 'path' | 'route' | 'token' | 'token_ip' | 'scopes' | ConditionName;
  readonly outcome: StepOutcome;
  /** For people: what was asked for and what was there. Holds the policy's text, so it is for operators only. */
  readonly text: string;
}

export interface Explanation {
  readonly decision: Decision;
  /** The path has a second reading under another rule: the gateway refuses it as `path_ambiguous` before any decision. */
  readonly ambiguous: boolean;
  /** In the order in which they are judged. Conditions are all judged, even behind the first failure. */
  readonly steps: readonly ExplainedStep[];
}

/** The decision on one request with the result of every step that led to it. Pure and total, like `decide`. */
export function explain(
  policy: CompiledPolicy,
  request: PolicyRequest,
  principal: Principal | null,
  now: number,
): Explanation {
  const match = policy.routes.match(request);
  const ambiguous = policy.routes.ambiguous(request);
  const steps: ExplainedStep[] = [];
  if (ambiguous)
    steps.push({ step: 'path', outcome: 'fail', text: `${request.path} reads differently without its ;parameters` });
  steps.push(routeStep(match, request));
  const rule = match?.rule ?? null;
  if (rule?.public !== true) steps.push(...tokenSteps(policy, rule, request, principal));
  if (match !== null && rule !== null && !rule.public)
    steps.push(...conditionSteps(rule, match, request, principal, now));
  return { decision: decide(policy, match, request, principal, now), ambiguous, steps };
}

function routeStep(match: RouteMatch | null, request: PolicyRequest): ExplainedStep {
  const asked = `${request.method} ${request.path}`;
  if (match === null)
    return { step: 'route', outcome: 'fail', text: `no API owns ${asked} on host ${JSON.stringify(request.host)}` };
  if (match.rule === null)
    return { step: 'route', outcome: 'fail', text: `no rule of api ${match.api.name} declares ${asked}` };
  const { name, source, paths } = match.rule;
  const open = match.rule.public ? ', public: no token needed' : '';
  return {
    step: 'route',
    outcome: 'pass',
    text: `rule "${name}" (${paths.join(', ')}) at ${source.file}:${source.line}${open}`,
  };
}

function tokenSteps(
  policy: CompiledPolicy,
  rule: CompiledRule | null,
  request: PolicyRequest,
  principal: Principal | null,
): ExplainedStep[] {
  if (principal === null) return [{ step: 'token', outcome: 'fail', text: 'the request carries no token' }];
  const steps: ExplainedStep[] = [
    { step: 'token', outcome: 'pass', text: `token ${principal.tokenId} (${principal.tokenType})` },
  ];
  if (principal.ip.length > 0) {
    const outcome = withinOwnBlocks(principal, request.ip) ? 'pass' : 'fail';
    steps.push({
      step: 'token_ip',
      outcome,
      text: `the token's own blocks ${principal.ip.join(', ')}; the client is ${request.ip}`,
    });
  }
  if (rule !== null) {
    const outcome = scopesSuffice(policy, rule, principal) ? 'pass' : 'fail';
    steps.push({ step: 'scopes', outcome, text: scopeText(rule, principal) });
  }
  return steps;
}

function scopeText({ scopes: { kind, scopes } }: CompiledRule, principal: Principal): string {
  const wanted =
    scopes.length === 0 ? 'none asked for' : `${kind === 'any' ? 'one of' : 'all of'} ${scopes.join(', ')}`;
  const held = principal.scopes.length === 0 ? 'no scopes' : principal.scopes.join(', ');
  const roles = principal.roles.length === 0 ? '' : ` and the roles ${principal.roles.join(', ')}`;
  return `${wanted}; the token holds ${held}${roles}`;
}

function conditionSteps(
  rule: CompiledRule,
  match: RouteMatch,
  request: PolicyRequest,
  principal: Principal | null,
  now: number,
): ExplainedStep[] {
  const input =
    principal === null ? null : { principal, params: match.params, ip: request.ip, now, mcp: request.mcp ?? null };
  return CONDITION_NAMES.flatMap((name) => rule.conditions.filter((condition) => condition.name === name)).map(
    (condition): ExplainedStep => ({
      step: condition.name,
      outcome: input === null ? 'unjudged' : condition.holds(input) ? 'pass' : 'fail',
      text: condition.text,
    }),
  );
}
