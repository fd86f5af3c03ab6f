import { randomInt } from 'node:crypto';
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import {
  type ChangeKind,
  decodeClosed,
  encodeClosed,
  LOG_ENTRIES,
  type LogEntry,
  type LogListener,
  type LogPosition,
  logNumber,
  type Muster,
  RENEWAL_ENTRIES,
  type Renewal,
  type ReplicaReport,
} from '../change-log.ts';
import { integer, type Row, text } from './row.ts';

const MAX_NONCE = 2 ** 47;

/** How often another process's changes are looked for while there is another process, milliseconds. */
const WATCH_MS = 5;

/** The log as a table, and the processes that follow it. */
export class ChangeLogTable {
  readonly #registry: DatabaseSync;
  readonly #append: StatementSync;
  readonly #trim: StatementSync;
  readonly #from: StatementSync;
  readonly #newest: StatementSync;
  readonly #entry: StatementSync;
  readonly #version: StatementSync;
  readonly #register: StatementSync;
  readonly #replicas: StatementSync;
  readonly #count: StatementSync;
  readonly #forget: StatementSync;
  readonly #leave: StatementSync;
  readonly #listeners = new Set<LogListener>();
  #watching: NodeJS.Timeout | null = null;
  #seenVersion = -1;
  #seenNumber = -1;
  #toldReported = -1;

  /** `durable` holds the records; `registry` waits for nobody's lock, and what it writes may be lost with the machine. */
  constructor(durable: DatabaseSync, registry: DatabaseSync) {
    this.#registry = registry;
    this.#append = durable.prepare('INSERT INTO change_log (nonce, kind, id) VALUES (:nonce, :kind, :id)');
    this.#trim = durable.prepare('DELETE FROM change_log WHERE number <= ?');
    this.#from = durable.prepare(
      'SELECT number, nonce, kind, id FROM change_log WHERE number >= ? ORDER BY number LIMIT ?',
    );
    this.#newest = durable.prepare('SELECT number, nonce FROM change_log ORDER BY number DESC LIMIT 1');
    this.#entry = durable.prepare('SELECT 1 AS found FROM change_log WHERE number = ? AND nonce = ?');
    this.#version = durable.prepare('PRAGMA data_version');
    this.#register = registry.prepare(`
      INSERT INTO replica (id, renewals, applied, closed) VALUES (:id, 1, :applied, :closed)
      ON CONFLICT (id) DO UPDATE SET renewals = renewals + 1, applied = excluded.applied, closed = excluded.closed`);
    this.#replicas = registry.prepare('SELECT id, renewals, applied, closed FROM replica ORDER BY id');
    this.#count = registry.prepare('SELECT count(*) AS n FROM replica');
    this.#forget = registry.prepare('DELETE FROM replica WHERE id = ? AND renewals = ?');
    this.#leave = registry.prepare('DELETE FROM replica WHERE id = ?');
  }

  /** Belongs into the transaction that changes the record. */
  append(id: string, kind: ChangeKind): LogPosition {
    const nonce = randomInt(MAX_NONCE);
    const number = Number(this.#append.run({ nonce, kind, id }).lastInsertRowid);
    if (number % 1000 === 0) this.#trim.run(number - LOG_ENTRIES);
    return `${number}-${nonce}`;
  }

  /** What was appended is committed: the replica in this process hears of it at once. */
  committed(): void {
    for (const listener of this.#listeners) listener.appended(null);
  }

  renew(replica: string, { applied, closed }: ReplicaReport): Renewal {
    const registered = this.#report(replica, applied, encodeClosed(closed));
    const replicas = Math.max(1, integer(this.#count.get() ?? {}, 'n'));
    // Who is alone is woken by its own changes; another process is seen by its registration, at the next renewal.
    this.#watch(replicas > 1 || !registered);
    const last = positionOf(this.#newest.get() ?? {});
    if (applied === null) return { last, entries: [], broken: true, reached: null, replicas };
    const number = Number(applied.slice(0, applied.indexOf('-')));
    const [first, ...entries] = this.#from.all(number, RENEWAL_ENTRIES + 1);
    if (first === undefined || positionOf(first) !== applied) {
      // A position of a history that this log does not know says nothing about the entries that it will hold.
      this.#report(replica, null, encodeClosed(closed));
      return { last, entries: [], broken: true, reached: null, replicas };
    }
    this.#tellReported();
    return { last, entries: entries.map(entryOf), broken: false, reached: applied, replicas };
  }

  muster(positions: readonly LogPosition[]): Muster {
    return {
      missing: positions.filter((position) => {
        const [number, nonce] = position.split('-').map(Number);
        return this.#entry.get(number ?? 0, nonce ?? 0) === undefined;
      }),
      replicas: this.#replicas.all().map((row) => ({
        id: text(row, 'id'),
        renewals: integer(row, 'renewals'),
        applied: row['applied'] === null ? null : text(row, 'applied'),
        closed: decodeClosed(text(row, 'closed')),
      })),
    };
  }

  forget(replica: string, renewals: number): boolean {
    return this.#forget.run(replica, renewals).changes === 1;
  }

  leave(replica: string): void {
    if (this.#registry.isOpen) this.#leave.run(replica);
  }

  listen(listener: LogListener): () => Promise<void> {
    this.#listeners.add(listener);
    return async () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) this.#watch(false);
    };
  }

  close(): void {
    this.#listeners.clear();
    this.#watch(false);
  }

  /** False where nothing can be written now. The log can be followed all the same; only the others wait in vain. */
  #report(id: string, applied: LogPosition | null, closed: string): boolean {
    try {
      this.#register.run({ id, applied, closed });
      return true;
    } catch {
      return false;
    }
  }

  #watch(on: boolean): void {
    if (on === (this.#watching !== null)) return;
    if (this.#watching !== null) clearInterval(this.#watching);
    this.#watching = on && this.#listeners.size > 0 ? setInterval(() => this.#look(), WATCH_MS) : null;
    this.#watching?.unref();
  }

  #tellReported(): void {
    const numbers = this.#replicas.all().map(({ applied }) => (typeof applied === 'string' ? logNumber(applied) : 0));
    const slowest = Math.min(...numbers);
    if (slowest === this.#toldReported) return;
    this.#toldReported = slowest;
    for (const listener of this.#listeners) listener.reported(slowest);
  }

  /** `data_version` grows with every commit of another connection (sqlite.org/pragma.html); only then is the log read. */
  #look(): void {
    try {
      const version = integer(this.#version.get() ?? {}, 'data_version');
      if (version === this.#seenVersion) return;
      const number = integer(this.#newest.get() ?? {}, 'number');
      const news = number !== this.#seenNumber;
      this.#seenVersion = version;
      this.#seenNumber = number;
      if (news) this.committed();
      this.#tellReported();
    } catch {
      // Whether the file can be read is for the renewals to say.
    }
  }
}

function positionOf(row: Row): LogPosition {
  return `${integer(row, 'number')}-${integer(row, 'nonce')}`;
}

function entryOf(row: Row): LogEntry {
  return {
    position: positionOf(row),
    kind: text(row, 'kind') === 'revoked' ? 'revoked' : 'changed',
    id: text(row, 'id'),
  };
}
