import { isIP } from 'node:net';
import { resolve } from 'node:path';
import { z } from 'zod';
import { parseAddressRange } from '../base/address-range.ts';
import { parsePublicUrl, parseResourceIdentifier } from '../base/public-url.ts';
import { parseDuration, parseSize } from '../base/quantity.ts';
import { err, ok, type Result } from '../base/result.ts';

/** The kinds of values that stand at the leaves of the configuration, each checked where it is written. */

/** setTimeout cannot wait longer (a signed 32-bit count of milliseconds). */
const LONGEST_TIMER_MS = 2 ** 31 - 1;
const DURATION_PATTERN = '^[0-9]{1,12}(ms|s|m|h|d)$';
const SIZE_PATTERN = '^[0-9]{1,12}(B|KiB|MiB|GiB)$';

/** RFC 9110 §5.6.2. */
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/** Fields that belong to one connection or to the message's framing (RFC 9110 §7.2, §7.6.1, §8.6, §10.1.1, §11.7). */
const CONNECTION_FIELDS: ReadonlySet<string> = new Set([
  'connection',
  'content-length',
  'expect',
  'host',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** A text that `parse` turns into its value; the parser's error is the message. */
function parsed<T>(wanted: string, pattern: string | null, parse: (text: string) => Result<T, string>) {
  return z
    .string({ error: wanted })
    .meta(pattern === null ? {} : { pattern })
    .transform((text, context): T => {
      const result = parse(text);
      if (result.ok) return result.value;
      context.addIssue({ code: 'custom', message: result.error });
      return z.NEVER;
    });
}

/** A wait of more than nothing that a timer can hold, in milliseconds. */
export function timeout() {
  return parsed('expected a duration such as 500ms, 2s or 5m', DURATION_PATTERN, (text) => {
    const duration = parseDuration(text);
    if (!duration.ok) return duration;
    if (duration.value === 0) return err('must be more than zero');
    if (duration.value > LONGEST_TIMER_MS) return err('must be at most 24d');
    return duration;
  });
}

/** A span of time, nothing included, in milliseconds. */
export function duration() {
  return parsed('expected a duration such as 2s, 24h or 30d', DURATION_PATTERN, parseDuration);
}

/** A size of at least `least`, in bytes. */
export function size(least: number) {
  return parsed('expected a size such as 512B, 16KiB or 10MiB', SIZE_PATTERN, (text) => {
    const bytes = parseSize(text);
    return bytes.ok && bytes.value < least ? err(`must be at least ${least} bytes`) : bytes;
  });
}

/** A size in bytes, or `none` (null). */
export function sizeOrNone() {
  const wanted = 'expected a size such as 10MiB, or none';
  return parsed(wanted, `${SIZE_PATTERN}|^none$`, (text): Result<number | null, string> => {
    if (text === 'none') return ok(null);
    const bytes = parseSize(text);
    return bytes.ok ? bytes : err(`${bytes.error}; or none`);
  });
}

export function count(least: number, most: number) {
  return z
    .int({ error: `expected a whole number from ${least} to ${most}` })
    .min(least, { error: `must be at least ${least}` })
    .max(most, { error: `must be at most ${most}` });
}

/** A TCP port; 0 lets the system choose a free one. */
export function port() {
  return count(0, 65_535);
}

/** An address or host name to listen on. */
export function host() {
  return parsed('expected an address or host name', null, (text) => {
    const name = /^(?!-)[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*\.?$/.test(text) && text.length <= 253;
    const numeric = /^[0-9.]+$/.test(text);
    if (isIP(text) !== 0 || (name && !numeric)) return ok(text);
    const hint = text.startsWith('[') ? ' (an IPv6 address is written without brackets)' : '';
    return err(`${JSON.stringify(text)} is neither an address nor a host name${hint}`);
  });
}

/** An address or a block of addresses. */
export function addressRange() {
  return parsed('expected an address or a block such as 10.0.0.0/8', null, (text) => {
    const range = parseAddressRange(text);
    return range.ok ? ok(range.value.text) : range;
  });
}

/** A header field that the gateway reads or writes end to end, in lower case. */
export function headerName() {
  return parsed('expected the name of a header', null, (text) => {
    const name = text.toLowerCase();
    if (!TOKEN.test(text)) return err(`${JSON.stringify(text)} is not the name of a header`);
    if (CONNECTION_FIELDS.has(name)) {
      return err(`${name} belongs to the connection or its framing and cannot be used here`);
    }
    if (name.startsWith('portcullis-')) {
      return err('headers that begin with portcullis- are set by the gateway itself');
    }
    return ok(name);
  });
}

/** An authentication scheme (RFC 9110 §11.1). */
export function authenticationScheme() {
  return parsed('expected an authentication scheme such as Bearer', null, (text) =>
    TOKEN.test(text) ? ok(text) : err(`${JSON.stringify(text)} is not an authentication scheme such as Bearer`),
  );
}

/** The origin of an upstream, with an optional path prefix. Errors never repeat the text: it may hold a password. */
export function upstreamUrl() {
  return parsed('expected a URL such as http://127.0.0.1:9000', '^https?://', (text): Result<URL, string> => {
    const url = /^https?:\/\//i.test(text) ? URL.parse(text) : null;
    if (url === null) return err('expected a URL that begins with http:// or https://');
    if (url.username !== '' || url.password !== '') {
      return err('a URL must not hold credentials; use credential: { header, value: { env: NAME } }');
    }
    if (text.includes('?')) return err('a query cannot be part of the URL of an upstream');
    if (text.includes('#')) return err('a fragment cannot be part of the URL of an upstream');
    return ok(url);
  });
}

/** A URL that is told to clients, as it stands there. */
export function publicUrl() {
  return parsed('expected a URL such as https://api.example.com', '^https?://', parsePublicUrl);
}

/** By which clients know a protected resource. */
export function resourceIdentifier() {
  return parsed('expected a URL such as https://api.example.com', '^https?://', parseResourceIdentifier);
}

/** `host:port` of a Redis node; the port is 6379 where it is left out. */
export function hostAndPort() {
  return parsed('expected host:port', null, (text) => {
    const match = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(?::(\d{1,5}))?$/.exec(text);
    const number = Number(match?.[2] ?? 6379);
    if (match === null || number < 1 || number > 65_535) {
      return err('expected host:port, without a scheme and without credentials');
    }
    return { ok: true, value: `${match[1]}:${number}` };
  });
}

/** A file or folder; a relative one is found from the configuration's folder. */
export function path(folder: string) {
  return parsed('expected a path', null, (text) =>
    text === '' || text.includes('\0') ? err('expected a path') : ok(resolve(folder, text)),
  );
}
