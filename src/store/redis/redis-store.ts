import { randomBytes } from 'node:crypto';
import { Fault } from '../../model/fault.ts';
import type { RevocationMark } from '../../model/revocation-mark.ts';
import type { TokenRecord } from '../../model/token-record.ts';
import { Availability } from '../availability.ts';
import type { ChangeKind, LogListener, LogPosition, Muster, Renewal, ReplicaReport } from '../change-log.ts';
import { answerEnds, claimEnds } from '../idempotency-hold.ts';
import type { PutMark } from '../mark-store.ts';
import { OwnChanges } from '../own-changes.ts';
import type { RateCount } from '../rate-counter.ts';
import { SHARED_KEY_BYTES } from '../shared-keys.ts';
import type {
  AuditCheckpoint,
  RememberedAnswer,
  Store,
  StoredToken,
  StoreListener,
  StoreObserver,
  TokenCounts,
  TokenFilter,
  TokenPage,
  TokenUse,
} from '../token-store.ts';
import { ChangeKeys } from './change-keys.ts';
import { createClient } from './client.ts';
import type { RedisStoreConnection } from './connection-options.ts';
import { Keys } from './keys.ts';
import { expectLateErrors } from './late-errors.ts';
import { MarkKeys } from './mark-keys.ts';
import { News } from './news.ts';
import { RedisRateCounts } from './rate-counts.ts';
import { RedisLink } from './redis-link.ts';
import { ReplicatedChanges, type ReplicaWait } from './replicated-changes.ts';
import { TokenKeys } from './token-keys.ts';

export type { RedisStoreConnection, RedisTls } from './connection-options.ts';

export interface RedisStoreOptions {
  readonly connection: RedisStoreConnection;
  /** Begins the name of every key. */
  readonly keyPrefix: string;
  readonly observe?: StoreObserver;
  readonly listen?: StoreListener;
  /** Called for what the Redis user lacks the permission to do, once for each thing. */
  readonly complain?: (message: string) => void;
  /** Longest wait for one answer of Redis, milliseconds; 1000 when it is left out. */
  readonly commandTimeoutMs?: number;
  /** Replicas that have to hold a change of a record before it counts; without it the primary alone decides. */
  readonly wait?: ReplicaWait;
}

/**
 * Opens the store in Redis 6 or newer. It opens also while Redis cannot be reached: operations then fail with
 * `store_unavailable`, and work once Redis is back. Throws a Fault only for options that can never work.
 */
export async function openRedisStore(options: RedisStoreOptions): Promise<Store> {
  const timeoutMs = options.commandTimeoutMs ?? 1000;
  const keys = new Keys(options.keyPrefix);
  const availability = new Availability(options.listen);
  const made = createClient(options.connection, timeoutMs);
  const link = new RedisLink(made, timeoutMs, availability, options.complain);
  const changes = options.wait === undefined ? null : openChanges(options, timeoutMs, options.wait);
  const channels = { appended: keys.appended(), reported: keys.reported() };
  const news = new News(() => createClient(options.connection, timeoutMs).client, channels);
  expectLateErrors();
  await Promise.all([link.start(), changes?.link.start()]);
  const together = options.connection.kind !== 'cluster';
  const rates = new RedisRateCounts(link, made.client, keys);
  return new RedisStore({ link, keys, rates, changes, news, together, observe: options.observe });
}

interface Changes {
  readonly link: RedisLink;
  readonly replicated: ReplicatedChanges;
}

/** Whether the store is lost or back is for the connection of the reads to say. */
function openChanges({ connection, complain }: RedisStoreOptions, timeoutMs: number, wait: ReplicaWait): Changes {
  const patience = timeoutMs + wait.timeoutMs;
  const link = new RedisLink(createClient(connection, patience), patience, new Availability(undefined), complain);
  return { link, replicated: new ReplicatedChanges(link, wait) };
}

