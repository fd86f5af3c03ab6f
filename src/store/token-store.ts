import type { MaybePromise } from '../base/result.ts';
import type { TokenRecord, TokenStatus, TokenUsage } from '../model/token-record.ts';
import type { ChangeLog } from './change-log.ts';
import type { MarkStore } from './mark-store.ts';
import type { ProofMemory } from './proof-memory.ts';
import type { RateCounter } from './rate-counter.ts';
import type { SharedKeys } from './shared-keys.ts';

/**
 * The store's contract, split by privilege: the data plane holds a reader, the lifecycle a writer.
 *
 * Every method throws (or rejects with) a Fault: `store_unavailable` when the store cannot be reached or does not
 * answer in time, `store_full` when it refuses a write for want of space, `internal` otherwise. A record that
 * cannot be parsed is a fault too, never "not found".
 */
export interface TokenReader {
  /**
   * One point read, or an answer from memory that is as good. At once (no promise) where the store is in this process
   * or nothing has to be read. `whenUnavailable` null: as the store is configured.
   */
  find(id: string, whenUnavailable?: WhenUnavailable | null): MaybePromise<TokenRecord | null>;
}

/** What becomes of a request while the store cannot be asked: refused, or answered from what was known last. */
export type WhenUnavailable = 'deny' | 'serve_cached';

/** A record together with what optimistic replacement and an administrator need. */
export interface StoredToken {
  readonly record: TokenRecord;
  readonly usage: TokenUsage;
  /** When the current generation of a rotated token was last used; absent while no use of it has been written down. */
  readonly newestUsedAt?: number;
  /** Grows with every replacement of the record. */
  readonly version: number;
}

export interface TokenFilter {
  readonly owner?: string;
  readonly class?: string;
  readonly subject?: string;
  /** The status at `now`, computed as `statusAt` does. */
  readonly status?: TokenStatus;
  /** Milliseconds since the epoch, exclusive. */
  readonly expiresBefore?: number;
}

export interface TokenPage {
  readonly tokens: readonly StoredToken[];
  /** Opaque; null on the last page. A page may hold fewer tokens than asked for, even none, and still have a next one. */
  readonly cursor: string | null;
}

export interface TokenWriter {
  load(id: string): Promise<StoredToken | null>;
  /** Newest first. A cursor that this store did not make is an `InvalidCursor`. */
  list(
    filter: TokenFilter,
    page: { readonly limit: number; readonly cursor: string | null; readonly now: number },
  ): Promise<TokenPage>;
  /** Durable when it resolves. False when the id is taken. */
  create(record: TokenRecord): Promise<boolean>;
  /**
   * Replaces the record if it still has `version`; durable when it resolves. False when it has changed meanwhile or
   * is gone. A record that is revoked stays revoked: the store itself refuses (false) a replacement that would lift it.
   * The change stands in the log when it resolves; a crash in between is one that nobody was told of.
   */
  replace(version: number, record: TokenRecord): Promise<boolean>;
  /** Removes a record that was never acknowledged to anybody. Never used on a token that was handed out. */
  withdraw(id: string): Promise<void>;
  /** Folds uses into the records' usage. Counts add up; the newest time wins. Unknown ids are ignored. */
  recordUses(uses: readonly TokenUse[]): Promise<void>;
}

export interface TokenUse {
  readonly id: string;
  readonly at: number;
  readonly ip: string;
  readonly count: number;
  /** Which generation was used; an old one is noted on its entry in `superseded` when it is read back. */
  readonly generation: number;
}

/** The last link of an audit chain, kept outside the audit file so that a cut-off end is noticed. */
export interface AuditCheckpoint {
  readonly chain: string;
  readonly seq: number;
  readonly hash: string;
  readonly time: number;
}

export interface CheckpointStore {
  saveCheckpoint(checkpoint: AuditCheckpoint): Promise<void>;
  /** Newest checkpoint of that chain. */
  lastCheckpoint(chain: string): Promise<AuditCheckpoint | null>;
}

/** Answers to idempotent admin calls, kept for LIMITS.idempotencyMs. The values hold no secrets. */
export interface IdempotencyStore {
  /** Claims `key`: null when it was free (now held), else what was remembered for it. `value` null: still under way. */
  claim(key: string, fingerprint: string, now: number): Promise<RememberedAnswer | null>;
  remember(key: string, fingerprint: string, value: string, now: number): Promise<void>;
  release(key: string): Promise<void>;
}

export interface RememberedAnswer {
  /** Digest of the request body: the same key with another body is an error. */
  readonly fingerprint: string;
  readonly value: string | null;
}

export interface TokenCounts {
  /** Per class and status at `now`. */
  readonly byClass: readonly { readonly class: string; readonly status: TokenStatus; readonly count: number }[];
  /** Active or rotating tokens whose end is within so many milliseconds. */
  readonly expiring: readonly { readonly class: string; readonly withinMs: number; readonly count: number }[];
  /** Set where the store held more tokens than one count looks at: the numbers are those of the newest. */
  readonly truncated?: boolean;
}

export interface Store
  extends TokenReader,
    TokenWriter,
    CheckpointStore,
    IdempotencyStore,
    ChangeLog,
    MarkStore,
    RateCounter,
    ProofMemory,
    SharedKeys {
  readonly kind: 'embedded' | 'redis';
  /** One cheap round trip, bounded in time. Throws `store_unavailable`. */
  ping(): Promise<void>;
  count(now: number, withinMs: readonly number[]): Promise<TokenCounts>;
  close(): Promise<void>;
}

/** Called when the store is lost or back; at most once per change. */
export type StoreListener = (state: 'lost' | 'restored') => void;

/** Called for each operation with its duration in seconds. */
export type StoreObserver = (operation: string, seconds: number) => void;

export class InvalidCursor extends Error {
  constructor() {
    super('the cursor is not one that this list gave out');
    this.name = 'InvalidCursor';
  }
}
