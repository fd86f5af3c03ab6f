import { ADMIN_CLASS, scopesWithin } from '../policy/classes.ts';
import type { CompiledPolicy } from '../policy/compiled-policy.ts';
import type { Actor, FieldError } from './context.ts';

interface Granted {
  readonly scopes: readonly string[];
  readonly roles: readonly string[];
}

/** What a token reaches, directly and through its roles; a role that is not declared reaches nothing. */
export function reachedScopes(holder: Granted, policy: CompiledPolicy): readonly string[] {
  return [...holder.scopes, ...holder.roles.flatMap((role) => policy.roles.get(role)?.scopes ?? [])];
}

/**
 * What an actor may hand out: no more than it holds itself. So a token that issues for an API carries
 * `portcullis:tokens:issue` and, beside it, the scopes it may grant (`orders:*`), or, in class `admin`, `*` for all.
 */
export function grantableScopes(actor: Actor, policy: CompiledPolicy): readonly string[] {
  const reached = reachedScopes(actor, policy);
  const everything = actor.tokenId === null || actor.class === ADMIN_CLASS;
  return everything ? reached : reached.filter((scope) => scope !== '*');
}

/** Every scope and role of the request that is more than the actor may hand out. */
export function beyondActor(requested: Granted, actor: Actor, policy: CompiledPolicy): FieldError[] {
  const grantable = grantableScopes(actor, policy);
  const errors: FieldError[] = [];
  for (const [index, scope] of requested.scopes.entries()) {
    if (!scopesWithin([scope], grantable)) {
      errors.push({
        path: `scopes[${index}]`,
        message: `${JSON.stringify(scope)} is more than you hold${holding(grantable)}`,
      });
    }
  }
  for (const [index, role] of requested.roles.entries()) {
    const beyond = (policy.roles.get(role)?.scopes ?? []).filter((scope) => !scopesWithin([scope], grantable));
    if (beyond.length > 0) {
      const names = beyond.map((scope) => JSON.stringify(scope)).join(', ');
      errors.push({
        path: `roles[${index}]`,
        message: `role ${JSON.stringify(role)} grants ${names}, which is more than you hold${holding(grantable)}`,
      });
    }
  }
  return errors;
}

function holding(scopes: readonly string[]): string {
  return scopes.length === 0 ? ' (nothing)' : ` (${scopes.join(', ')})`;
}
