import type { RevocationMark } from '../../model/revocation-mark.ts';
import type { LogPosition } from '../change-log.ts';
import type { PutMark } from '../mark-store.ts';
import { decodeMark, encodeMark, mergeMarks } from '../revocation-marks.ts';
import type { ChangeKeys } from './change-keys.ts';
import type { Keys } from './keys.ts';
import type { RedisLink } from './redis-link.ts';
import type { ReplicatedChanges } from './replicated-changes.ts';

/** Sorts behind everything that ends. */
const NEVER = '9'.repeat(16);

/**
 * The revocations of tokens that others issued: one hash in the slot of the log, so that a mark and its entry are written
 * together, also in a cluster; and an index of when they end (`<time, 16 digits>:<id>`, every score 0).
 */
export class MarkKeys {
  readonly #link: RedisLink;
  readonly #keys: Keys;
  readonly #log: ChangeKeys;
  /** Null: a change counts when the primary has it. */
  readonly #replicated: ReplicatedChanges | null;

  constructor(link: RedisLink, keys: Keys, log: ChangeKeys, replicated: ReplicatedChanges | null) {
    this.#link = link;
    this.#keys = keys;
    this.#log = log;
    this.#replicated = replicated;
  }

  /** Null where there are too many. The position of its entry is null where nothing has changed. */
  async put(mark: RevocationMark, most: number): Promise<(PutMark & { readonly position: LogPosition | null }) | null> {
    // Seldom more than twice: a mark changes only when somebody revokes the same tokens at this very moment.
    for (let before = ''; ; ) {
      const stands = before === '' ? null : decodeMark(mark.id, before);
      const merged = mergeMarks(stands, mark);
      const [said, what] = await this.#replace(mark.id, before, merged, stands?.keepUntil ?? null, most);
      if (said === 'full') return null;
      if (said === 'put') {
        const repeated = stands !== null && merged.issuedBefore === stands.issuedBefore;
        return { mark: merged, repeated, position: what === '' ? null : what };
      }
      before = what;
    }
  }

  async find(ids: readonly string[]): Promise<RevocationMark[]> {
    if (ids.length === 0) return [];
    const texts = await this.#link.run((redis) => redis.hmget(this.#keys.marks(), ...ids));
    return texts.flatMap((text, index) => (text === null ? [] : [decodeMark(ids[index] ?? '', text)]));
  }

  async all(): Promise<RevocationMark[]> {
    const marks = await this.#link.run((redis) => redis.hgetall(this.#keys.marks()));
    return Object.entries(marks).map(([id, text]) => decodeMark(id, text));
  }

  async #replace(
    id: string,
    before: string,
    merged: RevocationMark,
    endedBefore: number | null,
    most: number,
  ): Promise<readonly [said: string, what: string]> {
    const keys = [this.#keys.marks(), this.#keys.markEnds(), this.#keys.changes()] as const;
    const ends = [endOf(endedBefore, id), endOf(merged.keepUntil, id)] as const;
    const args = [before, encodeMark(merged), ...ends, most, ...this.#log.appending(id, 'revoked')] as const;
    const replicated = this.#replicated;
    const reply: unknown =
      replicated === null
        ? await this.#link.run((redis) => redis.putMark(...keys, ...args))
        : await replicated.script('putMark', keys, args);
    const [said, what]: readonly unknown[] = Array.isArray(reply) ? reply : [];
    return [String(said), typeof what === 'string' ? what : ''];
  }
}

function endOf(keepUntil: number | null, id: string): string {
  return `${keepUntil === null ? NEVER : String(Math.max(0, keepUntil)).padStart(16, '0')}:${id}`;
}
