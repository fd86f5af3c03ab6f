/**
 * How a back end that drops path parameters (RFC 3986 §3.3: everything from `;` to the end of a segment) would read a
 * canonical path: cut, then empty segments merged and dot segments resolved. Some decode first, so `%3B` counts as a
 * second reading. Null stands for a reading that leaves the root. Empty when the path reads only one way.
 */
export function parameterStrippedReadings(path: string): (string | null)[] {
  const raw = path.includes(';');
  const encoded = path.includes('%3');
  if (!raw && !encoded) return [];
  const readings: (string | null)[] = [];
  if (raw) readings.push(stripped(path, /;/));
  if (encoded && /%3b/i.test(path)) readings.push(stripped(path, /;|%3b/i));
  return readings.filter((reading) => reading !== path);
}

function stripped(path: string, cut: RegExp): string | null {
  const kept: string[] = [];
  for (const raw of path.split('/')) {
    const end = raw.search(cut);
    const segment = (end < 0 ? raw : raw.slice(0, end)).replace(/%2e/gi, '.');
    if (segment === '' || segment === '.') continue;
    if (segment !== '..') kept.push(segment);
    else if (kept.pop() === undefined) return null;
  }
  return `/${kept.join('/')}`;
}
