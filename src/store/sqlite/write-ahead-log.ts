import type { DatabaseSync } from 'node:sqlite';
import { SQLITE_BUSY, sqliteCode } from './sqlite-fault.ts';

/** SQLite does not wait for the lock of this one change. Who is in the way is making the same one, and it lasts. */
export function useWriteAheadLog(database: DatabaseSync): void {
  try {
    database.exec('PRAGMA journal_mode = WAL');
  } catch (error) {
    if (sqliteCode(error) !== SQLITE_BUSY) throw error;
  }
}
