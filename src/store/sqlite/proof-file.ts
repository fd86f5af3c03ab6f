import { randomBytes } from 'node:crypto';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { sha256 } from '../../base/encoding.ts';
import { Fault } from '../../model/fault.ts';
import { SHARED_KEY_BYTES } from '../shared-keys.ts';
import { sqliteFault } from './sqlite-fault.ts';
import { useWriteAheadLog } from './write-ahead-log.ts';

/** How long a proof waits for another process's, milliseconds. It blocks this process meanwhile. */
const LOCK_WAIT_MS = 100;

/** Proofs between two removals of those that are over. */
const PROOFS_PER_SWEEP = 1000;

/**
 * A file of its own: it is written with every request that carries a proof, and must not make a revocation wait. Times are
 * of the wall clock, which the processes of one machine share.
 */
const SCHEMA = `
  CREATE TABLE IF NOT EXISTS proof (
    key BLOB PRIMARY KEY NOT NULL,
    ends_at INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS proof_end ON proof (ends_at);
  CREATE TABLE IF NOT EXISTS shared_key (
    name TEXT PRIMARY KEY NOT NULL,
    key BLOB NOT NULL
  ) STRICT, WITHOUT ROWID;
`;

/** What is over counts as never heard of. */
const REMEMBER = `
  INSERT INTO proof (key, ends_at) VALUES (:key, :now + :keep)
  ON CONFLICT (key) DO UPDATE SET ends_at = :now + :keep WHERE ends_at <= :now`;

interface OpenFile {
  readonly database: DatabaseSync;
  readonly remember: StatementSync;
  readonly sweep: StatementSync;
}

/**
 * The proofs that all processes on one folder have seen, and the keys that they share: `proofs.db` in it, made with the first
 * of either.
 */
export class ProofFile {
  readonly #file: string;
  #open: OpenFile | null = null;
  #proofs = 0;
  #closed = false;

  constructor(folder: string) {
    this.#file = join(folder, 'proofs.db');
  }

  remember(key: string, keepMs: number): boolean {
    return this.#use(({ sweep, remember }) => {
      const now = Date.now();
      this.#proofs += 1;
      if (this.#proofs % PROOFS_PER_SWEEP === 0) sweep.run(now);
      return remember.run({ key: sha256(key), now, keep: keepMs }).changes === 1;
    });
  }

  sharedKey(name: string): Buffer {
    return this.#use(({ database }) => {
      const candidate = randomBytes(SHARED_KEY_BYTES);
      database.prepare('INSERT INTO shared_key (name, key) VALUES (?, ?) ON CONFLICT DO NOTHING').run(name, candidate);
      const key = database.prepare('SELECT key FROM shared_key WHERE name = ?').get(name)?.['key'];
      if (!(key instanceof Uint8Array) || key.length !== SHARED_KEY_BYTES) {
        throw new Fault('internal', `${this.#file}: the key ${name} is damaged`);
      }
      return Buffer.from(key);
    });
  }

  close(): void {
    this.#closed = true;
    this.#open?.database.close();
    this.#open = null;
  }

  #use<T>(work: (open: OpenFile) => T): T {
    if (this.#closed) throw new Fault('store_unavailable', `${this.#file}: the store is closed`);
    try {
      this.#open ??= this.#prepare();
      return work(this.#open);
    } catch (error) {
      throw sqliteFault(error, this.#file);
    }
  }

  #prepare(): OpenFile {
    closeSync(openSync(this.#file, 'a', 0o600));
    const database = new DatabaseSync(this.#file, { timeout: LOCK_WAIT_MS });
    try {
      useWriteAheadLog(database);
      // A power cut may forget proofs of the last moments; it must not damage the file.
      database.exec(`PRAGMA synchronous = NORMAL; ${SCHEMA}`);
      const sweep = database.prepare('DELETE FROM proof WHERE ends_at <= ?');
      sweep.run(Date.now());
      return { database, remember: database.prepare(REMEMBER), sweep };
    } catch (error) {
      database.close();
      throw error;
    }
  }
}
