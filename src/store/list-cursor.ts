import { crc32Base62 } from '../base/encoding.ts';
import { InvalidCursor } from './token-store.ts';

/** A place in a list that runs from the newest token to the oldest: just after the token with these two. */
export interface ListPosition {
  readonly createdAt: number;
  readonly id: string;
}

/** The cursor's text. `store` marks who made it: another kind of store refuses it. */
export function encodeCursor(store: string, position: ListPosition): string {
  const body = JSON.stringify([store, position.createdAt, position.id]);
  return Buffer.from(crc32Base62(body) + body).toString('base64url');
}

/** Throws InvalidCursor for anything but what `encodeCursor` gave out for the same kind of store. */
export function decodeCursor(store: string, cursor: string): ListPosition {
  const text = Buffer.from(cursor, 'base64url').toString();
  const body = text.slice(6);
  if (text.slice(0, 6) !== crc32Base62(body)) throw new InvalidCursor();
  let parts: unknown;
  try {
    parts = JSON.parse(body);
  } catch {
    throw new InvalidCursor();
  }
  if (!Array.isArray(parts)) throw new InvalidCursor();
  const [kind, createdAt, id]: unknown[] = parts;
  if (kind !== store || !Number.isSafeInteger(createdAt) || typeof createdAt !== 'number' || typeof id !== 'string') {
    throw new InvalidCursor();
  }
  const position = { createdAt, id };
  if (encodeCursor(store, position) !== cursor) throw new InvalidCursor();
  return position;
}
