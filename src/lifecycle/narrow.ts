import { rfc3339 } from '../base/encoding.ts';
import { err, ok, type Result } from '../base/result.ts';
import type { AuditDetail } from '../model/audit-event.ts';
import { statusAt, type TokenRecord } from '../model/token-record.ts';
import { scopesWithin } from '../policy/classes.ts';
import type { Actor, DescribedToken, FieldError, LifecycleContext, LifecycleError } from './context.ts';
import { tokenEvent } from './context.ts';
import { changeDurably } from './durable-change.ts';
import { checkIpList, checkNames, checkText, errorsOfGiven, FIELD_LIMITS } from './fields.ts';
import { blockContains, parseIpBlock } from './ip-block.ts';
import { transition } from './states.ts';
import { parseTimestamp } from './timestamp.ts';

/** The body of `PATCH /v1/tokens/{id}`: what is named is replaced, by less or as much. */
export interface NarrowRequest {
  readonly name?: string;
  readonly owner?: string;
  readonly scopes?: readonly string[];
  readonly roles?: readonly string[];
  /** RFC 3339; not after the present end. */
  readonly expires_at?: string;
  /** Within the present list, where there is one. */
  readonly ip?: readonly string[];
}

/**
 * Takes away from a token: scopes, roles, time, places; or renames it or its owner. Whatever would widen it is an
 * error that names the field. A request that changes nothing succeeds without an event. Faults as in `changeDurably`.
 */
export async function narrowToken(
  context: LifecycleContext,
  actor: Actor,
  id: string,
  request: NarrowRequest,
): Promise<Result<DescribedToken, LifecycleError>> {
  const changed = await changeDurably(context, id, ({ record }, now) => {
    const verdict = transition(statusAt(record, now), 'narrow');
    if (verdict !== null) return err({ kind: 'conflict', message: `the token ${verdict}` });
    const narrowed = narrowedRecord(record, request, now);
    if (!narrowed.ok) return err({ kind: 'invalid', errors: narrowed.error });
    const details = differences(record, narrowed.value);
    const event =
      Object.keys(details).length === 0 ? null : tokenEvent('token.narrowed', narrowed.value, actor, details);
    return ok({ record: narrowed.value, event, outcome: event !== null });
  });
  if (!changed.ok) return changed;
  if (changed.value.outcome) context.metrics.tokenEvent('narrowed');
  return ok(changed.value.stored);
}

/**
 * What is wrong with those members of a request that could be read, when others could not: nothing is changed. Empty for
 * a token that is not there or in no state to be narrowed. Rejects with what the store throws.
 */
export async function narrowErrors(
  context: Pick<LifecycleContext, 'store' | 'clock'>,
  id: string,
  given: NarrowRequest,
): Promise<readonly FieldError[]> {
  const stored = await context.store.load(id);
  const now = context.clock.now();
  if (stored === null || transition(statusAt(stored.record, now), 'narrow') !== null) return [];
  const narrowed = narrowedRecord(stored.record, given, now);
  return narrowed.ok ? [] : errorsOfGiven(narrowed.error, given);
}

function narrowedRecord(record: TokenRecord, request: NarrowRequest, now: number): Result<TokenRecord, FieldError[]> {
  const errors: FieldError[] = [
    ...(request.name === undefined ? [] : checkText('name', request.name)),
    ...(request.owner === undefined ? [] : checkText('owner', request.owner)),
    ...scopeErrors(record, request.scopes ?? []),
    ...roleErrors(record, request.roles ?? []),
    ...ipErrors(record, request.ip),
  ];
  let expiresAt = record.expires_at;
  if (request.expires_at !== undefined) {
    const parsed = parseTimestamp(request.expires_at);
    if (!parsed.ok) errors.push({ path: 'expires_at', message: parsed.error });
    else {
      expiresAt = parsed.value;
      if (expiresAt > record.expires_at) {
        errors.push({ path: 'expires_at', message: `can only be shortened; it is ${rfc3339(record.expires_at)}` });
      } else if (expiresAt <= now) {
        errors.push({ path: 'expires_at', message: 'must lie in the future; to end a token now, revoke it' });
      }
    }
  }
  if (errors.length > 0) return err(errors);
  return ok({
    ...record,
    name: request.name ?? record.name,
    owner: request.owner ?? record.owner,
    scopes: request.scopes === undefined ? record.scopes : [...new Set(request.scopes)],
    roles: request.roles === undefined ? record.roles : [...new Set(request.roles)],
    ip: request.ip === undefined ? record.ip : [...new Set(request.ip)],
    expires_at: expiresAt,
  });
}

/** A scope as it can be granted: an asterisk only as `:*` at its end, or `*`. */
const SCOPE = /^(?:\*|[\x21\x23-\x29\x2B-\x5B\x5D-\x7E]+(?::\*)?)$/;

/** `orders:*` may become `orders:read`: less than it was is what counts. */
function scopeErrors(record: TokenRecord, scopes: readonly string[]): FieldError[] {
  const unbounded = checkNames('scopes', scopes, FIELD_LIMITS.scopes);
  if (unbounded.length > 0) return unbounded;
  return scopes.flatMap((scope, index) =>
    SCOPE.test(scope) && scopesWithin([scope], record.scopes)
      ? []
      : [{ path: `scopes[${index}]`, message: widening('scope', scope, record.scopes) }],
  );
}

function roleErrors(record: TokenRecord, roles: readonly string[]): FieldError[] {
  const unbounded = checkNames('roles', roles, FIELD_LIMITS.roles);
  if (unbounded.length > 0) return unbounded;
  return roles.flatMap((role, index) =>
    record.roles.includes(role) ? [] : [{ path: `roles[${index}]`, message: widening('role', role, record.roles) }],
  );
}

function widening(kind: string, name: string, present: readonly string[]): string {
  const held = present.length === 0 ? 'none' : present.map((text) => JSON.stringify(text)).join(', ');
  return `${kind} ${JSON.stringify(name.slice(0, 128))} would widen the token, which holds ${held}`;
}

function ipErrors(record: TokenRecord, list: readonly string[] | undefined): FieldError[] {
  if (list === undefined || (list.length === 0 && record.ip.length === 0)) return [];
  if (list.length === 0) return [{ path: 'ip', message: 'cannot be emptied: that would allow every address' }];
  const errors = checkIpList('ip', list);
  if (errors.length > 0 || record.ip.length === 0) return errors;
  const outer = record.ip.map(parseIpBlock);
  return list.flatMap((text, index) => {
    const inner = parseIpBlock(text);
    const within = inner.ok && outer.some((block) => block.ok && blockContains(block.value, inner.value));
    return within ? [] : [{ path: `ip[${index}]`, message: widening('address', text, record.ip) }];
  });
}

/** What changed, as `{ field: { from, to } }`. */
function differences(before: TokenRecord, after: TokenRecord): Record<string, AuditDetail> {
  const details: Record<string, AuditDetail> = {};
  for (const field of ['name', 'owner', 'scopes', 'roles', 'ip'] as const) {
    if (JSON.stringify(before[field]) !== JSON.stringify(after[field])) {
      details[field] = { from: before[field], to: after[field] };
    }
  }
  if (before.expires_at !== after.expires_at) {
    details['expires_at'] = { from: rfc3339(before.expires_at), to: rfc3339(after.expires_at) };
  }
  return details;
}
