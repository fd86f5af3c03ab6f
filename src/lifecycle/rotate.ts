import { LIMITS } from '../base/limits.ts';
import { formatDuration, parseDuration } from '../base/quantity.ts';
import { err, ok, type Result } from '../base/result.ts';
import { type SupersededGeneration, statusAt, type TokenRecord } from '../model/token-record.ts';
import { scopesWithin } from '../policy/classes.ts';
import type { CompiledPolicy, TokenClass } from '../policy/compiled-policy.ts';
import type { StoredToken } from '../store/token-store.ts';
import { digestToken, remintToken } from '../token/opaque-format.ts';
import type { Actor, FieldError, LifecycleContext, LifecycleError, TokenWithSecret } from './context.ts';
import { tokenEvent } from './context.ts';
import { changeDurably } from './durable-change.ts';
import { errorsOfGiven } from './fields.ts';
import { grantableScopes, reachedScopes } from './grants.ts';
import { transition } from './states.ts';

/**
 * How long the newest secret has to be there unused before an older one may rotate again, milliseconds: longer than
 * several processes of one client take to rotate at once, and than uses take to be written down.
 */
const REPEAT_AFTER_MS = 10_000;

/** The body of a rotation. Both are durations such as `30d`. */
export interface RotateRequest {
  /** How long the old secret goes on working; at most the class's `grace`, which is also the default. `0s`: not at all. */
  readonly grace?: string;
  /** Life of the new secret; at most the class's `max_ttl`. By default as long as the old one was made for. */
  readonly ttl?: string;
  /** `on_first_use` ends the old secret as soon as the new one is used. A class that says so cannot be overruled. */
  readonly retire?: TokenClass['retire'];
}

/**
 * Gives a token a new secret under the same id; the old one works until its grace is over, and never beyond the end
 * it had. Without a `ttl` the new generation lives as long as the old one was made for (within the class's `max_ttl`), so
 * that a token that was issued for an hour does not gain a month by rotating itself.
 *
 * A rotation hands out a working secret, so the actor has to hold what the token holds, as for an issue, unless it is
 * that token. `onlyGeneration` is the one whose secret asks, and refuses where that is no longer the newest one, unless
 * it is a repeat of a rotation whose answer was lost (`whyNoRepeat`). Faults as in `changeDurably`; the new secret is given to nobody then.
 */
export async function rotateToken(
  context: LifecycleContext,
  actor: Actor,
  id: string,
  request: RotateRequest,
  bounds: { readonly onlyGeneration?: number } = {},
): Promise<Result<TokenWithSecret, LifecycleError>> {
  const policy = context.policy();
  if (policy === null)
    return err({ kind: 'conflict', message: 'no policy is loaded, so no class bounds the new secret' });
  const { onlyGeneration: asking } = bounds;
  const changed = await changeDurably(context, id, (stored, now) => {
    const { record } = stored;
    const repeats = asking !== undefined && record.generation !== asking;
    const refused = repeats ? whyNoRepeat(stored, asking, now) : null;
    if (refused !== null) return err({ kind: 'conflict', message: refused });
    const allowed = checkRotation(record, actor, policy, request, context.tokens.environment, now);
    if (!allowed.ok) return allowed;
    const { token } = remintToken(id, context.tokens);
    const digest = digestToken(token, context.tokens.pepper);
    const next = repeats
      ? repeatedGeneration(record, allowed.value, digest, now, asking)
      : nextGeneration(record, allowed.value, digest, now, asking);
    const event = tokenEvent('token.rotated', next, actor, {
      generation: next.generation,
      grace_until: new Date(next.grace_until ?? now).toISOString(),
      expires_at: new Date(next.expires_at).toISOString(),
      ...(allowed.value.retire === 'on_first_use' ? { retire: allowed.value.retire } : {}),
      ...(repeats ? { presented: asking, unused: record.generation } : {}),
    });
    return ok({ record: next, event, outcome: token });
  });
  if (!changed.ok) return changed;
  context.metrics.tokenEvent('rotated');
  return ok({ stored: changed.value.stored, token: changed.value.outcome });
}

