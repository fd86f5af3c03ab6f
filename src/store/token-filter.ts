import { statusAt, type TokenRecord } from '../model/token-record.ts';
import type { TokenFilter } from './token-store.ts';

export function matchesFilter(record: TokenRecord, filter: TokenFilter, now: number): boolean {
  return (
    (filter.owner === undefined || record.owner === filter.owner) &&
    (filter.class === undefined || record.class === filter.class) &&
    (filter.subject === undefined || record.subject === filter.subject) &&
    (filter.expiresBefore === undefined || record.expires_at < filter.expiresBefore) &&
    (filter.status === undefined || statusAt(record, now) === filter.status)
  );
}
