import type { SQLOutputValue } from 'node:sqlite';
import { Fault } from '../../model/fault.ts';

export type Row = Record<string, SQLOutputValue>;

/** The tables are STRICT, so another type than the declared one means that the file was changed behind our back. */
export function integer(row: Row, column: string): number {
  const value = row[column];
  if (typeof value === 'number') return value;
  throw new Fault('internal', `the store's column ${column} does not hold a number`);
}

export function text(row: Row, column: string): string {
  const value = row[column];
  if (typeof value === 'string') return value;
  throw new Fault('internal', `the store's column ${column} does not hold a text`);
}
