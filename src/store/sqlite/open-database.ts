import { closeSync, fsyncSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { makeFolder } from '../../base/make-folder.ts';
import { Fault } from '../../model/fault.ts';
import { isPrepared, prepareSchema } from './schema.ts';
import { SQLITE_BUSY, sqliteCode } from './sqlite-fault.ts';

/** How long a statement waits for another process's write, milliseconds. It blocks this process meanwhile. */
const LOCK_WAIT_MS = 2000;

/** The same for the registry of processes. */
const REGISTRY_WAIT_MS = 20;

/** Largest write-ahead log that is left behind after a checkpoint, bytes. */
const WAL_BYTES = 16 * 1024 * 1024;

export interface EmbeddedDatabase {
  readonly file: string;
  /** Every commit is on the disk before it returns. */
  readonly durable: DatabaseSync;
  /** Commits survive the end of the process, and reach the disk with the next durable one. For usage alone. */
  readonly relaxed: DatabaseSync;
  /** As relaxed, and gives up at once where another process writes: for what is tried again soon. */
  readonly registry: DatabaseSync;
}

/** Opens `portcullis.db` in `folder`, and makes both (0600 and 0700) where they are not there. */
export function openDatabase(folder: string): EmbeddedDatabase {
  const file = join(folder, 'portcullis.db');
  try {
    makeFolder(folder);
    // SQLite gives the -wal and -shm files the mode of the database file.
    closeSync(openSync(file, 'a', 0o600));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Fault('store_unavailable', `${file}: the store cannot be opened for writing: ${reason}`, {
      cause: error,
    });
  }
  const durable = connect(file, 'FULL', LOCK_WAIT_MS);
  try {
    prepareSchema(durable, file);
    syncFolder(folder);
    const relaxed = connect(file, 'NORMAL', LOCK_WAIT_MS);
    return { file, durable, relaxed, registry: connect(file, 'NORMAL', REGISTRY_WAIT_MS) };
  } catch (error) {
    durable.close();
    throw error;
  }
}

function connect(file: string, synchronous: 'FULL' | 'NORMAL', timeout: number): DatabaseSync {
  const database = new DatabaseSync(file, { timeout });
  try {
    isPrepared(database, file);
    const mode = writeAheadLog(database);
    if (mode !== 'wal') {
      throw new Fault('internal', `${file}: the file system does not support a write-ahead log (got ${String(mode)})`);
    }
    database.exec(`PRAGMA synchronous = ${synchronous}; PRAGMA journal_size_limit = ${WAL_BYTES}`);
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

/** SQLite does not wait for the lock of this one change, so two processes that open a new file together have to. */
function writeAheadLog(database: DatabaseSync): unknown {
  const deadline = performance.now() + LOCK_WAIT_MS;
  const sleeper = new Int32Array(new SharedArrayBuffer(4));
  for (;;) {
    try {
      return database.prepare('PRAGMA journal_mode = WAL').get()?.['journal_mode'];
    } catch (error) {
      if (sqliteCode(error) !== SQLITE_BUSY || performance.now() > deadline) throw error;
      Atomics.wait(sleeper, 0, 0, 10);
    }
  }
}

/** Makes the new files' names durable too: without it a power cut could take the whole file. */
function syncFolder(folder: string): void {
  const handle = openSync(folder, 'r');
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}
