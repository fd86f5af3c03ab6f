import { DatabaseSync } from 'node:sqlite';
import { Fault } from '../../model/fault.ts';
import { SQLITE_BUSY, sqliteCode } from './sqlite-fault.ts';

/**
 * Holds `file` for this process alone, until it is released or the process ends, however it ends: the lock is the
 * system's own (fcntl, through SQLite), so a killed process leaves none behind and no pid has to be guessed at.
 *
 * Throws a Fault `conflict` when another holds it for longer than `waitMs`.
 */
export function holdExclusively(file: string, waitMs: number): { release(): void } {
  const database = new DatabaseSync(file, { timeout: waitMs });
  try {
    // No journal: nothing is ever written through this connection.
    database.exec('PRAGMA journal_mode = MEMORY; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE');
  } catch (error) {
    database.close();
    if (sqliteCode(error) !== SQLITE_BUSY) throw error;
    throw new Fault('conflict', `${file}: another process holds this lock`, { cause: error });
  }
  return { release: () => database.close() };
}
