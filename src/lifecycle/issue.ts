import { didYouMean } from '../base/nearest.ts';
import { formatDuration, parseDuration } from '../base/quantity.ts';
import { err, ok, type Result } from '../base/result.ts';
import { Fault } from '../model/fault.ts';
import type { Claims, TokenBinding, TokenRecord } from '../model/token-record.ts';
import { checkAgainstClass } from '../policy/classes.ts';
import type { CompiledPolicy, TokenClass } from '../policy/compiled-policy.ts';
import { digestToken, mintToken } from '../token/opaque-format.ts';
import type { Actor, FieldError, LifecycleContext, LifecycleError, TokenWithSecret } from './context.ts';
import { tokenEvent } from './context.ts';
import {
  checkBinding,
  checkClaims,
  checkIpList,
  checkNames,
  checkSubject,
  checkText,
  errorsOfGiven,
  FIELD_LIMITS,
} from './fields.ts';
import { beyondActor } from './grants.ts';
import { parseTimestamp } from './timestamp.ts';

/** The body of `POST /v1/tokens`, its shape already checked. Durations as `30d`, times in RFC 3339. */
export interface IssueRequest {
  readonly name: string;
  readonly owner: string;
  readonly class: string;
  readonly scopes: readonly string[];
  readonly roles?: readonly string[];
  readonly subject?: string | null;
  readonly claims?: Claims;
  readonly ip?: readonly string[];
  /** Not together with `expires_at`; without either the class's default holds. */
  readonly ttl?: string;
  readonly expires_at?: string;
  readonly not_before?: string;
  /** Makes it a token that only the holder of a key or certificate can use; for the whole of its life. */
  readonly bound_to?: TokenBinding | null;
}

/** Ids are random: a second collision in a row is a broken source of randomness, not chance. */
const ATTEMPTS = 3;

/**
 * Issues a token within its class and within what the actor may grant (`grantableScopes`).
 *
 * Resolves when the record and its audit event are durable. Throws a Fault `store_unavailable` or `store_full` when
 * the store did not confirm the record, `audit_unavailable` when the event could not be recorded: then the record is
 * withdrawn. In none of these cases does anybody hold the secret.
 */
export async function issueToken(
  context: LifecycleContext,
  actor: Actor,
  request: IssueRequest,
): Promise<Result<TokenWithSecret, LifecycleError>> {
  const policy = context.policy();
  if (policy === null)
    return err({ kind: 'conflict', message: 'no policy is loaded, so no class bounds what may be issued' });
  const now = context.clock.now();
  const checked = checkIssue(request, actor, policy, now);
  if (!checked.ok) return checked;
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const { id, token } = mintToken(context.tokens);
    const record = newRecord(context, actor, request, checked.value, { id, token, now });
    if (!(await createOrWithdraw(context, record))) continue;
    await recordOrWithdraw(context, actor, record);
    context.metrics.tokenEvent('issued');
    return ok({ stored: { record, usage: { last_used_at: null, last_used_ip: null, use_count: 0 } }, token });
  }
  throw new Fault('internal', 'new token ids keep being taken');
}

/**
 * What is wrong with those members of a request that could be read, when others could not: nothing is issued. Empty
 * while no policy is loaded.
 */
export function issueErrors(
  context: Pick<LifecycleContext, 'policy' | 'clock'>,
  actor: Actor,
  given: Partial<IssueRequest>,
): readonly FieldError[] {
  const policy = context.policy();
  if (policy === null) return [];
  const request: IssueRequest = { name: '-', owner: '-', class: '', scopes: [], ...given };
  const checked = checkIssue(request, actor, policy, context.clock.now());
  if (checked.ok || !('errors' in checked.error)) return [];
  return errorsOfGiven(checked.error.errors, given);
}

