import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite';
import { LIMITS } from '../../base/limits.ts';
import { TOKEN_STATUSES, type TokenRecord, type TokenStatus, type TokenUsage } from '../../model/token-record.ts';
import type { LogPosition } from '../change-log.ts';
import { decodeCursor, encodeCursor, type ListPosition } from '../list-cursor.ts';
import { RecordDecoder } from '../record-decoder.ts';
import { decodeRecord, encodeRecord, newestUse, withGenerationUses } from '../stored-record.ts';
import type { StoredToken, TokenCounts, TokenFilter, TokenPage } from '../token-store.ts';
import { TokenTally } from '../token-tally.ts';
import type { ChangeLogTable } from './change-log-table.ts';
import { integer, type Row, text } from './row.ts';
import { transact } from './transact.ts';
import type { UsageTable } from './usage-table.ts';

const SELECT_STORED = `
  SELECT token.id, record, version, created_at, last_used_at, last_used_ip, use_count
  FROM token LEFT JOIN token_usage ON token_usage.id = token.id`;

/** The same table of states as `statusAt`, for rows. */
const STATUS_SQL: Readonly<Record<TokenStatus, string>> = {
  revoked: 'revoked_at IS NOT NULL',
  expired: 'revoked_at IS NULL AND expires_at <= :now',
  rotating: 'revoked_at IS NULL AND expires_at > :now AND grace_until > :now',
  active: 'revoked_at IS NULL AND expires_at > :now AND (grace_until IS NULL OR grace_until <= :now)',
};

/** Marks cursors of this store. */
const CURSOR_KIND = 'e';

/** The token records. Every statement outside a transaction sees what any process has committed before it began. */
export class TokenTable {
  readonly #database: DatabaseSync;
  readonly #usage: UsageTable;
  readonly #log: ChangeLogTable;
  readonly #decoder = new RecordDecoder();
  readonly #find: StatementSync;
  readonly #load: StatementSync;
  readonly #insert: StatementSync;
  readonly #update: StatementSync;

