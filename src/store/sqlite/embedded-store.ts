import { statSync } from 'node:fs';
import { Fault } from '../../model/fault.ts';
import type { RevocationMark } from '../../model/revocation-mark.ts';
import type { TokenRecord } from '../../model/token-record.ts';
import { Availability } from '../availability.ts';
import type { ChangeKind, LogListener, LogPosition, Muster, Renewal, ReplicaReport } from '../change-log.ts';
import type { PutMark } from '../mark-store.ts';
import { OwnChanges } from '../own-changes.ts';
import type { RateCount } from '../rate-counter.ts';
import type {
  AuditCheckpoint,
  RememberedAnswer,
  Store,
  StoredToken,
  StoreListener,
  StoreObserver,
  TokenCounts,
  TokenFilter,
  TokenPage,
  TokenUse,
} from '../token-store.ts';
import { ChangeLogTable } from './change-log-table.ts';
import { CheckpointTable } from './checkpoint-table.ts';
import { IdempotencyTable } from './idempotency-table.ts';
import { MarkTable } from './mark-table.ts';
import { type EmbeddedDatabase, openDatabase } from './open-database.ts';
import { ProofFile } from './proof-file.ts';
import { RateCounts } from './rate-counts.ts';
import { sqliteFault } from './sqlite-fault.ts';
import { TokenTable } from './token-table.ts';
import { transact } from './transact.ts';
import { UsageTable } from './usage-table.ts';

export interface EmbeddedStoreOptions {
  /** A folder; the store is the file `portcullis.db` in it. Both are made where they are not there. */
  readonly path: string;
  readonly observe?: StoreObserver;
  readonly listen?: StoreListener;
}

/**
 * Opens the store inside this process. Several processes may hold the same folder: each read sees what any of them
 * has committed. Throws a Fault when the folder cannot be written or holds something else.
 */
export function openEmbeddedStore(options: EmbeddedStoreOptions): Store {
  try {
    return new EmbeddedStore(openDatabase(options.path), options);
  } catch (error) {
    throw sqliteFault(error, options.path);
  }
}

class EmbeddedStore implements Store {
  readonly kind = 'embedded';
  readonly #database: EmbeddedDatabase;
  readonly #inode: number;
  readonly #tokens: TokenTable;
  readonly #usage: UsageTable;
  readonly #log: ChangeLogTable;
  readonly #marks: MarkTable;
  readonly #own = new OwnChanges();
  readonly #checkpoints: CheckpointTable;
  readonly #idempotency: IdempotencyTable;
  readonly #rates: RateCounts;
  readonly #proofs: ProofFile;
  readonly countsRates = true;
  readonly #availability: Availability;
  readonly #observe: StoreObserver | undefined;

  constructor(database: EmbeddedDatabase, options: EmbeddedStoreOptions) {
    this.#database = database;
    this.#inode = statSync(database.file).ino;
    this.#usage = new UsageTable(database.relaxed);
    this.#log = new ChangeLogTable(database.durable, database.registry);
    this.#tokens = new TokenTable(database.durable, this.#usage, this.#log);
    this.#marks = new MarkTable(database.durable, this.#log);
    this.#checkpoints = new CheckpointTable(database.durable);
    this.#idempotency = new IdempotencyTable(database.durable);
    this.#rates = new RateCounts(options.path);
    this.#proofs = new ProofFile(options.path);
    this.#availability = new Availability(options.listen);
    this.#observe = options.observe;
  }

  find(id: string): TokenRecord | null {
    // The one call of every request: no closures, otherwise the same as #read.
    const started = this.#observe === undefined ? 0 : performance.now();
    try {
      const record = this.#tokens.find(id);
      if (this.#availability.lost) this.#availability.markRestored();
      return record;
    } catch (error) {
      throw this.#readFault(error);
    } finally {
      this.#observe?.('find', (performance.now() - started) / 1000);
    }
  }

  async load(id: string): Promise<StoredToken | null> {
    return this.#read('load', () => this.#tokens.load(id));
  }

  async list(filter: TokenFilter, page: { limit: number; cursor: string | null; now: number }): Promise<TokenPage> {
    return this.#timed('list', () => this.#tokens.list(filter, page));
  }

  async create(record: TokenRecord): Promise<boolean> {
    return this.#timed('create', () => this.#tokens.create(record));
  }

  async replace(version: number, record: TokenRecord): Promise<boolean> {
    const position = this.#timed('replace', () => this.#tokens.replace(version, record));
    this.#appended(record.id, position);
    return position !== null;
  }

  async withdraw(id: string): Promise<void> {
    this.#appended(
      id,
      this.#timed('withdraw', () => this.#tokens.withdraw(id)),
    );
  }

  async announce(id: string, kind: ChangeKind): Promise<LogPosition> {
    const own = this.#own.take(id);
    if (own !== null) return own;
    const position = this.#timed('announce', () => transact(this.#database.durable, () => this.#log.append(id, kind)));
    this.#log.committed();
    return position;
  }

