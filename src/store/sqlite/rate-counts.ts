import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { sha256 } from '../../base/encoding.ts';
import { Fault } from '../../model/fault.ts';
import type { RateCount } from '../rate-counter.ts';
import { integer } from './row.ts';
import { sqliteFault } from './sqlite-fault.ts';
import { useWriteAheadLog } from './write-ahead-log.ts';

/** How long a count waits for another process's count, milliseconds. It blocks this process meanwhile. */
const LOCK_WAIT_MS = 100;

/** Counts between two removals of what is over. */
const COUNTS_PER_SWEEP = 1000;

/**
 * A file of its own: it is written far more often than the tokens are, may be lost, and must not make a revocation wait.
 * Times are of the wall clock, which the processes of one machine share; a window that would last longer than it may
 * is what a clock that stepped back has left behind.
 */
const SCHEMA = `
  CREATE TABLE IF NOT EXISTS rate (
    key BLOB PRIMARY KEY NOT NULL,
    count INTEGER NOT NULL,
    ends_at INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS rate_end ON rate (ends_at);
`;

const COUNT = `
  INSERT INTO rate (key, count, ends_at) VALUES (:key, :n, :now + :per)
  ON CONFLICT (key) DO UPDATE SET
    count = iif(ends_at > :now AND ends_at <= :now + :per, count + :n, :n),
    ends_at = iif(ends_at > :now AND ends_at <= :now + :per, ends_at, :now + :per)
  RETURNING count, ends_at`;

interface OpenFile {
  readonly database: DatabaseSync;
  readonly count: StatementSync;
  readonly sweep: StatementSync;
}

/** The counts of rate limits of all processes on one folder: `rates.db` in it, made with the first count. */
export class RateCounts {
  readonly #file: string;
  #open: OpenFile | null = null;
  #counts = 0;
  #closed = false;

  constructor(folder: string) {
    this.#file = join(folder, 'rates.db');
  }

  count(key: string, add: number, perMs: number): RateCount {
    if (this.#closed) throw new Fault('store_unavailable', `${this.#file}: the store is closed`);
    try {
      this.#open ??= this.#prepare();
      const now = Date.now();
      this.#counts += 1;
      if (this.#counts % COUNTS_PER_SWEEP === 0) this.#open.sweep.run(now);
      const row = this.#open.count.get({ key: sha256(key), n: add, now, per: perMs });
      if (row === undefined) throw new Fault('internal', `${this.#file}: a count has no result`);
      return { count: integer(row, 'count'), leftMs: Math.max(1, integer(row, 'ends_at') - now) };
    } catch (error) {
      throw sqliteFault(error, this.#file);
    }
  }

  close(): void {
    this.#closed = true;
    this.#open?.database.close();
    this.#open = null;
  }

  #prepare(): OpenFile {
    closeSync(openSync(this.#file, 'a', 0o600));
    const database = new DatabaseSync(this.#file, { timeout: LOCK_WAIT_MS });
    try {
      useWriteAheadLog(database);
      database.exec(`PRAGMA synchronous = OFF; ${SCHEMA}`);
      const sweep = database.prepare('DELETE FROM rate WHERE ends_at <= ?');
      return { database, count: database.prepare(COUNT), sweep };
    } catch (error) {
      database.close();
      throw error;
    }
  }
}
