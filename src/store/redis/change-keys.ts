import { randomInt } from 'node:crypto';
import {
  type ChangeKind,
  decodeClosed,
  encodeClosed,
  LOG_ENTRIES,
  type LogEntry,
  type LogPosition,
  type Muster,
  RENEWAL_ENTRIES,
  type RegisteredReplica,
  type Renewal,
  type ReplicaReport,
} from '../change-log.ts';
import type { Keys } from './keys.ts';
import type { RedisLink } from './redis-link.ts';
import type { AppendArgs } from './scripts.ts';

const MAX_NONCE = 2 ** 47;

/** The log as a stream, and a hash of the replicas that follow it; both in one slot. */
export class ChangeKeys {
  readonly #link: RedisLink;
  readonly #keys: Keys;

  constructor(link: RedisLink, keys: Keys) {
    this.#link = link;
    this.#keys = keys;
  }

  append(id: string, kind: ChangeKind): Promise<LogPosition> {
    return this.#link.run((redis) => redis.appendChange(this.#keys.changes(), ...this.appending(id, kind)));
  }

  /** What a script that appends needs to be told. */
  appending(id: string, kind: ChangeKind): AppendArgs {
    return [randomInt(MAX_NONCE), kind, id, LOG_ENTRIES, this.#keys.appended()];
  }

  async renew(replica: string, { applied, ahead = [], closed }: ReplicaReport): Promise<Renewal> {
    const report = [applied ?? '', encodeClosed(closed)] as const;
    const [last, replicas, broken, entries, reached] = await this.#link.run((redis) =>
      redis.renewReplica(
        this.#keys.changes(),
        this.#keys.replicas(),
        replica,
        ...report,
        randomInt(MAX_NONCE),
        RENEWAL_ENTRIES + 1,
        this.#keys.reported(),
        ...ahead.flatMap(({ position, kind, id }) => [position, kind, id]),
      ),
    );
    return { last, replicas, broken: broken === 1, entries: entries.map(entryOf), reached: reached || null };
  }

  async muster(positions: readonly LogPosition[]): Promise<Muster> {
    const [missing, flat] = await this.#link.run((redis) =>
      redis.musterReplicas(this.#keys.changes(), this.#keys.replicas(), ...positions),
    );
    return { missing, replicas: replicasOf(flat) };
  }

  async forget(replica: string, renewals: number): Promise<boolean> {
    return (await this.#link.run((redis) => redis.forgetReplica(this.#keys.replicas(), replica, renewals))) === 1;
  }

  async leave(replica: string): Promise<void> {
    await this.#link.run((redis) => redis.forgetReplica(this.#keys.replicas(), replica, ''));
  }
}

function entryOf([position, fields]: readonly [string, readonly string[]]): LogEntry {
  return { position, kind: fields[1] === 'revoked' ? 'revoked' : 'changed', id: fields[3] ?? '' };
}

/** Fields are `n:<id>` renewals, `a:<id>` applied, `c:<id>` closed. */
function replicasOf(flat: readonly string[]): RegisteredReplica[] {
  const fields = new Map<string, string>();
  for (let i = 0; i + 1 < flat.length; i += 2) fields.set(flat[i] ?? '', flat[i + 1] ?? '');
  const ids = [...fields.keys()].filter((field) => field.startsWith('n:')).map((field) => field.slice(2));
  return ids.sort().map((id) => ({
    id,
    renewals: Number(fields.get(`n:${id}`)),
    applied: fields.get(`a:${id}`) || null,
    closed: decodeClosed(fields.get(`c:${id}`) ?? ''),
  }));
}
