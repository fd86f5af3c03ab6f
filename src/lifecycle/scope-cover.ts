/**
 * Whether `held` (granted scopes) reach `wanted`, which may be a grant with a wildcard itself: `a:*` covers `a:b`,
 * `a:b:c`, `a:b:*` and `a:*`, never `a` or `ab:c`; `*` covers everything; any other scope covers itself.
 */
export function coversScope(held: readonly string[], wanted: string): boolean {
  return held.some(
    (scope) =>
      scope === wanted ||
      scope === '*' ||
      (scope.length > 2 &&
        scope.endsWith(':*') &&
        wanted.length >= scope.length &&
        wanted.startsWith(scope.slice(0, -1))),
  );
}

/**
 * Whether `text` can be granted: a scope-token (RFC 6749 §3.3) with an asterisk only as `:*` at its end, or `*`. The
 * same grammar as in roles and classes.
 */
export function isScope(text: string): boolean {
  if (text === '*') return true;
  const stem = text.endsWith(':*') ? text.slice(0, -2) : text;
  return /^[\x21\x23-\x29\x2B-\x5B\x5D-\x7E]+$/.test(stem);
}
