import { LIMITS } from '../../base/limits.ts';
import type { TokenRecord } from '../../model/token-record.ts';
import type { LogPosition } from '../change-log.ts';
import { decodeCursor, encodeCursor, type ListPosition } from '../list-cursor.ts';
import { RecordDecoder } from '../record-decoder.ts';
import { encodeRecord } from '../stored-record.ts';
import { matchesFilter } from '../token-filter.ts';
import type { StoredToken, TokenCounts, TokenFilter, TokenPage, TokenUse } from '../token-store.ts';
import { TokenTally } from '../token-tally.ts';
import type { Keys } from './keys.ts';
import type { RedisCommands, RedisLink } from './redis-link.ts';
import type { ReplicatedChanges } from './replicated-changes.ts';
import type { AppendArgs, ReplaceArgs } from './scripts.ts';
import { isMissing, storedToken } from './token-hash.ts';
import { type IndexEntry, indexMember, parseMember, rangeAfter } from './token-index.ts';

/** Keys that are asked for at once: enough to fill a round trip, few enough for Redis to serve others in between. */
const BATCH = 200;

/** Entries that one page of a list looks at. A filter that matches less than a page in so many gives a short page. */
const LIST_BUDGET = 10_000;

/** Entries that one count looks at; beyond it the count says that it is truncated. */
const COUNT_BUDGET = 100_000;

/** How old an entry without a record has to be before it is swept, milliseconds: no create takes that long. */
const STRAY_AGE_MS = 24 * 3_600_000;

/** Marks cursors of this store. */
const CURSOR_KIND = 'r';

interface Scanned {
  readonly position: ListPosition;
  /** Null where the record is gone, or belongs to another entry. */
  readonly token: StoredToken | null;
}

/** The tokens: a hash each, and one index of them all. */
export class TokenKeys {
  readonly #link: RedisLink;
  readonly #keys: Keys;
  readonly #decoder = new RecordDecoder();
  /** Null: a change counts when the primary has it. */
  readonly #replicated: ReplicatedChanges | null;

  constructor(link: RedisLink, keys: Keys, replicated: ReplicatedChanges | null) {
    this.#link = link;
    this.#keys = keys;
    this.#replicated = replicated;
  }

  async find(id: string): Promise<TokenRecord | null> {
    // The version tells a record that lost its text from one that is not there.
    const [record, version] = await this.#link.run((redis) => redis.hmget(this.#keys.token(id), 'record', 'version'));
    if ((record ?? null) === null && (version ?? null) === null) return null;
    return this.#decoder.decode(id, record);
  }

  async load(id: string): Promise<StoredToken | null> {
    const hash = await this.#link.run((redis) => redis.hgetall(this.#keys.token(id)));
    if (isMissing(hash)) return null;
    const stored = storedToken(id, hash);
    // Whoever repeats a revocation is told that it stands, although the first call may have missed the replicas.
    if (stored.record.revoked_at !== null) await this.#replicated?.confirm(this.#keys.token(id));
    return stored;
  }

