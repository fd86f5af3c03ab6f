import { createHash, createHmac, hash, randomBytes, timingSafeEqual } from 'node:crypto';
import { crc32 } from 'node:zlib';

const BASE62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';

/** `value` as exactly `length` base62 digits, most significant first. Throws when it does not fit. */
export function base62(value: bigint, length: number): string {
  let rest = value;
  let text = '';
  for (let i = 0; i < length; i += 1) {
    text = BASE62[Number(rest % 62n)] + text;
    rest /= 62n;
  }
  if (rest !== 0n) throw new RangeError(`value needs more than ${length} base62 digits`);
  return text;
}

/** `length` uniformly random base62 characters (rejection sampling: no modulo bias). */
export function randomBase62(length: number): string {
  let text = '';
  while (text.length < length) {
    for (const byte of randomBytes(length * 2)) {
      if (byte < 248 && text.length < length) text += BASE62[byte % 62];
    }
  }
  return text;
}

/** CRC-32 (ISO 3309) of a latin1 text as six base62 digits. */
export function crc32Base62(text: string): string {
  let rest = crc32(NOT_ASCII.test(text) ? Buffer.from(text, 'latin1') : text);
  let digits = '';
  for (let i = 0; i < 6; i += 1) {
    digits = BASE62.charAt(rest % 62) + digits;
    rest = Math.floor(rest / 62);
  }
  return digits;
}

/** A text without these has the same bytes in latin1 and in UTF-8. */
const NOT_ASCII = /[^\x00-\x7f]/;

export function sha256(data: string | Uint8Array): Buffer {
  return createHash('sha256').update(data).digest();
}

/** SHA-256 as hexadecimal digits, in one call: on the way of every request. */
export function sha256Hex(data: string): string {
  return hash('sha256', data, 'hex');
}

export function hmacSha256(key: Uint8Array, data: string): Buffer {
  return createHmac('sha256', key).update(data).digest();
}

/** Constant-time equality of two digests. Their length is public. */
export function equalDigests(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

/** RFC 3339 in UTC with milliseconds, from milliseconds since the epoch. */
export function rfc3339(epochMs: number): string {
  return new Date(epochMs).toISOString();
}
