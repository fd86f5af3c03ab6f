import { Fault, type FaultCode } from '../../model/fault.ts';
import { InvalidCursor } from '../token-store.ts';

interface Meaning {
  readonly code: FaultCode;
  readonly message: string;
}

/** SQLite's primary result codes (sqlite.org/rescode.html) that say something about the world outside. */
const MEANINGS: Readonly<Record<number, Meaning>> = {
  3: { code: 'store_unavailable', message: 'permission denied' },
  5: { code: 'store_unavailable', message: 'locked by another process for too long' },
  6: { code: 'store_unavailable', message: 'locked by another connection for too long' },
  8: { code: 'store_unavailable', message: 'the file or its folder is read-only' },
  10: { code: 'store_unavailable', message: 'reading or writing the disk failed' },
  11: { code: 'internal', message: 'the file is damaged' },
  13: { code: 'store_full', message: 'the disk is full' },
  14: { code: 'store_unavailable', message: 'the file cannot be opened' },
  26: { code: 'internal', message: 'the file is not an SQLite database' },
};

export const SQLITE_BUSY = 5;

/** The primary result code of an error that node:sqlite threw, or null for another error. */
export function sqliteCode(error: unknown): number | null {
  if (!(error instanceof Error) || !('errcode' in error) || typeof error.errcode !== 'number') return null;
  return error.errcode & 0xff;
}

/** Whatever was thrown as the fault that the store's contract promises. */
export function sqliteFault(error: unknown, file: string): Fault | InvalidCursor {
  if (error instanceof Fault || error instanceof InvalidCursor) return error;
  if (error instanceof Error && 'code' in error && error.code === 'ERR_INVALID_STATE') {
    return new Fault('store_unavailable', `${file}: the store is closed`, { cause: error });
  }
  const code = sqliteCode(error);
  const meaning = code === null ? undefined : MEANINGS[code];
  const text = error instanceof Error ? error.message : String(error);
  return new Fault(
    meaning?.code ?? 'internal',
    `${file}: ${meaning === undefined ? '' : `${meaning.message}: `}${text}`,
    {
      cause: error,
    },
  );
}
