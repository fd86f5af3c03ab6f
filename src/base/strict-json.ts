import { err, ok, type Result } from './result.ts';

export type JsonValue =
  | string
  | number
  | boolean
  | null
  | readonly JsonValue[]
  | { readonly [member: string]: JsonValue };
export type JsonObject = { readonly [member: string]: JsonValue };

/** A byte order mark is kept, so that it is no JSON (RFC 8259 §8.1). */
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Levels of arrays and objects: far more than any header, claim or key has. */
const DEEPEST = 16;

/**
 * JSON (RFC 8259) as far as it has one reading: no member stands twice in an object (I-JSON, RFC 7493 §2.3), no number is
 * beyond what a double holds, no text has half a surrogate pair, nothing is nested deeper than 16 levels. The error is a
 * phrase for people that repeats nothing of the text.
 */
export function parseStrictJson(bytes: Uint8Array): Result<JsonValue, string> {
  let value: JsonValue;
  let text: string;
  try {
    text = UTF8.decode(bytes);
    value = JSON.parse(text);
  } catch {
    return err('not JSON');
  }
  if (tooDeep(text)) return err('nested too deeply');
  if (hasRepeatedMember(text)) return err('a member stands twice');
  return hasOneReading(value) ? ok(value) : err('a number or a text in it has no value');
}

export function isJsonObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The member of that name; never one of the prototype. */
export function memberOf(object: JsonObject, name: string): JsonValue | undefined {
  return Object.hasOwn(object, name) ? object[name] : undefined;
}

/** For texts that are JSON: in others a string without an end would be looked for again and again. */
const STRUCTURE = /"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\]]/gs;

function tooDeep(text: string): boolean {
  let depth = 0;
  for (const [part] of text.matchAll(STRUCTURE)) {
    if (part === '{' || part === '[') depth += 1;
    else if (part === '}' || part === ']') depth -= 1;
    if (depth > DEEPEST) return true;
  }
  return false;
}

const TOKENS = /"[^"\\]*(?:\\.[^"\\]*)*"(\s*:)?|[{}]/gs;

/** Of a text that is JSON: a string before a colon is the name of a member, whatever its escapes. */
function hasRepeatedMember(text: string): boolean {
  const open: Set<string>[] = [];
  for (const [part, colon] of text.matchAll(TOKENS)) {
    if (part === '{') open.push(new Set());
    else if (part === '}') open.pop();
    else if (colon !== undefined) {
      const name: string = JSON.parse(part.slice(0, -colon.length));
      const names = open.at(-1);
      if (names === undefined || names.has(name)) return true;
      names.add(name);
    }
  }
  return false;
}

function hasOneReading(value: JsonValue): boolean {
  if (typeof value === 'number') return Number.isFinite(value);
  if (typeof value === 'string') return value.isWellFormed();
  if (Array.isArray(value)) return value.every(hasOneReading);
  if (!isJsonObject(value)) return true;
  return Object.entries(value).every(([name, member]) => name.isWellFormed() && hasOneReading(member));
}
