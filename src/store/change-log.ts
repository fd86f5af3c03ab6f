/**
 * Where in the log an entry stands: `<number>-<nonce>`. Numbers grow by one; the nonce is random, so that an entry of
 * another history (a store that was emptied, or lost its newest entries in a failover) is never taken for this one.
 */
export type LogPosition = string;

/** `revoked`: the record is revoked or gone for good. `changed`: it was replaced by another that may still be used. */
export type ChangeKind = 'changed' | 'revoked';

export interface LogEntry {
  readonly position: LogPosition;
  readonly kind: ChangeKind;
  /** The token's id. */
  readonly id: string;
}

/** What a replica says of itself with each renewal. */
export interface ReplicaReport {
  /** The last entry that it has applied; null: none, because it has just begun and holds nothing. */
  readonly applied: LogPosition | null;
  /**
   * Entries that it has applied after that because it heard of them (`listen`), oldest first. They count as far as the
   * log holds these and no others there. A log whose renewals cost next to nothing may pass them over.
   */
  readonly ahead?: readonly LogEntry[];
  /** Streams that it closed for the newest entries, where it closed any. Bounded by the replica. */
  readonly closed: ReadonlyMap<LogPosition, number>;
}

export interface Renewal {
  /** How far the report counts: `applied`, or the last entry of `ahead` up to which the log agrees. Null where broken. */
  readonly reached: LogPosition | null;
  /** The newest entry. */
  readonly last: LogPosition;
  /** What came after `reached`, oldest first; not necessarily all of it up to `last`. */
  readonly entries: readonly LogEntry[];
  /** `applied` is not in the log (any more): whatever the replica remembers may be stale. Then `entries` is empty. */
  readonly broken: boolean;
  /** Replicas that are registered, this one included. */
  readonly replicas: number;
}

export interface RegisteredReplica {
  readonly id: string;
  /** Grows with each of its renewals. */
  readonly renewals: number;
  readonly applied: LogPosition | null;
  readonly closed: ReadonlyMap<LogPosition, number>;
}

export interface Muster {
  /** Of the entries that were asked for those that are not in the log: lost with a server, or trimmed. */
  readonly missing: readonly LogPosition[];
  readonly replicas: readonly RegisteredReplica[];
}

/**
 * The log of changed records, and who follows it. Every change of a record (`replace`, `withdraw`) appends an entry
 * after the record is written. Faults as everywhere in the store.
 */
export interface ChangeLog {
  /**
   * The position that stands for the record as it is now: of the entry that this object has appended with its last
   * change, once, or of a new entry. So a repeated revocation is announced again.
   */
  announce(id: string, kind: ChangeKind): Promise<LogPosition>;
  /** One round trip: registers the replica, notes what it reports, and answers with what it has missed. */
  renew(replica: string, report: ReplicaReport): Promise<Renewal>;
  /** One round trip. */
  muster(positions: readonly LogPosition[]): Promise<Muster>;
  /** Takes a replica out of the registry if it has not renewed since `renewals`. */
  forget(replica: string, renewals: number): Promise<boolean>;
  leave(replica: string): Promise<void>;
  /** Tells of news soon after it is there, whoever made it. Only hints: calls may be missing. Returns the end of it. */
  listen(listener: LogListener): () => Promise<void>;
}

export interface LogListener {
  /** An entry was appended. Null: there may be several, or none. */
  appended(entry: LogEntry | null): void;
  /** Every registered replica has reported this number or more. */
  reported(number: number): void;
}

/** Entries that are kept, at least. A replica that is further behind starts anew. */
export const LOG_ENTRIES = 10_000;

/** Entries that one renewal brings at most. */
export const RENEWAL_ENTRIES = 500;

/** The number in a position, for comparison within one history. */
export function logNumber(position: LogPosition): number {
  return Number(position.slice(0, position.indexOf('-')));
}

/** The text under which a store keeps a report's `closed`. */
export function encodeClosed(closed: ReadonlyMap<LogPosition, number>): string {
  return [...closed].map(([position, count]) => `${position}=${count}`).join(' ');
}

export function decodeClosed(text: string): ReadonlyMap<LogPosition, number> {
  const closed = new Map<LogPosition, number>();
  for (const part of text.split(' ')) {
    const [position, count] = part.split('=');
    if (position !== undefined && count !== undefined) closed.set(position, Number(count));
  }
  return closed;
}
