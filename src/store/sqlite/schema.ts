import type { DatabaseSync } from 'node:sqlite';
import { Fault } from '../../model/fault.ts';
import { transact } from './transact.ts';

/** Layout of the file, in `PRAGMA user_version`. A higher one was written by a newer release and is refused. */
export const SCHEMA_VERSION = 3;

/** `PRAGMA application_id`: tells our file from any other SQLite database ("Port" in ASCII). */
const APPLICATION_ID = 0x506f7274;

/*
 * The record's text is the truth; the columns beside it are what lists and counts select by. Usage has tables of its
 * own: it changes with every request and must neither rewrite the record nor bump its version.
 */
const SCHEMA = `
  CREATE TABLE token (
    id TEXT PRIMARY KEY NOT NULL,
    version INTEGER NOT NULL,
    record TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    owner TEXT NOT NULL,
    class TEXT NOT NULL,
    subject TEXT,
    expires_at INTEGER NOT NULL,
    grace_until INTEGER,
    revoked_at INTEGER
  ) STRICT;
  CREATE INDEX token_newest ON token (created_at DESC, id DESC, owner, class, subject, expires_at, grace_until, revoked_at);
  CREATE INDEX token_class ON token (class, revoked_at, expires_at, grace_until);
  CREATE TABLE token_usage (
    id TEXT PRIMARY KEY NOT NULL,
    last_used_at INTEGER NOT NULL,
    last_used_ip TEXT NOT NULL,
    use_count INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE generation_usage (
    id TEXT NOT NULL,
    generation INTEGER NOT NULL,
    last_used_at INTEGER NOT NULL,
    last_used_ip TEXT NOT NULL,
    PRIMARY KEY (id, generation)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE checkpoint (
    chain TEXT PRIMARY KEY NOT NULL,
    seq INTEGER NOT NULL,
    hash TEXT NOT NULL,
    time INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE idempotency (
    key TEXT PRIMARY KEY NOT NULL,
    fingerprint TEXT NOT NULL,
    value TEXT,
    expires_at INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX idempotency_expiry ON idempotency (expires_at);
`;

/** Layout 2: the log of changes, which is never without an entry, and the processes that follow it. */
const CHANGE_LOG = `
  CREATE TABLE change_log (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    nonce INTEGER NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL
  ) STRICT;
  INSERT INTO change_log (nonce, kind, id) VALUES (random() & 0x7fffffffffff, 'changed', '');
  CREATE TABLE replica (
    id TEXT PRIMARY KEY NOT NULL,
    renewals INTEGER NOT NULL,
    applied TEXT,
    closed TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
`;

/** Layout 3: revocations of tokens that others issued. `keep_until` null: for good. */
const REVOCATION_MARKS = `
  CREATE TABLE revocation_mark (
    id TEXT PRIMARY KEY NOT NULL,
    mark TEXT NOT NULL,
    keep_until INTEGER
  ) STRICT;
  CREATE INDEX revocation_mark_end ON revocation_mark (keep_until);
`;

/**
 * Whether the file holds our tables; false for one that is still empty or has an older layout. Throws Fault `internal` for anything else,
 * before a byte of it is changed.
 */
export function isPrepared(database: DatabaseSync, file: string): boolean {
  const version = pragma(database, 'user_version');
  if (pragma(database, 'application_id') === APPLICATION_ID) {
    if (version === SCHEMA_VERSION) return true;
    if (version < SCHEMA_VERSION) return false;
    throw new Fault(
      'internal',
      `${file}: written by a newer release (layout ${version}; this one knows ${SCHEMA_VERSION}); upgrade, or use another folder`,
    );
  }
  const tables = database.prepare('SELECT count(*) AS n FROM sqlite_schema').get()?.['n'];
  if (version === 0 && tables === 0) return false;
  throw new Fault('internal', `${file}: an SQLite database, but not a token store; use another folder`);
}

/** Makes the tables in a new file, and those that an older one lacks. */
export function prepareSchema(database: DatabaseSync, file: string): void {
  // One writer at a time: of two processes that open a new file together, the second finds the tables made.
  transact(database, () => {
    if (isPrepared(database, file)) return;
    const before = pragma(database, 'application_id') === APPLICATION_ID ? pragma(database, 'user_version') : 0;
    if (before < 1) database.exec(SCHEMA);
    if (before < 2) database.exec(CHANGE_LOG);
    if (before < 3) database.exec(REVOCATION_MARKS);
    database.exec(`PRAGMA application_id = ${APPLICATION_ID}`);
    database.exec(`PRAGMA user_version = ${SCHEMA_VERSION}`);
  });
}

function pragma(database: DatabaseSync, name: string): number {
  const value = database.prepare(`PRAGMA ${name}`).get()?.[name];
  return typeof value === 'number' ? value : 0;
}
