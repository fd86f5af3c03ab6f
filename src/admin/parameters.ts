/**
 * Reads `application/x-www-form-urlencoded` text (queries and form bodies) strictly: a parameter given more than once
 * becomes a list, so that no schema that wants a text takes one of its values for the whole (RFC 6749 §3.2).
 */
export function parseParameters(text: string): Record<string, string | string[]> {
  const found = new Map<string, string | string[]>();
  for (const [name, value] of new URLSearchParams(text)) {
    const earlier = found.get(name);
    found.set(name, earlier === undefined ? value : Array.isArray(earlier) ? [...earlier, value] : [earlier, value]);
  }
  return Object.fromEntries(found);
}