interface RedisStoreParts {
  readonly link: RedisLink;
  readonly keys: Keys;
  readonly rates: RedisRateCounts;
  readonly changes: Changes | null;
  readonly news: News;
  /** Record and log are on one server. */
  readonly together: boolean;
  readonly observe: StoreObserver | undefined;
}

class RedisStore implements Store {
  readonly kind = 'redis';
  readonly #link: RedisLink;
  readonly #keys: Keys;
  readonly #rates: RedisRateCounts;
  readonly #tokens: TokenKeys;
  readonly #changes: Changes | null;
  readonly #log: ChangeKeys;
  readonly #marks: MarkKeys;
  readonly #news: News;
  readonly #together: boolean;
  readonly #own = new OwnChanges();
  readonly #observe: StoreObserver | undefined;

  constructor({ link, keys, rates, changes, news, together, observe }: RedisStoreParts) {
    this.#link = link;
    this.#keys = keys;
    this.#rates = rates;
    this.#changes = changes;
    this.#tokens = new TokenKeys(link, keys, changes?.replicated ?? null);
    this.#log = new ChangeKeys(link, keys);
    this.#marks = new MarkKeys(link, keys, this.#log, changes?.replicated ?? null);
    this.#news = news;
    this.#together = together;
    this.#observe = observe;
  }

  find(id: string): Promise<TokenRecord | null> {
    return this.#timed('find', () => this.#tokens.find(id));
  }

  load(id: string): Promise<StoredToken | null> {
    return this.#timed('load', () => this.#tokens.load(id));
  }

  list(filter: TokenFilter, page: { limit: number; cursor: string | null; now: number }): Promise<TokenPage> {
    return this.#timed('list', () => this.#tokens.list(filter, page));
  }

  create(record: TokenRecord): Promise<boolean> {
    return this.#timed('create', () => this.#tokens.create(record));
  }

  replace(version: number, record: TokenRecord): Promise<boolean> {
    return this.#timed('replace', async () => {
      const kind = record.revoked_at === null ? 'changed' : 'revoked';
      if (this.#together) {
        const position = await this.#tokens.replaceAndAppend(version, record, this.#log.appending(record.id, kind));
        if (position !== null) this.#own.note(record.id, position);
        return position !== null;
      }
      // In a cluster they are on different servers. The record goes first: whoever reads it after the entry finds it.
      if (!(await this.#tokens.replace(version, record))) return false;
      await this.#append(record.id, kind);
      return true;
    });
  }

