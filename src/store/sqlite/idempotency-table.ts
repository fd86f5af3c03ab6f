import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { answerEnds, claimEnds } from '../idempotency-hold.ts';
import type { RememberedAnswer } from '../token-store.ts';
import { text } from './row.ts';
import { transact } from './transact.ts';

export class IdempotencyTable {
  readonly #database: DatabaseSync;
  readonly #prune: StatementSync;
  readonly #claim: StatementSync;
  readonly #read: StatementSync;
  readonly #remember: StatementSync;
  readonly #release: StatementSync;

  constructor(database: DatabaseSync) {
    this.#database = database;
    this.#prune = database.prepare('DELETE FROM idempotency WHERE expires_at <= :now');
    this.#claim = database.prepare(
      'INSERT INTO idempotency (key, fingerprint, expires_at) VALUES (:key, :fingerprint, :ends) ON CONFLICT DO NOTHING',
    );
    this.#read = database.prepare('SELECT fingerprint, value FROM idempotency WHERE key = ?');
    // An answer that is there already stays: it is the one that was given.
    this.#remember = database.prepare(`
      INSERT INTO idempotency (key, fingerprint, value, expires_at) VALUES (:key, :fingerprint, :value, :ends)
      ON CONFLICT (key) DO UPDATE SET
        fingerprint = excluded.fingerprint, value = excluded.value, expires_at = excluded.expires_at
      WHERE value IS NULL OR expires_at <= :now`);
    this.#release = database.prepare('DELETE FROM idempotency WHERE key = ? AND value IS NULL');
  }

  claim(key: string, fingerprint: string, now: number): RememberedAnswer | null {
    return transact(this.#database, () => {
      this.#prune.run({ now });
      if (this.#claim.run({ key, fingerprint, ends: claimEnds(now) }).changes === 1) return null;
      const row = this.#read.get(key);
      if (row === undefined) return null;
      return { fingerprint: text(row, 'fingerprint'), value: row['value'] === null ? null : text(row, 'value') };
    });
  }

  remember(key: string, fingerprint: string, value: string, now: number): void {
    this.#remember.run({ key, fingerprint, value, now, ends: answerEnds(now) });
  }

  release(key: string): void {
    this.#release.run(key);
  }
}