/**
 * What is wrong with those members of a request that could be read, when others could not: nothing is changed. Empty
 * where the token or the policy stands against a rotation. Rejects with what the store throws.
 */
export async function rotateErrors(
  context: Pick<LifecycleContext, 'store' | 'clock' | 'policy' | 'tokens'>,
  actor: Actor,
  id: string,
  given: RotateRequest,
): Promise<readonly FieldError[]> {
  const policy = context.policy();
  const stored = policy === null ? null : await context.store.load(id);
  if (policy === null || stored === null) return [];
  const { environment } = context.tokens;
  const checked = checkRotation(stored.record, actor, policy, given, environment, context.clock.now());
  if (checked.ok || checked.error.kind !== 'invalid') return [];
  return errorsOfGiven(checked.error.errors, given);
}

interface CheckedRotation {
  readonly tokenClass: TokenClass;
  readonly graceUntil: number;
  readonly expiresAt: number;
  readonly retire: TokenClass['retire'];
}

function checkRotation(
  record: TokenRecord,
  actor: Actor,
  policy: CompiledPolicy,
  request: RotateRequest,
  environment: string,
  now: number,
): Result<CheckedRotation, LifecycleError> {
  const verdict = transition(statusAt(record, now), 'rotate');
  if (verdict !== null) return err({ kind: 'conflict', message: `the token ${verdict}` });
  if (record.environment !== environment) {
    return err({ kind: 'conflict', message: `the token belongs to environment ${JSON.stringify(record.environment)}` });
  }
  const tokenClass = policy.classes.get(record.class);
  if (tokenClass === undefined) {
    return err({
      kind: 'conflict',
      message: `the policy no longer declares the token's class ${JSON.stringify(record.class)}`,
    });
  }
  const errors: FieldError[] = [];
  const grace = duration('grace', request.grace, tokenClass.graceMs, tokenClass.graceMs, tokenClass, errors);
  const given = Math.min(record.expires_at - (record.rotated_at ?? record.created_at), tokenClass.maxTtlMs);
  const ttl = duration('ttl', request.ttl, given, tokenClass.maxTtlMs, tokenClass, errors);
  if (ttl <= 0 && errors.length === 0) errors.push({ path: 'ttl', message: 'must be longer than nothing' });
  const retire = tokenClass.retire === 'on_first_use' ? tokenClass.retire : (request.retire ?? tokenClass.retire);
  if (request.retire !== undefined && request.retire !== retire) {
    errors.push({ path: 'retire', message: `class ${JSON.stringify(tokenClass.name)} wants ${retire}` });
  }
  const forbidden = checkHolding(record, actor, policy);
  if (errors.length > 0) return err({ kind: 'invalid', errors });
  if (forbidden.length > 0) return err({ kind: 'forbidden', errors: forbidden });
  return ok({ tokenClass, graceUntil: Math.min(now + grace, record.expires_at), expiresAt: now + ttl, retire });
}

function checkHolding(record: TokenRecord, actor: Actor, policy: CompiledPolicy): FieldError[] {
  if (actor.tokenId === record.id) return [];
  const held = grantableScopes(actor, policy);
  const beyond = reachedScopes(record, policy).filter((scope) => !scopesWithin([scope], held));
  if (beyond.length === 0) return [];
  const names = beyond.map((scope) => JSON.stringify(scope)).join(', ');
  return [{ path: 'id', message: `the token holds ${names}, which is more than you hold` }];
}

