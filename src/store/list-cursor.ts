import { crc32Base62 } from '../base/encoding.ts';
import { InvalidCursor } from './token-store.ts';

/** A place in a list that runs from the newest token to the oldest: just after the token with these two. */
export interface ListPosition {
  readonly createdAt: number;
  readonly id: string;
}

/** Base62 digits of a CRC-32. */
const CHECKSUM_LENGTH = 6;

/** The cursor's text. `store` marks who made it: another kind of store refuses it. */
export function encodeCursor(store: string, position: ListPosition): string {
  const body = JSON.stringify([store, position.createdAt, position.id]);
  return Buffer.from(crc32Base62(body) + body).toString('base64url');
}

/** Throws InvalidCursor for anything but what `encodeCursor` gave out for the same kind of store. */
export function decodeCursor(store: string, cursor: string): ListPosition {
  let parts: unknown;
  try {
    parts = JSON.parse(Buffer.from(cursor, 'base64url').toString().slice(CHECKSUM_LENGTH));
  } catch {
    throw new InvalidCursor();
  }
  if (!Array.isArray(parts)) throw new InvalidCursor();
  const [, createdAt, id]: unknown[] = parts;
  if (typeof createdAt !== 'number' || !Number.isSafeInteger(createdAt) || typeof id !== 'string') {
    throw new InvalidCursor();
  }
  // Made again it has to be the same text: the kind of store, the checksum and the encoding are right then.
  const position = { createdAt, id };
  if (encodeCursor(store, position) !== cursor) throw new InvalidCursor();
  return position;
}