async function createOrWithdraw(context: LifecycleContext, record: TokenRecord): Promise<boolean> {
  try {
    return await context.store.create(record);
  } catch (fault) {
    // The record may be there all the same. Nobody holds its secret; it is removed so that lists stay true.
    await context.store.withdraw(record.id).catch(() => undefined);
    throw fault;
  }
}

async function recordOrWithdraw(context: LifecycleContext, actor: Actor, record: TokenRecord): Promise<void> {
  const event = tokenEvent('token.issued', record, actor, {
    name: record.name,
    class: record.class,
    scopes: record.scopes,
    roles: record.roles,
    expires_at: new Date(record.expires_at).toISOString(),
    ...(record.bound_to === undefined ? {} : { bound_to: { ...record.bound_to } }),
  });
  try {
    await context.audit.recordDurably(event);
  } catch (cause) {
    const withdrawn = await context.store.withdraw(record.id).then(
      () => true,
      () => false,
    );
    context.audit.record({ ...event, outcome: 'failure', reason: 'audit_unavailable' });
    throw new Fault(
      'audit_unavailable',
      withdrawn
        ? 'the token was not issued because its audit event could not be recorded'
        : `the audit event of token ${record.id} could not be recorded and its record could not be withdrawn; its secret was given to nobody`,
      { cause },
    );
  }
}

interface CheckedIssue {
  readonly tokenClass: TokenClass;
  readonly expiresAt: number;
  readonly notBefore: number | null;
}

/** Everything that is wrong, at once. Errors of the request come before the limits of the actor. */
function checkIssue(
  request: IssueRequest,
  actor: Actor,
  policy: CompiledPolicy,
  now: number,
): Result<CheckedIssue, LifecycleError> {
  const tooMany = [
    ...checkNames('scopes', request.scopes, FIELD_LIMITS.scopes),
    ...checkNames('roles', request.roles ?? [], FIELD_LIMITS.roles),
  ];
  const invalid: FieldError[] = [
    ...tooMany,
    ...checkText('name', request.name),
    ...checkText('owner', request.owner),
    ...(request.subject == null ? [] : checkSubject('subject', request.subject)),
    ...checkClaims('claims', request.claims ?? {}),
    ...checkIpList('ip', request.ip ?? []),
    ...checkBinding('bound_to', request.bound_to ?? null),
  ];
  const tokenClass = policy.classes.get(request.class);
  const times = checkTimes(request, tokenClass ?? null, now);
  invalid.push(...times.errors);
  if (tokenClass === undefined) {
    return err({
      kind: 'invalid',
      errors: [{ path: 'class', message: unknownClass(request.class, policy) }, ...invalid],
    });
  }
  // Names without bounds are not compared with anything.
  if (tooMany.length > 0) return err({ kind: 'invalid', errors: invalid });
  const granted = { scopes: request.scopes, roles: request.roles ?? [] };
  const claims = request.claims ?? {};
  const asked = { ...granted, owner: request.owner, subject: request.subject ?? null, claims, ip: request.ip ?? [] };
  const known = new Set(invalid.map(({ path }) => path));
  const violations = checkAgainstClass(tokenClass, asked, policy.roles).filter(({ path }) => !known.has(path));
  invalid.push(...violations);
  const outside = new Set(violations.map(({ path }) => path));
  const forbidden = beyondActor(granted, actor, policy).filter(({ path }) => !outside.has(path));
  if (invalid.length > 0) return err({ kind: 'invalid', errors: [...invalid, ...forbidden] });
  if (forbidden.length > 0) return err({ kind: 'forbidden', errors: forbidden });
  return ok({ tokenClass, expiresAt: times.expiresAt, notBefore: times.notBefore });
}

function unknownClass(name: string, policy: CompiledPolicy): string {
  const known = [...policy.classes.keys()];
  const all = `; there are ${known.map((other) => JSON.stringify(other)).join(', ')}`;
  return `there is no class ${JSON.stringify(name.slice(0, 64))}${didYouMean(name.slice(0, 64), known) || all}`;
}