  async renew(replica: string, report: ReplicaReport): Promise<Renewal> {
    return this.#timed('renew', () => this.#log.renew(replica, report));
  }

  async muster(positions: readonly LogPosition[]): Promise<Muster> {
    return this.#timed('muster', () => this.#log.muster(positions));
  }

  async forget(replica: string, renewals: number): Promise<boolean> {
    return this.#timed('forget', () => this.#log.forget(replica, renewals));
  }

  async leave(replica: string): Promise<void> {
    this.#timed('leave', () => this.#log.leave(replica));
  }

  listen(listener: LogListener): () => Promise<void> {
    return this.#log.listen(listener);
  }

  async putMark(mark: RevocationMark, most: number): Promise<PutMark | null> {
    const put = this.#timed('put_mark', () => this.#marks.put(mark, most, Date.now()));
    this.#appended(mark.id, put?.position ?? null);
    return put === null ? null : { mark: put.mark, repeated: put.repeated };
  }

  findMarks(ids: readonly string[]): readonly RevocationMark[] {
    return this.#read('find_marks', () => ids.map((id) => this.#marks.find(id)).filter((mark) => mark !== null));
  }

  async allMarks(): Promise<readonly RevocationMark[]> {
    return this.#read('all_marks', () => this.#marks.all());
  }

  async recordUses(uses: readonly TokenUse[]): Promise<void> {
    const started = performance.now();
    try {
      await this.#usage.record(uses);
    } catch (error) {
      throw sqliteFault(error, this.#database.file);
    } finally {
      this.#observe?.('record_uses', (performance.now() - started) / 1000);
    }
  }

  async saveCheckpoint(checkpoint: AuditCheckpoint): Promise<void> {
    this.#timed('save_checkpoint', () => this.#checkpoints.save(checkpoint));
  }

  async lastCheckpoint(chain: string): Promise<AuditCheckpoint | null> {
    return this.#timed('last_checkpoint', () => this.#checkpoints.last(chain));
  }

  async claim(key: string, fingerprint: string, now: number): Promise<RememberedAnswer | null> {
    return this.#timed('claim', () => this.#idempotency.claim(key, fingerprint, now));
  }

  async remember(key: string, fingerprint: string, value: string, now: number): Promise<void> {
    this.#timed('remember', () => this.#idempotency.remember(key, fingerprint, value, now));
  }

  async release(key: string): Promise<void> {
    this.#timed('release', () => this.#idempotency.release(key));
  }

  async count(now: number, withinMs: readonly number[]): Promise<TokenCounts> {
    return this.#timed('count', () => this.#tokens.count(now, withinMs));
  }

  countRate(key: string, add: number, perMs: number): RateCount {
    return this.#timed('count_rate', () => this.#rates.count(key, add, perMs));
  }

  rememberProof(key: string, keepMs: number): boolean {
    return this.#timed('remember_proof', () => this.#proofs.remember(key, keepMs));
  }

  sharedKey(name: string): Buffer {
    return this.#timed('shared_key', () => this.#proofs.sharedKey(name));
  }

  async ping(): Promise<void> {
    this.#read('ping', () => {
      this.#tokens.find('');
      // A file that was removed or put back from a backup lives on for us alone: nobody else would see our changes.
      if (statSync(this.#database.file, { throwIfNoEntry: false })?.ino !== this.#inode) {
        throw new Fault(
          'store_unavailable',
          `${this.#database.file}: the file was removed or replaced while it was open`,
        );
      }
    });
  }

  async close(): Promise<void> {
    this.#availability.silence();
    this.#log.close();
    this.#rates.close();
    this.#proofs.close();
    const { registry, relaxed, durable } = this.#database;
    for (const database of [registry, relaxed, durable]) {
      if (database.isOpen) database.close();
    }
  }

  #appended(id: string, position: LogPosition | null): void {
    if (position === null) return;
    this.#own.note(id, position);
    this.#log.committed();
  }

  /** Whether reads work is what the listener hears: a failed write tells its caller, and the data plane goes on. */
  #read<T>(operation: string, work: () => T): T {
    try {
      const result = this.#timed(operation, work);
      if (this.#availability.lost) this.#availability.markRestored();
      return result;
    } catch (error) {
      throw this.#readFault(error);
    }
  }

  #readFault(error: unknown): Error {
    const fault = sqliteFault(error, this.#database.file);
    if (fault instanceof Fault && fault.code === 'store_unavailable') this.#availability.markLost();
    return fault;
  }

  #timed<T>(operation: string, work: () => T): T {
    const started = performance.now();
    try {
      return work();
    } catch (error) {
      throw sqliteFault(error, this.#database.file);
    } finally {
      this.#observe?.(operation, (performance.now() - started) / 1000);
    }
  }
}
