import { canonicalTarget } from './canonical-path.ts';
import { isHost } from './request-head.ts';

/** What a client addressed, for comparison: nothing that a URI may be written in two ways is left in it. */
export interface RequestUri {
  readonly scheme: string;
  /** Lower case, without a default port. */
  readonly authority: string;
  /** Canonical, see `canonicalTarget`. */
  readonly path: string;
}

const URI = /^(https?):\/\/([^/?#]+)([^?#]*)/i;

/**
 * Whether a text names this URI, its query and fragment aside, after syntax- and scheme-based normalisation (RFC 9449 §4.3,
 * step 9; RFC 3986 §6.2.2, §6.2.3). Paths are compared as the policy sees them.
 */
export function namesUri(text: string, uri: RequestUri): boolean {
  const [, scheme = '', authority = '', path = ''] = URI.exec(text) ?? [];
  if (scheme.toLowerCase() !== uri.scheme || !isHost(authority)) return false;
  if (normaliseAuthority(authority, uri.scheme) !== uri.authority) return false;
  const target = canonicalTarget(path === '' ? '/' : path);
  return target.ok && target.path === uri.path;
}

/** RFC 3986 §6.2.3: an empty port, and the scheme's own, say nothing. */
export function normaliseAuthority(authority: string, scheme: string): string {
  const lower = authority.toLowerCase();
  return lower.replace(scheme === 'https' ? /:(?:443)?$/ : /:(?:80)?$/, '');
}
