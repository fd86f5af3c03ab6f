import type { PatternSegment } from './path-pattern.ts';

const RESERVED = [['.portcullis'], ['.well-known', 'oauth-protected-resource']] as const;

/** Canonical paths that are the gateway's own on the traffic listener: no policy can hand them to an upstream. */
export function isReservedPath(path: string): boolean {
  return (
    path.charCodeAt(1) === 0x2e &&
    (path === '/.portcullis' ||
      path.startsWith('/.portcullis/') ||
      path === '/.well-known/oauth-protected-resource' ||
      path.startsWith('/.well-known/oauth-protected-resource/'))
  );
}

/** The reserved prefix below which everything lies that a pattern matches, or null. */
export function reservedPrefix(segments: readonly PatternSegment[]): string | null {
  const found = RESERVED.find((prefix) =>
    prefix.every((text, index) => {
      const segment = segments[index];
      return segment?.kind === 'literal' && segment.text === text;
    }),
  );
  return found === undefined ? null : `/${found.join('/')}`;
}
