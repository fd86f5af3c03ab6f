import { didYouMean } from '../base/nearest.ts';
import type { CompiledPolicy, TokenClass } from '../policy/compiled-policy.ts';
import type { Actor, FieldError } from './context.ts';
import { checkCount, FIELD_LIMITS } from './fields.ts';
import { coversScope, isScope } from './scope-cover.ts';

/** What is wrong with the scopes and roles that are asked for, and what of them the actor may not hand out. */
export interface GrantFindings {
  readonly invalid: readonly FieldError[];
  readonly forbidden: readonly FieldError[];
}

/** What a token reaches, directly and through its roles; a role that is not declared reaches nothing. */
export function reachedScopes(
  holder: { readonly scopes: readonly string[]; readonly roles: readonly string[] },
  policy: CompiledPolicy,
): readonly string[] {
  return [...holder.scopes, ...holder.roles.flatMap((role) => policy.roles.get(role)?.scopes ?? [])];
}

/**
 * What an actor may hand out: no more than it holds itself. So a token that issues for an API carries
 * `portcullis:tokens:issue` and, beside it, the scopes it may grant (`orders:*`), or, in class `admin`, `*` for all.
 */
export function grantableScopes(actor: Actor, policy: CompiledPolicy): readonly string[] {
  const reached = reachedScopes(actor, policy);
  const everything = actor.tokenId === null || actor.class === 'admin';
  return everything ? reached : reached.filter((scope) => scope !== '*');
}

export function checkGrants(
  request: { readonly scopes: readonly string[]; readonly roles: readonly string[] },
  tokenClass: TokenClass,
  policy: CompiledPolicy,
  actor: Actor,
): GrantFindings {
  const invalid: FieldError[] = [
    ...checkCount('scopes', request.scopes, FIELD_LIMITS.scopes),
    ...checkCount('roles', request.roles, FIELD_LIMITS.roles),
  ];
  const forbidden: FieldError[] = [];
  if (invalid.length > 0) return { invalid, forbidden };
  const grantable = grantableScopes(actor, policy);
  for (const [index, scope] of request.scopes.entries()) {
    const path = `scopes[${index}]`;
    const fault = scopeFault(scope, tokenClass);
    if (fault !== null) invalid.push({ path, message: fault });
    else if (!coversScope(grantable, scope)) forbidden.push({ path, message: `${show(scope)} is more than you hold` });
  }
  for (const [index, role] of request.roles.entries()) {
    const path = `roles[${index}]`;
    const fault = roleFault(role, tokenClass, policy);
    const beyond = policy.roles.get(role)?.scopes.filter((scope) => !coversScope(grantable, scope)) ?? [];
    if (fault !== null) invalid.push({ path, message: fault });
    else if (beyond.length > 0) {
      forbidden.push({
        path,
        message: `${show(role)} grants ${beyond.map(show).join(', ')}, which is more than you hold`,
      });
    }
  }
  return { invalid, forbidden };
}

function scopeFault(scope: string, tokenClass: TokenClass): string | null {
  if (scope.length > FIELD_LIMITS.scope || !isScope(scope)) {
    return `${show(scope)} is not a scope: expected one such as "orders:read" or "orders:*"`;
  }
  if (scope === '*' && tokenClass.name !== 'admin') return '"*" alone is for class "admin" only';
  if (coversScope(tokenClass.scopes, scope)) return null;
  return `${show(scope)} is outside of class ${show(tokenClass.name)}, which allows ${list(tokenClass.scopes)}${didYouMean(scope, tokenClass.scopes)}`;
}

function roleFault(role: string, tokenClass: TokenClass, policy: CompiledPolicy): string | null {
  const definition = policy.roles.get(role);
  if (definition === undefined) {
    return `there is no role ${show(role)}${didYouMean(role, policy.roles.keys()) || `; there are ${list([...policy.roles.keys()])}`}`;
  }
  if (tokenClass.roles !== null && !tokenClass.roles.includes(role)) {
    return `role ${show(role)} is outside of class ${show(tokenClass.name)}, which allows ${list(tokenClass.roles)}`;
  }
  const beyond = definition.scopes.filter((scope) => scopeFault(scope, tokenClass) !== null);
  if (beyond.length === 0) return null;
  return `role ${show(role)} grants ${beyond.map(show).join(', ')}, which class ${show(tokenClass.name)} does not allow`;
}

function show(text: string): string {
  return JSON.stringify(text.slice(0, FIELD_LIMITS.scope));
}

function list(names: readonly string[]): string {
  return names.length === 0 ? 'none' : names.map(show).join(', ');
}
