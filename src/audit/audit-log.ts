import type { AuditEventInput } from '../model/audit-event.ts';

/** What the rest of the product sees of the audit trail. */
export interface AuditLog {
  /** Queues an event. Never blocks and never throws; what the sinks cannot take follows `on_full`. */
  record(event: AuditEventInput): void;
  /**
   * Resolves when the event is durable in every durable sink (a file: written and fdatasync'ed).
   * Rejects with Fault `audit_unavailable` otherwise; the caller then undoes or refuses its change.
   */
  recordDurably(event: AuditEventInput): Promise<void>;
  /** With `on_full: block`: true while the sinks are behind and requests have to be refused (`overloaded`). */
  readonly saturated: boolean;
  /**
   * Events as they are written, for `GET /v1/events`. Returns the way to stop. `onMissed` is told of events that were
   * left out, where they come from another process and there were too many.
   */
  subscribe(listener: (line: string) => void, onMissed?: (count: number) => void): () => void;
  /** Writes what is queued and a last `chain.checkpoint`, and closes the sinks. */
  close(): Promise<void>;
}
