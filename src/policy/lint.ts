import { type Diagnostic, sortDiagnostics } from '../base/diagnostic.ts';
import type { CompiledPolicy } from './compiled-policy.ts';
import { duplicateRules, hiddenRules, unservedMethods } from './lint/hidden-rules.ts';
import { impossibleConditions, messagesWithoutBody } from './lint/impossible-conditions.ts';
import { placedRules, warn } from './lint/placed-rule.ts';
import { publicHoles } from './lint/public-rules.ts';
import { rolesOfNobody, ungrantedScopes, unholdableScopes, unusedRoles } from './lint/scopes-and-roles.ts';
import type { PolicyUsage } from './lint/usage.ts';

/**
 * What loads and is probably not meant: warnings for `policy check`. `usage`: what recorded requests made of this very
 * policy; null where there are none to look at.
 */
export function lintPolicy(policy: CompiledPolicy, usage: PolicyUsage | null = null): Diagnostic[] {
  const rules = policy.apis.flatMap((api) => api.rules);
  const placed = placedRules(policy);
  const { diagnostics: hidden, unreachable } = hiddenRules(rules, placed);
  return sortDiagnostics([
    ...hidden.values(),
    ...duplicateRules(placed.filter(({ rule }) => !hidden.has(rule))),
    ...unservedMethods(rules),
    ...publicHoles(policy, placed),
    ...impossibleConditions(rules),
    ...messagesWithoutBody(rules),
    ...ungrantedScopes(policy, rules),
    ...unholdableScopes(policy, rules),
    ...unusedRoles(policy, rules),
    ...rolesOfNobody(policy),
    ...uselessBounds(policy),
    ...(usage?.lint((rule) => unreachable.has(rule)) ?? []),
  ]);
}

function uselessBounds(policy: CompiledPolicy): Diagnostic[] {
  return [...policy.classes.values()].flatMap((entry) =>
    entry.source !== null && entry.rotateEveryMs !== null && entry.rotateEveryMs > entry.maxTtlMs
      ? [
          warn(
            entry.source,
            `class "${entry.name}": rotate_every is longer than max_ttl, so no token lives to be rotated`,
          ),
        ]
      : [],
  );
}
