import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { AuditCheckpoint } from '../token-store.ts';
import { integer, text } from './row.ts';

/** The newest checkpoint of each chain. `seq` only grows: a chain that was cut off cannot overwrite what it had reached. */
export class CheckpointTable {
  readonly #save: StatementSync;
  readonly #last: StatementSync;

  constructor(database: DatabaseSync) {
    this.#save = database.prepare(`
      INSERT INTO checkpoint (chain, seq, hash, time) VALUES (:chain, :seq, :hash, :time)
      ON CONFLICT (chain) DO UPDATE SET seq = excluded.seq, hash = excluded.hash, time = excluded.time
      WHERE excluded.seq >= seq`);
    this.#last = database.prepare('SELECT chain, seq, hash, time FROM checkpoint WHERE chain = ?');
  }

  save({ chain, seq, hash, time }: AuditCheckpoint): void {
    this.#save.run({ chain, seq, hash, time });
  }

  last(chain: string): AuditCheckpoint | null {
    const row = this.#last.get(chain);
    if (row === undefined) return null;
    return { chain, seq: integer(row, 'seq'), hash: text(row, 'hash'), time: integer(row, 'time') };
  }
}
