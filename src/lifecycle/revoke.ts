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
  const { record, revokedAt, repeated } = marked;
  if (!repeated) context.metrics.tokenEvent('revoked');
  const [propagated, recorded] = await Promise.allSettled([
    propagate(context, id),
    context.audit.recordDurably(
      tokenEvent('token.revoked', record, actor, {
        reason: request.reason,
        revoked_at: new Date(revokedAt).toISOString(),
        repeated,
      }),
    ),
  ]);
  if (propagated.status === 'rejected') throw propagated.reason;
  if (recorded.status === 'rejected') {
    throw new Fault(
      'audit_unavailable',
      `token ${id} is revoked, but the audit event could not be recorded: repeat the call once the audit trail can be written`,
      { cause: recorded.reason },
    );
  }
  return ok({ id, revoked_at: revokedAt, propagation: propagated.value });
}

interface Marked {
  readonly record: TokenRecord;
  readonly revokedAt: number;
  readonly repeated: boolean;
}

async function markRevoked(
  context: LifecycleContext,
  actor: Actor,
  id: string,
  reason: string | null,
): Promise<Marked | null> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const stored = await context.store.load(id);
    if (stored === null) return null;
    const { record } = stored;
    const now = context.clock.now();
    if (record.revoked_at !== null && transition(statusAt(record, now), 'revoke') === 'repeat') {
      return { record, revokedAt: record.revoked_at, repeated: true };
    }
    const revoked = { ...record, revoked_at: now, revoked_by: actor.name, revoke_reason: reason };
    if (await context.store.replace(stored.version, revoked))
      return { record: revoked, revokedAt: now, repeated: false };
  }
  throw new Fault('conflict', `token ${id} keeps being changed by others: repeat the revocation`);
}

/** Where nobody else could let the token in, this process is the one replica. */
async function propagate(context: LifecycleContext, id: string): Promise<Propagation> {
  const started = context.clock.monotonic();
  const propagation = (await context.propagate?.(id, 'revoked')) ?? {
    replicas: 1,
    acknowledged: 1,
    streams_closed: 0,
    elapsed_ms: Math.round(context.clock.monotonic() - started),
  };
  context.metrics.revocationPropagationSeconds(propagation.elapsed_ms / 1000);
  return propagation;
}
