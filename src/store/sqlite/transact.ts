import type { DatabaseSync } from 'node:sqlite';

/** Runs `work` as one write transaction: all of it is durable when this returns, or none of it happened. */
export function transact<T>(database: DatabaseSync, work: () => T): T {
  // IMMEDIATE takes the write lock at once: a transaction that first reads could not wait for another's lock later.
  database.exec('BEGIN IMMEDIATE');
  try {
    const result = work();
    database.exec('COMMIT');
    return result;
  } catch (error) {
    // A full disk has often rolled back already; what was thrown first is what the caller has to hear.
    if (database.isTransaction) {
      try {
        database.exec('ROLLBACK');
      } catch {}
    }
    throw error;
  }
}
