/**
 * Whether `held` (granted scopes) reach `wanted`, which may be a grant with a wildcard itself: `a:*` covers `a:b`,
 * `a:b:c`, `a:b:*` and `a:*`, never `a` or `ab:c`; `*` covers everything; any other scope covers itself.
 */
export function coversScope(held: readonly string[], wanted: string): boolean {
  return held.some(
    (scope) =>
      scope === wanted ||
      scope === '*' ||
      (scope.endsWith(':*') && wanted.startsWith(scope.slice(0, -1)) && scope !== ':*'),
  );
}

/** `orders:read`, `orders:*`, `*`: segments divided by colons, a wildcard only as the whole last one. */
export function isScope(text: string): boolean {
  if (text === '*') return true;
  const segments = text.split(':');
  if (segments.at(-1) === '*' && segments.length > 1) segments.pop();
  return segments.every((segment) => /^[A-Za-z0-9._/-]+$/.test(segment));
}