  constructor(database: DatabaseSync, usage: UsageTable, log: ChangeLogTable) {
    this.#database = database;
    this.#log = log;
    this.#usage = usage;
    this.#find = database.prepare('SELECT record FROM token WHERE id = ?');
    this.#load = database.prepare(`${SELECT_STORED} WHERE token.id = ?`);
    this.#insert = database.prepare(`
      INSERT INTO token (id, version, record, created_at, owner, class, subject, expires_at, grace_until, revoked_at)
      VALUES (:id, 1, :record, :created_at, :owner, :class, :subject, :expires_at, :grace_until, :revoked_at)
      ON CONFLICT (id) DO NOTHING`);
    // `created_at` stays: it is the record's place in the list, and a cursor may point at it.
    this.#update = database.prepare(`
      UPDATE token SET version = version + 1, record = :record, owner = :owner, class = :class, subject = :subject,
        expires_at = :expires_at, grace_until = :grace_until, revoked_at = :revoked_at
      WHERE id = :id AND version = :version AND (revoked_at IS NULL OR :revoked_at IS NOT NULL)`);
  }

  find(id: string): TokenRecord | null {
    const row = this.#find.get(id);
    return row === undefined ? null : this.#decoder.decode(id, row['record']);
  }

  load(id: string): StoredToken | null {
    const row = this.#load.get(id);
    return row === undefined ? null : this.#stored(row);
  }

  create(record: TokenRecord): boolean {
    return this.#insert.run({ ...columns(record), created_at: record.created_at }).changes === 1;
  }

  /** Record and log change together. Null where nothing was replaced. */
  replace(version: number, record: TokenRecord): LogPosition | null {
    return transact(this.#database, () => {
      if (this.#update.run({ ...columns(record), version }).changes !== 1) return null;
      return this.#log.append(record.id, record.revoked_at === null ? 'changed' : 'revoked');
    });
  }

  /** A revoked record is left alone: were it removed, its id could come back valid. */
  withdraw(id: string): LogPosition | null {
    return transact(this.#database, () => {
      const removed = this.#database.prepare('DELETE FROM token WHERE id = ? AND revoked_at IS NULL').run(id).changes;
      if (removed === 0) return null;
      this.#database.prepare('DELETE FROM token_usage WHERE id = ?').run(id);
      this.#database.prepare('DELETE FROM generation_usage WHERE id = ?').run(id);
      return this.#log.append(id, 'revoked');
    });
  }

  list(filter: TokenFilter, page: { limit: number; cursor: string | null; now: number }): TokenPage {
    const limit = Math.min(Math.max(1, page.limit), LIMITS.pageSize);
    const after = page.cursor === null ? null : decodeCursor(CURSOR_KIND, page.cursor);
    const { where, parameters } = conditions(filter, after, page.now);
    const rows = this.#database
      .prepare(`${SELECT_STORED} ${where} ORDER BY created_at DESC, token.id DESC LIMIT :limit`)
      .all({ ...parameters, limit: limit + 1 });
    const shown = rows.slice(0, limit);
    const last = rows.length > limit ? shown.at(-1) : undefined;
    return {
      tokens: shown.map((row) => this.#stored(row)),
      cursor:
        last === undefined
          ? null
          : encodeCursor(CURSOR_KIND, { createdAt: integer(last, 'created_at'), id: text(last, 'id') }),
    };
  }

  count(now: number, withinMs: readonly number[]): TokenCounts {
    const tally = new TokenTally(now, withinMs);
    for (const status of TOKEN_STATUSES) {
      const condition = STATUS_SQL[status];
      const rows = this.#database
        .prepare(`SELECT class, count(*) AS n FROM token WHERE ${condition} GROUP BY class`)
        .all(condition.includes(':now') ? { now } : {});
      for (const row of rows) tally.addStatus(text(row, 'class'), status, integer(row, 'n'));
    }
    const ending = this.#database.prepare(
      `SELECT class, count(*) AS n FROM token
       WHERE revoked_at IS NULL AND expires_at > :now AND expires_at <= :end GROUP BY class`,
    );
    withinMs.forEach((within, index) => {
      for (const row of ending.all({ now, end: now + within })) {
        tally.addExpiring(text(row, 'class'), index, integer(row, 'n'));
      }
    });
    return tally.counts(false);
  }

  #stored(row: Row): StoredToken {
    const id = text(row, 'id');
    const record = decodeRecord(id, row['record']);
    const uses = record.superseded.length === 0 ? [] : this.#usage.generationUses(id);
    const stored = { record: withGenerationUses(record, uses), ...newestUse(record, uses) };
    return { ...stored, usage: usageOf(row), version: integer(row, 'version') };
  }
}

function usageOf(row: Row): TokenUsage {
  if (row['use_count'] === null) return { last_used_at: null, last_used_ip: null, use_count: 0 };
  return {
    last_used_at: integer(row, 'last_used_at'),
    last_used_ip: text(row, 'last_used_ip'),
    use_count: integer(row, 'use_count'),
  };
}

function columns(record: TokenRecord): Record<string, SQLInputValue> {
  const { id, owner, subject, expires_at, grace_until, revoked_at } = record;
  return { id, record: encodeRecord(record), owner, class: record.class, subject, expires_at, grace_until, revoked_at };
}

function conditions(
  filter: TokenFilter,
  after: ListPosition | null,
  now: number,
): { where: string; parameters: Record<string, SQLInputValue> } {
  const terms: string[] = [];
  const parameters: Record<string, SQLInputValue> = {};
  const add = (term: string, values: Record<string, SQLInputValue>): void => {
    terms.push(`(${term})`);
    Object.assign(parameters, values);
  };
  if (filter.owner !== undefined) add('owner = :owner', { owner: filter.owner });
  if (filter.class !== undefined) add('class = :class', { class: filter.class });
  if (filter.subject !== undefined) add('subject = :subject', { subject: filter.subject });
  if (filter.expiresBefore !== undefined) add('expires_at < :expires_before', { expires_before: filter.expiresBefore });
  if (filter.status !== undefined) add(STATUS_SQL[filter.status], filter.status === 'revoked' ? {} : { now });
  if (after !== null)
    add('(created_at, token.id) < (:after_at, :after_id)', { after_at: after.createdAt, after_id: after.id });
  return { where: terms.length === 0 ? '' : `WHERE ${terms.join(' AND ')}`, parameters };
}
