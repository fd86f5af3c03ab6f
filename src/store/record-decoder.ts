import type { TokenRecord } from '../model/token-record.ts';
import { RecentEntries } from './recent-entries.ts';
import { decodeRecord } from './stored-record.ts';

/** Texts that are remembered; a record with its text takes about 2 KiB. */
const REMEMBERED = 4096;

/**
 * Decodes the texts that point reads bring, and remembers the last one of each id with its record: parsing costs as
 * much as the read itself. The store is read every time and the whole text compared, so nothing stale can come out.
 */
export class RecordDecoder {
  readonly #decoded = new RecentEntries<{ readonly text: string; readonly record: TokenRecord }>(REMEMBERED);

  /** Throws Fault `internal` for a damaged text, as `decodeRecord` does. */
  decode(id: string, text: unknown): TokenRecord {
    const known = this.#decoded.get(id);
    if (known !== undefined && known.text === text) return known.record;
    const record = decodeRecord(id, text);
    if (typeof text === 'string') this.#decoded.set(id, { text, record });
    return record;
  }
}
