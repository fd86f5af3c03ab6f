import { err, ok, type Result } from '../base/result.ts';
import type { AuditEventInput } from '../model/audit-event.ts';
import { Fault } from '../model/fault.ts';
import type { TokenRecord } from '../model/token-record.ts';
import type { StoredToken } from '../store/token-store.ts';
import type { DescribedToken, LifecycleContext, LifecycleError } from './context.ts';

/** What is to become of a record, and the event that tells of it; `event` null: nothing changes. */
export interface PlannedChange<T> {
  readonly record: TokenRecord;
  readonly event: AuditEventInput | null;
  readonly outcome: T;
}

/** Simultaneous changes of one token that are worked around before the caller is told. */
const ATTEMPTS = 8;

/**
 * Changes a record by optimistic replacement: `plan` is asked again for each new state that it meets.
 *
 * Resolves when the change and its audit event are durable. When the event cannot be recorded, or the store does not
 * say whether it took the change, the old record is put back where nobody has changed it since, and a Fault tells.
 */
export async function changeDurably<T>(
  context: LifecycleContext,
  id: string,
  plan: (stored: StoredToken, now: number) => Result<PlannedChange<T>, LifecycleError>,
): Promise<Result<{ readonly stored: DescribedToken; readonly outcome: T }, LifecycleError>> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const stored = await context.store.load(id);
    if (stored === null) return err({ kind: 'not_found' });
    const planned = plan(stored, context.clock.now());
    if (!planned.ok) return planned;
    const { record, event, outcome } = planned.value;
    if (event !== null) {
      if (!(await replaceOrPutBack(context, stored, record))) continue;
      await recordOrPutBack(context, stored.record, record, event);
      // So that the answer is true everywhere: a new secret works, what was taken away is gone. The change stands in the
      // log, so where nobody could be asked it takes hold within a lease.
      await context.propagate?.([id], 'changed').catch(() => undefined);
    }
    return ok({ stored: { record, usage: stored.usage }, outcome });
  }
  return err({ kind: 'conflict', message: 'the token keeps being changed by others: try again' });
}

async function replaceOrPutBack(context: LifecycleContext, stored: StoredToken, record: TokenRecord): Promise<boolean> {
  try {
    return await context.store.replace(stored.version, record);
  } catch (fault) {
    // Whether the change was taken is unknown; the caller is told that it was not, so it must not stand.
    await putBack(context, stored.record, record).catch(() => false);
    throw fault;
  }
}

async function recordOrPutBack(
  context: LifecycleContext,
  previous: TokenRecord,
  record: TokenRecord,
  event: AuditEventInput,
): Promise<void> {
  try {
    await context.audit.recordDurably(event);
  } catch (cause) {
    const restored = await putBack(context, previous, record).catch(() => false);
    context.audit.record({ ...event, outcome: 'failure', reason: 'audit_unavailable' });
    throw new Fault(
      'audit_unavailable',
      restored
        ? `token ${record.id} was left as it was because the audit event could not be recorded`
        : `the audit event of a change of token ${record.id} could not be recorded and the change could not be taken back: look at the token`,
      { cause },
    );
  }
}

/** True when the record is as it was before; false where somebody has changed it since, or it is gone. */
async function putBack(context: LifecycleContext, previous: TokenRecord, written: TokenRecord): Promise<boolean> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const current = await context.store.load(written.id);
    if (current === null) return false;
    if (fingerprint(current.record) === fingerprint(previous)) return true;
    if (fingerprint(current.record) !== fingerprint(written)) return false;
    if (await context.store.replace(current.version, previous)) return true;
  }
  return false;
}

/** What changes touch. How old generations were last used is left out: it moves by itself. */
function fingerprint(record: TokenRecord): string {
  const { name, owner, scopes, roles, ip, expires_at, generation, digest, revoked_at } = record;
  return JSON.stringify([name, owner, scopes, roles, ip, expires_at, generation, digest, revoked_at]);
}