  withdraw(id: string): Promise<void> {
    return this.#timed('withdraw', async () => {
      await this.#tokens.withdraw(id);
      await this.#append(id, 'revoked');
    });
  }

  putMark(mark: RevocationMark, most: number): Promise<PutMark | null> {
    return this.#timed('put_mark', async () => {
      const put = await this.#marks.put(mark, most);
      if (put === null) return null;
      if (put.position !== null) this.#own.note(mark.id, put.position);
      return { mark: put.mark, repeated: put.repeated };
    });
  }

  findMarks(ids: readonly string[]): Promise<readonly RevocationMark[]> {
    return this.#timed('find_marks', () => this.#marks.find(ids));
  }

  allMarks(): Promise<readonly RevocationMark[]> {
    return this.#timed('all_marks', () => this.#marks.all());
  }

  recordUses(uses: readonly TokenUse[]): Promise<void> {
    return this.#timed('record_uses', () => this.#tokens.recordUses(uses));
  }

  count(now: number, withinMs: readonly number[]): Promise<TokenCounts> {
    return this.#timed('count', () => this.#tokens.count(now, withinMs));
  }

  saveCheckpoint({ chain, seq, hash, time }: AuditCheckpoint): Promise<void> {
    return this.#timed('save_checkpoint', async () => {
      await this.#link.run((redis) => redis.saveAuditCheckpoint(this.#keys.checkpoint(chain), seq, hash, time));
    });
  }

  lastCheckpoint(chain: string): Promise<AuditCheckpoint | null> {
    return this.#timed('last_checkpoint', async () => {
      const fields = await this.#link.run((redis) => redis.hmget(this.#keys.checkpoint(chain), 'seq', 'hash', 'time'));
      const [seq, hash, time] = fields;
      if (typeof seq !== 'string' || typeof hash !== 'string' || typeof time !== 'string') return null;
      return { chain, seq: Number(seq), hash, time: Number(time) };
    });
  }

  claim(key: string, fingerprint: string, now: number): Promise<RememberedAnswer | null> {
    return this.#timed('claim', async () => {
      const name = this.#keys.answer(key);
      const [known, value] = await this.#link.run((redis) => redis.claimAnswer(name, now, claimEnds(now), fingerprint));
      return known === undefined || known === null ? null : { fingerprint: known, value: value ?? null };
    });
  }

  remember(key: string, fingerprint: string, value: string, now: number): Promise<void> {
    return this.#timed('remember', async () => {
      const name = this.#keys.answer(key);
      await this.#link.run((redis) => redis.rememberAnswer(name, now, answerEnds(now), fingerprint, value));
    });
  }

  release(key: string): Promise<void> {
    return this.#timed('release', async () => {
      await this.#link.run((redis) => redis.releaseAnswer(this.#keys.answer(key)));
    });
  }

  announce(id: string, kind: ChangeKind): Promise<LogPosition> {
    const own = this.#own.take(id);
    return own === null ? this.#timed('announce', () => this.#log.append(id, kind)) : Promise.resolve(own);
  }

  renew(replica: string, report: ReplicaReport): Promise<Renewal> {
    return this.#timed('renew', () => this.#log.renew(replica, report));
  }

  muster(positions: readonly LogPosition[]): Promise<Muster> {
    return this.#timed('muster', () => this.#log.muster(positions));
  }

  forget(replica: string, renewals: number): Promise<boolean> {
    return this.#timed('forget', () => this.#log.forget(replica, renewals));
  }

  leave(replica: string): Promise<void> {
    return this.#timed('leave', () => this.#log.leave(replica));
  }

  listen(listener: LogListener): () => Promise<void> {
    return this.#news.listen(listener);
  }

  countRate(key: string, add: number, perMs: number): Promise<RateCount> {
    return this.#timed('count_rate', () => this.#rates.count(key, add, perMs));
  }

  rememberProof(key: string, keepMs: number): Promise<boolean> {
    return this.#timed('remember_proof', async () => {
      const name = this.#keys.proof(key);
      return (await this.#link.run((redis) => redis.set(name, '1', 'PX', keepMs, 'NX'))) === 'OK';
    });
  }

  sharedKey(name: string): Promise<Buffer> {
    return this.#timed('shared_key', async () => {
      const candidate = randomBytes(SHARED_KEY_BYTES).toString('hex');
      const kept = await this.#link.run((redis) => redis.keepSharedKey(this.#keys.shared(name), candidate));
      const key = Buffer.from(kept, 'hex');
      if (key.length !== SHARED_KEY_BYTES) throw new Fault('internal', `the key ${name} in the store is damaged`);
      return key;
    });
  }

  get countsRates(): boolean {
    return this.#rates.reachable;
  }

  ping(): Promise<void> {
    return this.#timed('ping', async () => {
      // Not PING: Redis refuses that one alone of all reads while it cannot save, and a cluster answers it from any node.
      await this.#link.run((redis) => redis.zcard(this.#keys.index()));
    });
  }

  async close(): Promise<void> {
    this.#news.close();
    await Promise.all([this.#link.close(), this.#changes?.link.close()]);
  }

  /** The record is written: whoever remembers another one has to hear of it. */
  async #append(id: string, kind: ChangeKind): Promise<void> {
    this.#own.note(id, await this.#log.append(id, kind));
  }

  async #timed<T>(operation: string, work: () => Promise<T>): Promise<T> {
    const started = performance.now();
    try {
      return await work();
    } finally {
      this.#observe?.(operation, (performance.now() - started) / 1000);
    }
  }
}
