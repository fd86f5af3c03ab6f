import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { GenerationUse } from '../stored-record.ts';
import type { TokenUse } from '../token-store.ts';
import { integer, text } from './row.ts';
import { transact } from './transact.ts';

/** Uses of one transaction: other writers, and this process's requests, wait for no more than that. */
const USES_PER_COMMIT = 500;

/** How tokens were last used: one row per token, and one per generation of it. */
export class UsageTable {
  readonly #database: DatabaseSync;
  readonly #fold: StatementSync;
  readonly #foldGeneration: StatementSync;
  readonly #generations: StatementSync;

  constructor(database: DatabaseSync) {
    this.#database = database;
    this.#fold = database.prepare(`
      INSERT INTO token_usage (id, last_used_at, last_used_ip, use_count)
      SELECT id, :at, :ip, :count FROM token WHERE id = :id
      ON CONFLICT (id) DO UPDATE SET
        use_count = use_count + excluded.use_count,
        last_used_ip = iif(excluded.last_used_at >= last_used_at, excluded.last_used_ip, last_used_ip),
        last_used_at = max(last_used_at, excluded.last_used_at)`);
    this.#foldGeneration = database.prepare(`
      INSERT INTO generation_usage (id, generation, last_used_at, last_used_ip)
      SELECT id, :generation, :at, :ip FROM token WHERE id = :id
      ON CONFLICT (id, generation) DO UPDATE SET
        last_used_ip = iif(excluded.last_used_at >= last_used_at, excluded.last_used_ip, last_used_ip),
        last_used_at = max(last_used_at, excluded.last_used_at)`);
    this.#generations = database.prepare(
      'SELECT generation, last_used_at, last_used_ip FROM generation_usage WHERE id = ?',
    );
  }

  async record(uses: readonly TokenUse[]): Promise<void> {
    for (let start = 0; start < uses.length; start += USES_PER_COMMIT) {
      if (start > 0) await new Promise((resolve) => setImmediate(resolve));
      transact(this.#database, () => {
        for (const { id, at, ip, count, generation } of uses.slice(start, start + USES_PER_COMMIT)) {
          this.#fold.run({ id, at, ip, count });
          this.#foldGeneration.run({ id, at, ip, generation });
        }
      });
    }
  }

  generationUses(id: string): GenerationUse[] {
    return this.#generations.all(id).map((row) => ({
      generation: integer(row, 'generation'),
      at: integer(row, 'last_used_at'),
      ip: text(row, 'last_used_ip'),
    }));
  }
}
