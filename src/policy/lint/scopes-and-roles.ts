import type { Diagnostic } from '../../base/diagnostic.ts';
import { ADMIN_CLASS, roleViolation } from '../classes.ts';
import type { CompiledPolicy, CompiledRule, TokenClass } from '../compiled-policy.ts';
import { scopesWithin, scopeWithin } from '../scope.ts';
import { warn } from './placed-rule.ts';

/** Scopes of the admin API, which rules do not ask for but roles may grant. */
const ADMIN_SCOPES = 'portcullis:';

export function ungrantedScopes(policy: CompiledPolicy, rules: readonly CompiledRule[]): Diagnostic[] {
  if (policy.roles.size === 0) return [];
  const granted = [...policy.roles.values()].flatMap((role) => role.scopes);
  return rules.flatMap((rule) =>
    rule.scopes.scopes
      .filter((scope) => !scopeWithin(scope, granted))
      .map((scope) => warn(rule.source, `rule "${rule.name}" asks for scope "${scope}", which no role grants`)),
  );
}

export function unusedRoles(policy: CompiledPolicy, rules: readonly CompiledRule[]): Diagnostic[] {
  const required = rules.flatMap((rule) => rule.scopes.scopes);
  return [...policy.roles.values()]
    .filter((role) => !role.scopes.some((scope) => scope.startsWith(ADMIN_SCOPES)))
    .filter((role) => !required.some((scope) => scopeWithin(scope, role.scopes)))
    .map((role) => warn(role.source, `role "${role.name}" is unused: it grants no scope that a rule asks for`));
}

/** Classes bound what a token may hold, so what none allows nobody has. Class `admin` may hold everything, and is not for this. */
export function unholdableScopes(policy: CompiledPolicy, rules: readonly CompiledRule[]): Diagnostic[] {
  const classes = ordinaryClasses(policy);
  if (classes.length === 0) return [];
  return rules.flatMap((rule): Diagnostic[] => {
    const { kind, scopes } = rule.scopes;
    const alone = scopes.filter((scope) => !classes.some((entry) => scopeWithin(scope, entry.scopes)));
    if (alone.length > 0 || kind === 'any') {
      return alone.map((scope) =>
        warn(rule.source, `rule "${rule.name}" asks for scope "${scope}", which no class allows a token to hold`),
      );
    }
    if (classes.some((entry) => scopesWithin(scopes, entry.scopes))) return [];
    const all = scopes.join(', ');
    return [warn(rule.source, `rule "${rule.name}" asks for ${all} together, which no class allows a token to hold`)];
  });
}

/** Roles that no token can carry. */
export function rolesOfNobody(policy: CompiledPolicy): Diagnostic[] {
  const classes = ordinaryClasses(policy);
  if (classes.length === 0) return [];
  return [...policy.roles.values()]
    .filter((role) => !role.scopes.some((scope) => scope.startsWith(ADMIN_SCOPES)))
    .filter((role) => classes.every((entry) => roleViolation(role.name, entry, policy.roles) !== null))
    .map((role) => warn(role.source, `role "${role.name}" fits into no class, so no token can carry it`));
}

function ordinaryClasses(policy: CompiledPolicy): TokenClass[] {
  return [...policy.classes.values()].filter(({ name }) => name !== ADMIN_CLASS);
}
