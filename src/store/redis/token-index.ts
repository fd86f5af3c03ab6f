import { Fault } from '../../model/fault.ts';
import type { ListPosition } from '../list-cursor.ts';

/*
 * The index is a sorted set in which every score is 0, so that Redis orders it by the members' bytes:
 * `<created_at, 16 digits>:<id>:<when the entry was added>`. Backwards that is newest first, and any place in it can be
 * named by its text, so a page costs the same wherever it begins.
 */
export interface IndexEntry {
  readonly member: string;
  readonly position: ListPosition;
}

export function indexMember(position: ListPosition, addedAt: number): string {
  return `${prefixOf(position)}${addedAt}`;
}

/** The end of a range that runs backwards from just after `position`. */
export function rangeAfter(position: ListPosition | null): string {
  return position === null ? '+' : `(${prefixOf(position)}`;
}

export function parseMember(member: string): IndexEntry {
  const match = /^(\d{16}):(.+):\d+$/s.exec(member);
  if (match?.[1] === undefined || match[2] === undefined) {
    throw new Fault('internal', 'the list of tokens in Redis holds an entry that is not ours');
  }
  return { member, position: { createdAt: Number(match[1]), id: match[2] } };
}

function prefixOf({ createdAt, id }: ListPosition): string {
  return `${String(Math.max(0, createdAt)).padStart(16, '0')}:${id}:`;
}