  /**
   * In a cluster the index and the record are on different servers, so no transaction holds them together. The entry
   * comes first: a crash in between leaves an entry without a record, which lists pass over and sweep a day later. The
   * other order could leave a token that works and that no list shows.
   */
  async create(record: TokenRecord): Promise<boolean> {
    const text = encodeRecord(record);
    const member = indexMember({ createdAt: record.created_at, id: record.id }, Date.now());
    const replicated = this.#replicated;
    return this.#link.run(async (redis) => {
      const key = this.#keys.token(record.id);
      const args = [text, revoked(record), record.expires_at, member] as const;
      if (replicated === null) await redis.zadd(this.#keys.index(), 0, member);
      else await replicated.addToIndex(this.#keys.index(), member);
      const [made, stands] =
        replicated === null
          ? await redis.createToken(key, ...args)
          : listOf(await replicated.script('createToken', [key], args));
      if (made !== 1 && stands !== member) await redis.zrem(this.#keys.index(), member);
      return made === 1;
    });
  }

  async replace(version: number, record: TokenRecord): Promise<boolean> {
    const key = this.#keys.token(record.id);
    const args = replacing(version, record);
    const replicated = this.#replicated;
    const replaced =
      replicated === null
        ? await this.#link.run((redis) => redis.replaceToken(key, ...args))
        : await replicated.script('replaceToken', [key], args);
    return replaced === 1;
  }

  /** Both or neither, in one round trip; not in a cluster. Null where nothing was replaced. */
  async replaceAndAppend(version: number, record: TokenRecord, appending: AppendArgs): Promise<LogPosition | null> {
    const keys = [this.#keys.token(record.id), this.#keys.changes()] as const;
    const args = [...replacing(version, record), ...appending] as const;
    const replicated = this.#replicated;
    const position =
      replicated === null
        ? await this.#link.run((redis) => redis.replaceAndAppend(...keys, ...args))
        : await replicated.script('replaceAndAppend', keys, args);
    return typeof position === 'string' && position !== '' ? position : null;
  }

  /** The record goes first, so that a crash in between cannot leave a token that works and that no list shows. */
  async withdraw(id: string): Promise<void> {
    await this.#link.run(async (redis) => {
      const member = await redis.withdrawToken(this.#keys.token(id));
      if (member !== '') await redis.zrem(this.#keys.index(), member);
    });
  }

  async recordUses(uses: readonly TokenUse[]): Promise<void> {
    await inBatches(uses, ({ id, at, ip, count, generation }) =>
      this.#link.run((redis) => redis.recordTokenUse(this.#keys.token(id), at, ip, count, generation)),
    );
  }

  async list(filter: TokenFilter, page: { limit: number; cursor: string | null; now: number }): Promise<TokenPage> {
    const limit = Math.min(Math.max(1, page.limit), LIMITS.pageSize);
    const after = page.cursor === null ? null : decodeCursor(CURSOR_KIND, page.cursor);
    const tokens: StoredToken[] = [];
    let shown: ListPosition | null = null;
    let reached: ListPosition | null = after;
    let scanned = 0;
    for await (const { position, token } of this.#scan(after, Math.min(BATCH, limit + 1))) {
      if (token !== null && matchesFilter(token.record, filter, page.now)) {
        if (tokens.length === limit)
          return { tokens, cursor: shown === null ? null : encodeCursor(CURSOR_KIND, shown) };
        tokens.push(token);
        shown = position;
      }
      reached = position;
      scanned += 1;
      if (scanned >= LIST_BUDGET) return { tokens, cursor: encodeCursor(CURSOR_KIND, reached) };
    }
    return { tokens, cursor: null };
  }

  async count(now: number, withinMs: readonly number[]): Promise<TokenCounts> {
    const tally = new TokenTally(now, withinMs);
    let scanned = 0;
    for await (const { token } of this.#scan(null, BATCH)) {
      if (scanned >= COUNT_BUDGET) return tally.counts(true);
      if (token !== null) tally.add(token.record);
      scanned += 1;
    }
    return tally.counts(false);
  }

  /** Newest first from just after `after`, `batch` entries a round trip. */
  async *#scan(after: ListPosition | null, batch: number): AsyncGenerator<Scanned> {
    let position = after;
    for (;;) {
      const entries = await this.#entries(position, batch);
      const found = await this.#link.run((redis) => Promise.all(entries.map((entry) => this.#tokenOf(redis, entry))));
      await this.#sweep(entries.filter((_, index) => found[index] === null));
      for (const [index, entry] of entries.entries()) {
        position = entry.position;
        yield { position, token: found[index] ?? null };
      }
      if (entries.length < batch) return;
    }
  }

  async #entries(after: ListPosition | null, batch: number): Promise<IndexEntry[]> {
    const members = await this.#link.run((redis) =>
      redis.zrevrangebylex(this.#keys.index(), rangeAfter(after), '-', 'LIMIT', 0, batch),
    );
    return members.map(parseMember);
  }

  async #tokenOf(redis: RedisCommands, { member, position }: IndexEntry): Promise<StoredToken | null> {
    const hash = await redis.hgetall(this.#keys.token(position.id));
    return isMissing(hash) || hash['index'] !== member ? null : storedToken(position.id, hash);
  }

  /** Takes old entries without a record out of the index: Redis has let the record go, or a create did not end. */
  async #sweep(strays: readonly IndexEntry[]): Promise<void> {
    if (strays.length === 0) return;
    const members = strays.map(({ member }) => member);
    try {
      await this.#link.run((redis) => redis.pruneTokenIndex(this.#keys.index(), STRAY_AGE_MS, ...members));
    } catch {
      // Housekeeping: where Redis takes no writes now, the next list sweeps.
    }
  }
}

function listOf(reply: unknown): readonly unknown[] {
  return Array.isArray(reply) ? reply : [];
}

function replacing(version: number, record: TokenRecord): ReplaceArgs {
  const oldest = Math.min(record.generation, ...record.superseded.map(({ generation }) => generation));
  return [version, encodeRecord(record), revoked(record), record.expires_at, oldest];
}

function revoked(record: TokenRecord): 0 | 1 {
  return record.revoked_at === null ? 0 : 1;
}

async function inBatches<T>(items: readonly T[], work: (item: T) => Promise<unknown>): Promise<void> {
  for (let start = 0; start < items.length; start += BATCH) {
    await Promise.all(items.slice(start, start + BATCH).map(work));
  }
}
