import { isIPv6 } from 'node:net';
import { LIMITS } from '../base/limits.ts';

export type CanonicalTarget =
  | {
      readonly ok: true;
      /** Canonical path: starts with `/`, valid RFC 3986 §3.3, and a fixed point of this function. */
      readonly path: string;
      /** The query as it came with its leading `?`, or the empty string: `path + query` is what is forwarded. */
      readonly query: string;
      /** `host` or `host:port` of an absolute-form target as it came, which overrides `Host` (RFC 9112 §3.2.2). */
      readonly authority: string | null;
    }
  | { readonly ok: false; readonly reason: 'path_ambiguous' | 'request_malformed' };

const AMBIGUOUS = { ok: false, reason: 'path_ambiguous' } as const satisfies CanonicalTarget;
const MALFORMED = { ok: false, reason: 'request_malformed' } as const satisfies CanonicalTarget;

const SLASH = 0x2f;
const DOT = 0x2e;
const PERCENT = 0x25;
const QUESTION = 0x3f;
const SEMICOLON = 0x3b;
const BACKSLASH = 0x5c;

/** What a character means in a path and in a query; one table, read by its code. */
const CONTROL = 0;
/** Stands for itself in a path and in a query (RFC 3986 §3.3 pchar). */
const PLAIN = 1;
/** Plain, and its percent-encoded form means the same (RFC 3986 §2.3 unreserved). */
const UNRESERVED = 2;
/** Not allowed raw by RFC 3986, but sent by browsers: percent-encoded. */
const ENCODE = 3;
/** Raw in a query as everybody sends it (`a[]=1`), encoded in a path. */
const BRACKET = 4;
/** Has its own branch: `/ ? % \`. */
const SPECIAL = 5;
/** Ends a request-target or begins a fragment, which no target has (RFC 9112 §3.2): refused. */
const FORBIDDEN = 6;
/** A byte of a UTF-8 sequence. */
const NON_ASCII = 7;

const KIND = characterKinds();

function characterKinds(): Uint8Array {
  const kinds = new Uint8Array(256).fill(CONTROL, 0, 0x80).fill(NON_ASCII, 0x80);
  const assign = (characters: string, kind: number): void => {
    for (const character of characters) kinds[character.charCodeAt(0)] = kind;
  };
  assign('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~', UNRESERVED);
  assign("!$&'()*+,;=:@", PLAIN);
  assign('"<>^`{|}', ENCODE);
  assign('[]', BRACKET);
  assign('/?%\\', SPECIAL);
  assign(' #', FORBIDDEN);
  return kinds;
}

