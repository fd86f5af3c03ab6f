import { err, ok, type Result } from '../base/result.ts';
import { Fault } from '../model/fault.ts';
import { statusAt, type TokenRecord } from '../model/token-record.ts';
import type { Actor, LifecycleContext, LifecycleError, Propagation } from './context.ts';
import { tokenEvent } from './context.ts';
import { checkText } from './fields.ts';
import { transition } from './states.ts';

/** Times are milliseconds since the epoch. */
export interface Revocation {
  readonly id: string;
  readonly revoked_at: number;
  readonly propagation: Propagation;
}

/** A revocation outlasts every other change of the same token: it is tried far more often before it gives up. */
const ATTEMPTS = 100;

/**
 * Revokes a token for good. A repeat gives the same `revoked_at`, makes sure of the propagation once more and records
 * an event of its own (`details.repeated`), so a repeat heals a first call whose event was lost.
 *
 * Resolves when the revocation is durable, nobody lets the token in any more and the audit event is durable. When the
 * event cannot be recorded the revocation stands (safety first) and a Fault `audit_unavailable` says so.
 */
export async function revokeToken(
  context: LifecycleContext,
  actor: Actor,
  id: string,
  request: { readonly reason: string | null },
): Promise<Result<Revocation, LifecycleError>> {
  const errors = request.reason === null ? [] : checkText('reason', request.reason);
  if (errors.length > 0) return err({ kind: 'invalid', errors });
  const marked = await markRevoked(context, actor, id, request.reason);
  if (marked === null) return err({ kind: 'not_found' });
  const [propagated, recorded] = await Promise.allSettled([
    propagateRevoked(context, [id]),
    recordRevoked(context, actor, marked, request.reason),
  ]);
  if (propagated.status === 'rejected') throw propagated.reason;
  if (recorded.status === 'rejected') throw recorded.reason;
  return ok({ id, revoked_at: marked.revokedAt, propagation: propagated.value });
}

/** A record that says revoked and is durable; others may not have heard of it yet. */
export interface MarkedToken {
  readonly record: TokenRecord;
  readonly revokedAt: number;
  /** It was revoked before. */
  readonly repeated: boolean;
}

/** Null where there is no such token. */
export async function markRevoked(
  context: LifecycleContext,
  actor: Actor,
  id: string,
  reason: string | null,
): Promise<MarkedToken | null> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const stored = await context.store.load(id);
    if (stored === null) return null;
    const { record } = stored;
    const now = context.clock.now();
    if (record.revoked_at !== null && transition(statusAt(record, now), 'revoke') === 'repeat') {
      return { record, revokedAt: record.revoked_at, repeated: true };
    }
    const revoked = { ...record, revoked_at: now, revoked_by: actor.name, revoke_reason: reason };
    if (!(await context.store.replace(stored.version, revoked))) continue;
    context.metrics.tokenEvent('revoked');
    return { record: revoked, revokedAt: now, repeated: false };
  }
  throw new Fault('conflict', `token ${id} keeps being changed by others: repeat the revocation`);
}

/** Resolves when the event is durable. A Fault `audit_unavailable`: the revocation stands all the same. */
export async function recordRevoked(
  context: LifecycleContext,
  actor: Actor,
  { record, revokedAt, repeated }: MarkedToken,
  reason: string | null,
): Promise<void> {
  const details = { reason, revoked_at: new Date(revokedAt).toISOString(), repeated };
  try {
    await context.audit.recordDurably(tokenEvent('token.revoked', record, actor, details));
  } catch (cause) {
    throw new Fault(
      'audit_unavailable',
      `token ${record.id} is revoked, but the audit event could not be recorded: repeat the call once the audit trail can be written`,
      { cause },
    );
  }
}

/** Resolves when nobody lets them in any more. Where nobody else could, this process is the one replica. */
export async function propagateRevoked(context: LifecycleContext, ids: readonly string[]): Promise<Propagation> {
  const started = context.clock.monotonic();
  const propagation = (await context.propagate?.(ids, 'revoked')) ?? {
    replicas: 1,
    acknowledged: 1,
    streams_closed: 0,
    elapsed_ms: Math.round(context.clock.monotonic() - started),
  };
  context.metrics.revocationPropagationSeconds(propagation.elapsed_ms / 1000);
  return propagation;
}
