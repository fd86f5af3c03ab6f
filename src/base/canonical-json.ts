/** Deeper nesting than this is refused: a cycle, or nothing that a person wrote. */
const MAX_DEPTH = 64;

/**
 * JSON in the one canonical form of RFC 8785: no white space, members sorted by the UTF-16 code units of their names,
 * numbers as ECMAScript prints them, strings with the shortest escapes.
 *
 * A member whose value is `undefined` is left out, as JSON.stringify does. Throws TypeError for what RFC 8785 cannot
 * express: a number that is not finite, a lone surrogate (§3.2.2.2), a bigint, symbol or function, nesting over 64.
 */
export function canonicalJson(value: unknown): string {
  return write(value, 0);
}

function write(value: unknown, depth: number): string {
  if (depth > MAX_DEPTH) throw new TypeError(`nested deeper than ${MAX_DEPTH}, or a cycle`);
  switch (typeof value) {
    case 'string':
      return writeString(value);
    case 'number':
      // Negative zero prints as 0, in ECMAScript as in RFC 8785.
      if (!Number.isFinite(value)) throw new TypeError(`${value} has no JSON form`);
      return String(value);
    case 'boolean':
      return value ? 'true' : 'false';
    case 'object':
      if (value === null) return 'null';
      return Array.isArray(value) ? writeArray(value, depth) : writeObject(value, depth);
    default:
      throw new TypeError(`a ${typeof value} has no JSON form`);
  }
}

function writeString(text: string): string {
  if (!text.isWellFormed()) throw new TypeError('a string holds a lone surrogate');
  return JSON.stringify(text);
}

function writeArray(list: readonly unknown[], depth: number): string {
  const items: string[] = [];
  for (const item of list) items.push(write(item, depth + 1));
  return `[${items.join(',')}]`;
}

function writeObject(object: object, depth: number): string {
  const members: string[] = [];
  // sort() without an argument compares UTF-16 code units, which is the order that RFC 8785 §3.2.3 asks for.
  for (const name of Object.keys(object).sort()) {
    const value: unknown = Reflect.get(object, name);
    if (value === undefined) continue;
    members.push(`${writeString(name)}:${write(value, depth + 1)}`);
  }
  return `{${members.join(',')}}`;
}
