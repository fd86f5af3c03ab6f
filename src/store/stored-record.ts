import { Fault } from '../model/fault.ts';
import type { SupersededGeneration, TokenRecord } from '../model/token-record.ts';

/** When and from where one generation of a token was last used. */
export interface GenerationUse {
  readonly generation: number;
  readonly at: number;
  readonly ip: string | null;
}

/** The stored text of a record. What could not be read back is refused here (Fault `internal`), not at the next request. */
export function encodeRecord(record: TokenRecord): string {
  const { id } = record;
  if (!isTokenRecord(record, id)) throw new Fault('internal', `token ${id}: the record is not well-formed`);
  return JSON.stringify(record);
}

/**
 * The record that `text` holds for `id`. The shape is checked at every read: a member that is missing (say
 * `expires_at`) must never read as "no bound". Throws Fault `internal` where it does not hold.
 */
export function decodeRecord(id: string, text: unknown): TokenRecord {
  const value = parse(text);
  if (isTokenRecord(value, id)) return value;
  throw new Fault('internal', `token ${id}: the stored record is damaged`);
}

/** `record` with the uses of its superseded generations as they were noted beside it. */
export function withGenerationUses(record: TokenRecord, uses: readonly GenerationUse[]): TokenRecord {
  if (record.superseded.length === 0 || uses.length === 0) return record;
  const superseded = record.superseded.map((entry): SupersededGeneration => {
    const use = uses.find((candidate) => candidate.generation === entry.generation);
    if (use === undefined || (entry.last_used_at !== null && entry.last_used_at > use.at)) return entry;
    return { ...entry, last_used_at: use.at, last_used_ip: use.ip };
  });
  return { ...record, superseded };
}

/** When the current generation of a rotated token was last used, as far as it has been written down; absent: never. */
export function newestUse(record: TokenRecord, uses: readonly GenerationUse[]): { readonly newestUsedAt?: number } {
  if (record.superseded.length === 0) return {};
  const use = uses.find(({ generation }) => generation === record.generation);
  return use === undefined ? {} : { newestUsedAt: use.at };
}

function parse(text: unknown): unknown {
  if (typeof text !== 'string') return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isTokenRecord(value: unknown, id: string): value is TokenRecord {
  if (!isObject(value)) return false;
  const record: Partial<Record<keyof TokenRecord, unknown>> = value;
  return (
    record.id === id &&
    isText(record.digest) &&
    isTime(record.expires_at) &&
    isTimeOrNull(record.not_before) &&
    isTimeOrNull(record.revoked_at) &&
    isTimeOrNull(record.grace_until) &&
    isTimeOrNull(record.rotated_at) &&
    isTimeOrNull(record.rotate_after) &&
    isTime(record.created_at) &&
    Number.isSafeInteger(record.generation) &&
    isText(record.environment) &&
    isText(record.class) &&
    isText(record.owner) &&
    isText(record.name) &&
    isText(record.created_by) &&
    isTextOrNull(record.subject) &&
    isTextOrNull(record.revoked_by) &&
    isTextOrNull(record.revoke_reason) &&
    isTexts(record.scopes) &&
    isTexts(record.roles) &&
    isTexts(record.ip) &&
    isObject(record.claims) &&
    !Array.isArray(record.claims) &&
    Array.isArray(record.superseded) &&
    record.superseded.every(isSuperseded) &&
    (record.announced === undefined || isTexts(record.announced)) &&
    (record.bound_to === undefined || isBinding(record.bound_to)) &&
    (record.rotated_with === undefined || Number.isSafeInteger(record.rotated_with)) &&
    (record.expired_by === undefined || record.expired_by === 'idle_expiry')
  );
}

function isSuperseded(value: unknown): boolean {
  if (!isObject(value)) return false;
  const entry: Partial<Record<keyof SupersededGeneration, unknown>> = value;
  return (
    Number.isSafeInteger(entry.generation) &&
    isText(entry.digest) &&
    isTime(entry.grace_until) &&
    isTimeOrNull(entry.last_used_at) &&
    isTextOrNull(entry.last_used_ip) &&
    (entry.retire === undefined || entry.retire === 'on_first_use')
  );
}

/** An empty one, or one of a kind that is not known here, must never read as "a bearer token". */
function isBinding(value: unknown): boolean {
  if (!isObject(value) || Array.isArray(value)) return false;
  const members = Object.entries(value);
  return members.length > 0 && members.every(([name, text]) => (name === 'jkt' || name === 'x5t#S256') && isText(text));
}

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null;
const isText = (value: unknown): boolean => typeof value === 'string';
const isTextOrNull = (value: unknown): boolean => value === null || typeof value === 'string';
const isTexts = (value: unknown): boolean => Array.isArray(value) && value.every(isText);
/** Whole milliseconds that a double and an SQLite INTEGER hold exactly. */
const isTime = (value: unknown): boolean => Number.isSafeInteger(value);
const isTimeOrNull = (value: unknown): boolean => value === null || Number.isSafeInteger(value);