function duration(
  path: 'grace' | 'ttl',
  text: string | undefined,
  byDefault: number,
  most: number,
  tokenClass: TokenClass,
  errors: FieldError[],
): number {
  if (text === undefined) return byDefault;
  const parsed = parseDuration(text);
  if (!parsed.ok) {
    errors.push({ path, message: parsed.error });
    return byDefault;
  }
  if (parsed.value > most) {
    const bound = `${path === 'ttl' ? 'max_ttl' : path} of class ${JSON.stringify(tokenClass.name)}`;
    errors.push({ path, message: `${text} is longer than the ${bound}, which is ${formatDuration(most)}` });
  }
  return parsed.value;
}

/**
 * Why an older secret may not rotate again, or null. Its holder may where the answer to its own rotation seems to be
 * lost: it made the newest generation, nobody has used that, and both for so long that neither a simultaneous rotation
 * nor a use that is still being written down can be the reason. A rotation by an administrator may be there to shut out
 * whoever has the old secret, so it is never repeated.
 */
function whyNoRepeat(stored: StoredToken, asking: number, now: number): string | null {
  const { record, newestUsedAt } = stored;
  const newer = 'only the newest secret of a token can rotate it, and there is a newer one';
  const own = record.superseded.find(({ generation }) => generation === asking);
  if (own === undefined || now >= own.grace_until) return newer;
  if (record.rotated_with !== asking || record.rotated_at === null) return newer;
  if (newestUsedAt !== undefined) return `${newer}, which has been used`;
  // One more would push the oldest out, perhaps this one.
  if (record.superseded.length >= LIMITS.supersededGenerations) return `${newer}; it was rotated too often without use`;
  if (now - record.rotated_at < REPEAT_AFTER_MS) {
    return `${newer}; if the answer that held it was lost, repeat the call ${REPEAT_AFTER_MS / 1000} seconds after the first`;
  }
  return null;
}

/** The generation that nobody has used ends at once, and the grace of the secret that asks does not begin anew. */
function repeatedGeneration(
  record: TokenRecord,
  rotation: CheckedRotation,
  digest: string,
  now: number,
  asking: number,
): TokenRecord {
  const next = nextGeneration(record, { ...rotation, graceUntil: now }, digest, now, asking);
  const older = record.superseded.map((entry) => ({
    ...endingBy(entry, rotation.graceUntil),
    ...(entry.generation === asking && rotation.retire === 'on_first_use' ? { retire: rotation.retire } : {}),
  }));
  const superseded = [...next.superseded.slice(0, 1), ...older];
  return { ...next, superseded, grace_until: Math.max(...superseded.map(({ grace_until }) => grace_until)) };
}

function nextGeneration(
  record: TokenRecord,
  rotation: CheckedRotation,
  digest: string,
  now: number,
  asking: number | undefined,
): TokenRecord {
  const old: SupersededGeneration = {
    generation: record.generation,
    digest: record.digest,
    grace_until: rotation.graceUntil,
    last_used_at: null,
    last_used_ip: null,
    ...(rotation.retire === 'on_first_use' ? { retire: rotation.retire } : {}),
  };
  const { rotateEveryMs } = rotation.tokenClass;
  // What was announced was the end of the generation before.
  const { announced: _announced, rotated_with: _rotatedWith, ...kept } = record;
  return {
    ...kept,
    generation: record.generation + 1,
    digest,
    rotated_at: now,
    ...(asking === undefined ? {} : { rotated_with: asking }),
    grace_until: rotation.graceUntil,
    expires_at: rotation.expiresAt,
    rotate_after: rotateEveryMs === null ? null : now + rotateEveryMs,
    superseded: [old, ...record.superseded.map((older) => endingBy(older, rotation.graceUntil))].slice(
      0,
      LIMITS.supersededGenerations,
    ),
  };
}

/** No older secret outlives the record's `grace_until`: a rotation without grace ends them all, not the newest alone. */
function endingBy(older: SupersededGeneration, graceUntil: number): SupersededGeneration {
  return { ...older, grace_until: Math.min(older.grace_until, graceUntil) };
}
