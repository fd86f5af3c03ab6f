import { maskTokens, SHORTEST_MASKED } from '../base/token-mask.ts';
import type { AuditDetail } from '../model/audit-event.ts';

/** What is nested deeper is not written this way. */
const MAX_DEPTH = 16;

/** Objects within details that come again with many events, such as what a token may do, and their texts. */
export type PrintedObjects = WeakMap<object, string>;

/** In canonical JSON (RFC 8785); null where only the long way is sure to be right. */
export function usualObject(value: AuditDetail & object, printed: PrintedObjects): string | null {
  const known = printed.get(value);
  if (known !== undefined) return known;
  if (!isInOrder(value, 0)) return null;
  const text = maskTokens(JSON.stringify(value));
  // A lone surrogate has no canonical form.
  if (text.includes('\\ud')) return null;
  printed.set(value, text);
  return text;
}

/** The text in JSON, with every token in it masked. */
export function masked(value: string): string {
  return quoted(value.length < SHORTEST_MASKED ? value : maskTokens(value));
}

/** What stands in JSON in another form than its own, or may do so. */
const NOT_PLAIN = /[^\x20\x21\x23-\x5b\x5d-\x7e]/;

/** As RFC 8785 §3.2.2.2 prints a string, whatever is in it. */
export function quoted(value: string): string {
  return NOT_PLAIN.test(value) ? JSON.stringify(value.toWellFormed()) : `"${value}"`;
}

export function number(value: number): string {
  return Number.isFinite(value) ? String(value) : 'null';
}

/**
 * Whether JSON.stringify would print this in canonical form: members in the order of their names, numbers finite. Most
 * details are made that way, and looking costs a tenth of sorting them.
 */
function isInOrder(value: AuditDetail | undefined, depth: number): boolean {
  if (typeof value === 'number') return Number.isFinite(value);
  if (typeof value !== 'object' || value === null) return true;
  if (depth > MAX_DEPTH) return false;
  if (isList(value)) return value.every((item) => isInOrder(item, depth + 1));
  let last = '';
  // Integer-like names come first, in the order of their numbers; where that is not the order of their texts, it shows here.
  for (const name of Object.keys(value)) {
    if (name < last || !isInOrder(value[name], depth + 1)) return false;
    last = name;
  }
  return true;
}

function isList(value: AuditDetail): value is readonly AuditDetail[] {
  return Array.isArray(value);
}
