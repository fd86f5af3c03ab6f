import { Fault } from '../../model/fault.ts';
import { decodeRecord, type GenerationUse, newestUse, withGenerationUses } from '../stored-record.ts';
import type { StoredToken } from '../token-store.ts';

/** The fields of a token's key, as HGETALL gives them. */
export type TokenHash = Readonly<Record<string, string>>;

/** What HGETALL gives for a key that is not there. */
export function isMissing(hash: TokenHash): boolean {
  return Object.keys(hash).length === 0;
}

/** Throws Fault `internal` where the key is there but does not hold a token. */
export function storedToken(id: string, hash: TokenHash): StoredToken {
  const record = decodeRecord(id, hash['record']);
  const at = hash['used_at'];
  const uses = generationUses(id, hash);
  return {
    record: withGenerationUses(record, uses),
    ...newestUse(record, uses),
    usage: {
      last_used_at: at === undefined ? null : integer(id, at),
      last_used_ip: hash['used_ip'] ?? null,
      use_count: integer(id, hash['uses'] ?? '0'),
    },
    version: integer(id, hash['version']),
  };
}

function generationUses(id: string, hash: TokenHash): GenerationUse[] {
  return Object.entries(hash)
    .filter(([field]) => field.startsWith('at:'))
    .map(([field, at]) => {
      const generation = field.slice('at:'.length);
      return { generation: integer(id, generation), at: integer(id, at), ip: hash[`ip:${generation}`] ?? null };
    });
}

function integer(id: string, text: string | undefined): number {
  const value = text === undefined || text === '' ? Number.NaN : Number(text);
  if (Number.isSafeInteger(value)) return value;
  throw new Fault('internal', `token ${id}: the stored record is damaged`);
}
