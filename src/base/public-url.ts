import { err, ok, type Result } from './result.ts';

const LOOPBACK: ReadonlySet<string> = new Set(['localhost', '127.0.0.1', '[::1]']);

/**
 * A URL that is told to clients and compared by them as text, so it has to stand there as it will be read: https (http on
 * loopback, for development), no credentials, query or fragment, and in the form that URL parsers leave alone.
 */
export function parsePublicUrl(text: string): Result<string, string> {
  const url = URL.parse(text);
  if (url === null) return err(`expected a URL such as https://api.example.com, got ${JSON.stringify(text)}`);
  if (url.username !== '' || url.password !== '') return err('a URL for clients must not hold credentials');
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && LOOPBACK.has(url.hostname))) {
    return err('a URL for clients begins with https:// (http:// on loopback only)');
  }
  if (text.includes('?') || text.includes('#')) return err('a URL for clients has no query and no fragment here');
  if (text !== url.href && `${text}/` !== url.href) {
    return err(`clients compare this as text, and read it otherwise; did you mean ${JSON.stringify(url.href)}?`);
  }
  return ok(text);
}

/** The identifier of a protected resource (RFC 9728 §1.2), on whose path its metadata are found. */
export function parseResourceIdentifier(text: string): Result<string, string> {
  const url = parsePublicUrl(text);
  if (!url.ok || /^\/$|^(?:\/[\w.~-]+)+\/?$/.test(new URL(text).pathname)) return url;
  return err(`${JSON.stringify(text)}: the path of an identifier holds letters, digits, ".", "_", "~" and "-" alone`);
}
