import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { RevocationMark } from '../../model/revocation-mark.ts';
import type { LogPosition } from '../change-log.ts';
import type { PutMark } from '../mark-store.ts';
import { decodeMark, encodeMark, KEPT_BEYOND_END_MS, mergeMarks } from '../revocation-marks.ts';
import type { ChangeLogTable } from './change-log-table.ts';
import { integer, type Row, text } from './row.ts';
import { transact } from './transact.ts';

/** The revocations of tokens that others issued, each with its entry in the log. */
export class MarkTable {
  readonly #database: DatabaseSync;
  readonly #log: ChangeLogTable;
  readonly #find: StatementSync;
  readonly #all: StatementSync;
  readonly #count: StatementSync;
  readonly #put: StatementSync;
  readonly #sweep: StatementSync;

  constructor(database: DatabaseSync, log: ChangeLogTable) {
    this.#database = database;
    this.#log = log;
    this.#find = database.prepare('SELECT id, mark FROM revocation_mark WHERE id = ?');
    this.#all = database.prepare('SELECT id, mark FROM revocation_mark');
    this.#count = database.prepare('SELECT count(*) AS n FROM revocation_mark');
    this.#put = database.prepare(`
      INSERT INTO revocation_mark (id, mark, keep_until) VALUES (:id, :mark, :keep_until)
      ON CONFLICT (id) DO UPDATE SET mark = excluded.mark, keep_until = excluded.keep_until`);
    this.#sweep = database.prepare('DELETE FROM revocation_mark WHERE keep_until <= ?');
  }

  /** Null where there are too many. The position of its entry is null where nothing has changed. */
  put(mark: RevocationMark, most: number, now: number): (PutMark & { readonly position: LogPosition | null }) | null {
    return transact(this.#database, () => {
      this.#sweep.run(now - KEPT_BEYOND_END_MS);
      const stands = this.find(mark.id);
      if (stands === null && this.#size >= most) this.#sweep.run(now);
      if (stands === null && this.#size >= most) return null;
      const merged = mergeMarks(stands, mark);
      const repeated = stands !== null && merged.issuedBefore === stands.issuedBefore;
      const encoded = encodeMark(merged);
      if (stands !== null && encoded === encodeMark(stands)) return { mark: merged, repeated, position: null };
      this.#put.run({ id: mark.id, mark: encoded, keep_until: merged.keepUntil });
      return { mark: merged, repeated, position: this.#log.append(mark.id, 'revoked') };
    });
  }

  get #size(): number {
    return integer(this.#count.get() ?? {}, 'n');
  }

  find(id: string): RevocationMark | null {
    const row = this.#find.get(id);
    return row === undefined ? null : markOf(row);
  }

  all(): RevocationMark[] {
    return this.#all.all().map(markOf);
  }
}

function markOf(row: Row): RevocationMark {
  return decodeMark(text(row, 'id'), row['mark']);
}
