import { CommandFailure, EXIT } from '../command.ts';

/** What the commands about tokens say of an id, and how they print the members of a record. */

export const ID = 'the public id of the token (12 characters)';

/** A whole token in place of its id must not get into a URL, and so into somebody's log. */
export function tokenId(text: string): string {
  if (/^[0-9A-Za-z]{12}$/.test(text)) return text;
  throw new CommandFailure('expected the id of a token: 12 letters and digits', EXIT.usage);
}

/** The same, or the public id of a token that somebody else issued, as the audit trail shows it. */
export function revocableId(text: string): string {
  if (/^(?:jwt|ext):[A-Za-z0-9_-]{22}$/.test(text)) return text;
  return tokenId(text);
}

export function shown(value: unknown): string {
  if (value === null) return '-';
  if (Array.isArray(value) && value.every((item) => typeof item === 'string')) {
    return value.length === 0 ? '-' : value.join(', ');
  }
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}