interface CheckedTimes {
  readonly errors: readonly FieldError[];
  readonly expiresAt: number;
  readonly notBefore: number | null;
}

/** `tokenClass` null: its bound is left out, the rest is checked all the same. */
function checkTimes(request: IssueRequest, tokenClass: TokenClass | null, now: number): CheckedTimes {
  const errors: FieldError[] = [];
  let notBefore: number | null = null;
  if (request.not_before !== undefined) {
    const parsed = parseTimestamp(request.not_before);
    if (parsed.ok) notBefore = parsed.value;
    else errors.push({ path: 'not_before', message: parsed.error });
  }
  const end = requestedEnd(request, tokenClass, now);
  if (!end.ok) return { errors: [...errors, end.error], expiresAt: now, notBefore };
  const { path, expiresAt } = end.value;
  if (expiresAt <= now) errors.push({ path, message: 'must lie in the future' });
  if (notBefore !== null && notBefore >= expiresAt)
    errors.push({ path: 'not_before', message: 'must lie before the end' });
  if (tokenClass !== null && expiresAt > now + tokenClass.maxTtlMs) {
    const most = formatDuration(tokenClass.maxTtlMs);
    errors.push({
      path,
      message: `is beyond the max_ttl of class ${JSON.stringify(tokenClass.name)}, which is ${most}`,
    });
  }
  return { errors, expiresAt, notBefore };
}

function requestedEnd(
  request: IssueRequest,
  tokenClass: TokenClass | null,
  now: number,
): Result<{ readonly path: string; readonly expiresAt: number }, FieldError> {
  if (request.ttl !== undefined && request.expires_at !== undefined) {
    return err({ path: 'expires_at', message: 'cannot be combined with ttl: give one of them' });
  }
  if (request.expires_at !== undefined) {
    const parsed = parseTimestamp(request.expires_at);
    return parsed.ok
      ? ok({ path: 'expires_at', expiresAt: parsed.value })
      : err({ path: 'expires_at', message: parsed.error });
  }
  if (request.ttl === undefined) return ok({ path: 'ttl', expiresAt: now + (tokenClass?.defaultTtlMs ?? 1) });
  const parsed = parseDuration(request.ttl);
  return parsed.ok ? ok({ path: 'ttl', expiresAt: now + parsed.value }) : err({ path: 'ttl', message: parsed.error });
}

function newRecord(
  context: LifecycleContext,
  actor: Actor,
  request: IssueRequest,
  checked: CheckedIssue,
  minted: { readonly id: string; readonly token: string; readonly now: number },
): TokenRecord {
  const { rotateEveryMs } = checked.tokenClass;
  return {
    id: minted.id,
    name: request.name,
    owner: request.owner,
    class: checked.tokenClass.name,
    environment: context.tokens.environment,
    subject: request.subject ?? null,
    scopes: [...new Set(request.scopes)],
    roles: [...new Set(request.roles ?? [])],
    claims: request.claims ?? {},
    ip: [...new Set(request.ip ?? [])],
    created_at: minted.now,
    created_by: actor.name,
    not_before: checked.notBefore,
    expires_at: checked.expiresAt,
    generation: 1,
    rotated_at: null,
    grace_until: null,
    rotate_after: rotateEveryMs === null ? null : minted.now + rotateEveryMs,
    revoked_at: null,
    revoked_by: null,
    revoke_reason: null,
    digest: digestToken(minted.token, context.tokens.pepper),
    superseded: [],
    ...(request.bound_to == null ? {} : { bound_to: copyOf(request.bound_to) }),
  };
}

/** The two members that there are, in one order. */
function copyOf({ jkt, 'x5t#S256': certificate }: TokenBinding): TokenBinding {
  return { ...(jkt === undefined ? {} : { jkt }), ...(certificate === undefined ? {} : { 'x5t#S256': certificate }) };
}
