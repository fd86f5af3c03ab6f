import { didYouMean } from '../base/nearest.ts';
import { formatDuration } from '../base/quantity.ts';
import { err, ok, type Result } from '../base/result.ts';
import type { Claims } from '../model/token-record.ts';
import type { RoleDefinition, TokenClass } from './compiled-policy.ts';
import { parseGrantedScope, scopesWithin, scopeWithin } from './scope.ts';

/** Everything that issuing, narrowing and rotating need to know of scopes and classes is importable from here. */
export { scopesWithin };

/** The class of tokens for the admin API, and the only one that may hold `*`. */
export const ADMIN_CLASS = 'admin';

const DAY_MS = 86_400_000;

/** Grace where a class states none, milliseconds; never beyond the class's `max_ttl`. */
export const DEFAULT_GRACE_MS = DAY_MS;

/** Class `admin` as it is where no classes.yaml says otherwise. */
export function builtInAdminClass(): TokenClass {
  return {
    name: ADMIN_CLASS,
    maxTtlMs: 90 * DAY_MS,
    defaultTtlMs: 30 * DAY_MS,
    scopes: ['*'],
    roles: null,
    rotateEveryMs: null,
    graceMs: DEFAULT_GRACE_MS,
    idleExpiryMs: null,
    require: [],
    retire: 'at_grace_end',
    onReuse: 'alert',
    source: null,
  };
}

/** What a token is to carry, as far as a class bounds it. */
export interface ClassedToken {
  readonly scopes: readonly string[];
  readonly roles: readonly string[];
  readonly owner: string | null;
  readonly subject: string | null;
  readonly claims: Claims;
  readonly ip: readonly string[];
}

/** One thing that a class does not allow. `path` points into the request: `scopes[0]`. */
export interface ClassViolation {
  readonly path: string;
  readonly message: string;
}

/**
 * Everything in which a token would go beyond its class: badly written or wider scopes, unknown or wider roles,
 * missing fields. Empty when it may be issued.
 */
export function checkAgainstClass(
  tokenClass: TokenClass,
  token: ClassedToken,
  roles: ReadonlyMap<string, RoleDefinition>,
): ClassViolation[] {
  const violations: ClassViolation[] = [];
  for (const [index, scope] of token.scopes.entries()) {
    const written = parseGrantedScope(scope, tokenClass.name === ADMIN_CLASS);
    const path = `scopes[${index}]`;
    if (!written.ok) violations.push({ path, message: written.error });
    else if (!scopeWithin(scope, tokenClass.scopes))
      violations.push({ path, message: beyond('scope', scope, tokenClass) });
  }
  for (const [index, name] of token.roles.entries()) {
    const message = roleViolation(name, tokenClass, roles);
    if (message !== null) violations.push({ path: `roles[${index}]`, message });
  }
  const stated: Readonly<Record<TokenClass['require'][number], boolean>> = {
    owner: token.owner !== null && token.owner !== '',
    subject: token.subject !== null && token.subject !== '',
    ip: token.ip.length > 0,
    claims: Object.keys(token.claims).length > 0,
  };
  for (const field of tokenClass.require) {
    if (!stated[field])
      violations.push({ path: field, message: `class ${JSON.stringify(tokenClass.name)} requires "${field}"` });
  }
  return violations;
}

/** What keeps a role out of a class, or null. */
export function roleViolation(
  name: string,
  tokenClass: TokenClass,
  roles: ReadonlyMap<string, RoleDefinition>,
): string | null {
  const role = roles.get(name);
  if (role === undefined) return `unknown role ${JSON.stringify(name)}${didYouMean(name, roles.keys())}`;
  if (tokenClass.roles !== null && !tokenClass.roles.includes(name)) {
    return `role ${JSON.stringify(name)} is not one of class ${JSON.stringify(tokenClass.name)}${didYouMean(name, tokenClass.roles)}`;
  }
  const wider = role.scopes.find((scope) => !scopeWithin(scope, tokenClass.scopes));
  return wider === undefined ? null : `role ${JSON.stringify(name)}: ${beyond('scope', wider, tokenClass)}`;
}

/** How long a token lives, milliseconds: what was asked for within the class, else the class's default. */
export function boundTtl(tokenClass: TokenClass, requestedMs: number | null): Result<number, string> {
  if (requestedMs === null) return ok(tokenClass.defaultTtlMs);
  if (!Number.isSafeInteger(requestedMs) || requestedMs <= 0) return err('a token must live longer than that');
  if (requestedMs <= tokenClass.maxTtlMs) return ok(requestedMs);
  return err(`class ${JSON.stringify(tokenClass.name)} allows at most ${formatDuration(tokenClass.maxTtlMs)}`);
}

function beyond(what: string, value: string, tokenClass: TokenClass): string {
  const bounds = tokenClass.scopes.length === 0 ? 'no scopes' : tokenClass.scopes.join(', ');
  return `${what} ${JSON.stringify(value)} is not within class ${JSON.stringify(tokenClass.name)} (${bounds})`;
}