/** `%00` … `%FF`. */
const ENCODED = Array.from({ length: 256 }, (_, byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`);

/**
 * The one reading of a request-target (RFC 9112 §3.2; `target` is the latin1 text of its bytes) that policy and
 * upstream share: percent-encoded unreserved characters decoded, other encodings in upper case, characters that a
 * path may not hold raw encoded, repeated slashes merged, dot segments resolved, one trailing slash kept.
 *
 * Refused as `path_ambiguous`: encoded slash or backslash, raw backslash, control characters (C0, DEL and C1, raw or
 * encoded), bad percent-encoding, bytes that are not UTF-8 (RFC 3629), a dot segment that leaves the root or carries
 * `;parameters`. Refused as `request_malformed`: other forms than origin and http(s) absolute, `#`, a space, a query
 * with control or non-ASCII characters or bad percent-encoding, and whatever is beyond LIMITS. Total: never throws.
 */
export function canonicalTarget(target: string): CanonicalTarget {
  if (target.length > LIMITS.targetBytes) return MALFORMED;
  return target.charCodeAt(0) === SLASH ? canonicalFrom(target, 0, null) : absoluteForm(target);
}

/** RFC 9112 §3.2.2. Userinfo is refused (RFC 9110 §4.2.4), and so is an authority that is no `host[:port]`. */
function absoluteForm(target: string): CanonicalTarget {
  const scheme = /^https?:\/\//i.exec(target);
  if (scheme === null) return MALFORMED;
  const start = scheme[0].length;
  let end = start;
  while (end < target.length && target.charCodeAt(end) !== SLASH && target.charCodeAt(end) !== QUESTION) end += 1;
  const authority = target.slice(start, end);
  if (!isAuthority(authority)) return MALFORMED;
  // `http://host?query` has an empty path, which means the root (RFC 9110 §4.2.3).
  return target.charCodeAt(end) === SLASH
    ? canonicalFrom(target, end, authority)
    : canonicalFrom(`/${target.slice(end)}`, 0, authority);
}

function isAuthority(authority: string): boolean {
  if (authority.length > 261) return false;
  const match = /^(?:\[([0-9A-Fa-f:.]{2,45})\]|((?:[A-Za-z0-9_-]+\.)*[A-Za-z0-9_-]+\.?))(?::(\d{0,5}))?$/.exec(
    authority,
  );
  if (match === null) return false;
  if (match[1] !== undefined && !isIPv6(match[1])) return false;
  return match[3] === undefined || Number(match[3]) <= 65_535;
}

function canonicalFrom(target: string, start: number, authority: string | null): CanonicalTarget {
  const clean = scanCleanPath(target, start);
  const end = clean >= 0 ? clean : pathEnd(target, start);
  const query = end === target.length ? '' : canonicalQuery(target, end);
  if (query === null) return MALFORMED;
  const path = clean >= 0 ? target.slice(start, end) : canonicalPath(target.slice(start, end));
  if (typeof path !== 'string') return path;
  // Encoding can make a target longer than it came; the bound holds for what is forwarded as well.
  if (path.length + query.length > LIMITS.targetBytes) return MALFORMED;
  return { ok: true, path, query, authority };
}

/** Where the path ends when it is canonical as it stands, else -1: one look at each character, nothing allocated. */
function scanCleanPath(target: string, start: number): number {
  // Asked for once: a text's length is a look-up by its kind, and there are many kinds.
  const { length } = target;
  let segments = 0;
  let position = start;
  for (; position < length; position += 1) {
    const code = target.charCodeAt(position);
    const kind = KIND[code];
    if (kind === UNRESERVED || kind === PLAIN) continue;
    if (code === QUESTION) break;
    if (code !== SLASH) return -1;
    segments += 1;
    const next = target.charCodeAt(position + 1);
    if (next === SLASH || (next === DOT && !isOrdinaryName(target, position + 2))) return -1;
  }
  return segments > LIMITS.pathSegments ? -1 : position;
}

/** After a leading dot: true for `.well-known`, false for everything that could be a dot segment. */
function isOrdinaryName(target: string, position: number): boolean {
  const code = target.charCodeAt(position);
  return code !== DOT && code !== SEMICOLON && (KIND[code] === UNRESERVED || KIND[code] === PLAIN);
}

function pathEnd(target: string, start: number): number {
  const question = target.indexOf('?', start);
  return question < 0 ? target.length : question;
}

/** The query from its `?` on. Kept as it came, but for characters that RFC 3986 §3.4 does not allow: encoded. */
function canonicalQuery(target: string, start: number): string | null {
  let text = '';
  let kept = start;
  const { length } = target;
  for (let position = start; position < length; position += 1) {
    const code = target.charCodeAt(position);
    const kind = KIND[code];
    if (kind === ENCODE || code === BACKSLASH) {
      text += target.slice(kept, position) + ENCODED[code];
      kept = position + 1;
    } else if (code === PERCENT) {
      if (encodedByte(target, position) < 0) return null;
    } else if (kind === undefined || kind === CONTROL || kind === FORBIDDEN || kind === NON_ASCII) {
      return null;
    }
  }
  return text + target.slice(kept);
}

/** RFC 3986 §5.2.4 and §6.2.2, strictly; `path` begins with a slash. */
function canonicalPath(path: string): string | Extract<CanonicalTarget, { ok: false }> {
  if (path.includes('#') || path.includes(' ')) return MALFORMED;
  const raw = path.split('/', LIMITS.pathSegments + 2);
  if (raw.length > LIMITS.pathSegments + 1) return MALFORMED;
  const segments: string[] = [];
  let trailingSlash = true;
  for (const rawSegment of raw.slice(1)) {
    const segment = canonicalSegment(rawSegment);
    if (segment === null || hidesDotSegment(segment)) return AMBIGUOUS;
    if (segment === '..' && segments.pop() === undefined) return AMBIGUOUS;
    trailingSlash = segment === '' || segment === '.' || segment === '..';
    if (!trailingSlash) segments.push(segment);
  }
  if (segments.length === 0) return '/';
  return `/${segments.join('/')}${trailingSlash ? '/' : ''}`;
}

/** `..;x` and `.;x`, the semicolon encoded or not: a back end that drops parameters (RFC 3986 §3.3) sees a dot segment. */
function hidesDotSegment(segment: string): boolean {
  return segment.startsWith('.') && /^\.\.?(?:;|%3B)/.test(segment);
}

/** One segment decoded and encoded again, or null where it cannot be read in exactly one way. */
function canonicalSegment(raw: string): string | null {
  const utf8 = new Utf8Check();
  let text = '';
  for (let position = 0; position < raw.length; position += 1) {
    const encoded = raw.charCodeAt(position) === PERCENT;
    const byte = encoded ? encodedByte(raw, position) : raw.charCodeAt(position);
    if (byte < 0 || byte > 0xff || !utf8.accepts(byte)) return null;
    const kind = KIND[byte];
    if (kind === CONTROL || byte === BACKSLASH || byte === SLASH) return null;
    text += kind === UNRESERVED || (kind === PLAIN && !encoded) ? String.fromCharCode(byte) : ENCODED[byte];
    if (encoded) position += 2;
  }
  return utf8.complete ? text : null;
}

/** The byte of the `%XX` at `position`, or -1. */
function encodedByte(text: string, position: number): number {
  const high = hexDigit(text.charCodeAt(position + 1));
  const low = hexDigit(text.charCodeAt(position + 2));
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

function hexDigit(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const lower = code | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

/** RFC 3629 §4, byte by byte, without the C1 control characters (U+0080 … U+009F). */
class Utf8Check {
  #pending = 0;
  #low = 0x80;
  #high = 0xbf;

  get complete(): boolean {
    return this.#pending === 0;
  }

  accepts(byte: number): boolean {
    if (this.#pending > 0) {
      if (byte < this.#low || byte > this.#high) return false;
      this.#pending -= 1;
      this.#low = 0x80;
      this.#high = 0xbf;
      return true;
    }
    if (byte < 0x80) return true;
    if (byte < 0xc2 || byte > 0xf4) return false;
    this.#pending = byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
    if (byte === 0xc2 || byte === 0xe0) this.#low = 0xa0;
    else if (byte === 0xf0) this.#low = 0x90;
    if (byte === 0xed) this.#high = 0x9f;
    else if (byte === 0xf4) this.#high = 0x8f;
    return true;
  }
}
