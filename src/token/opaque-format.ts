import { randomBytes } from 'node:crypto';
import { base62, crc32Base62, hmacSha256, randomBase62, sha256Hex } from '../base/encoding.ts';
import { err, ok, type Result } from '../base/result.ts';

/**
 * `<prefix>_<environment>_<id:12><secret:43><checksum:6>`, the last three in base62. The id is public, the secret holds
 * 256 random bits, and the checksum (CRC-32 of all that stands before it) is no secret: it lets a mistyped or made-up
 * token be refused without a look-up. A token has one spelling only, because the checksum covers every character.
 */
export interface TokenParts {
  readonly prefix: string;
  readonly environment: string;
  readonly id: string;
}

export interface MintedToken {
  readonly id: string;
  /** The whole token with its secret; to be handed out once and never kept. */
  readonly token: string;
}

const ID_LENGTH = 12;
const SECRET_LENGTH = 43;
const CHECKSUM_LENGTH = 6;
/** Characters of a token after `<prefix>_<environment>_`. */
const BODY_LENGTH = ID_LENGTH + SECRET_LENGTH + CHECKSUM_LENGTH;
const SECRET_BYTES = 32;
/** Longest `<prefix>_<environment>` that is minted or parsed, characters. */
const MAX_HEAD_LENGTH = 128;

const UNDERSCORE = 0x5f;
const HYPHEN = 0x2d;

/** A token for a new record. `prefix` and `environment` are those of the configuration. */
export function mintToken(names: { readonly prefix: string; readonly environment: string }): MintedToken {
  return remintToken(randomBase62(ID_LENGTH), names);
}

/** A new generation of a token: the same id with a new secret. */
export function remintToken(id: string, names: { readonly prefix: string; readonly environment: string }): MintedToken {
  const secret = base62(BigInt(`0x${randomBytes(SECRET_BYTES).toString('hex')}`), SECRET_LENGTH);
  const head = `${names.prefix}_${names.environment}_${id}${secret}`;
  const token = head + crc32Base62(head);
  const parsed = parseToken(token);
  // A prefix or environment that cannot be read back would make a token that nobody can use.
  if (!parsed.ok || parsed.value.id !== id || parsed.value.environment !== names.environment) {
    throw new RangeError(`prefix ${names.prefix} and environment ${names.environment} make no readable token`);
  }
  return { id, token };
}

/**
 * Reads a token without looking anything up; the checksum is verified. Read from its end, where the lengths are
 * fixed: the environment holds no `_`, the prefix may. One pass over the characters, no backtracking.
 */
export function parseToken(text: string): Result<TokenParts, 'malformed'> {
  // Asked for once: a text's length is a look-up by its kind, and there are many kinds.
  const { length } = text;
  const bodyStart = length - BODY_LENGTH;
  if (bodyStart < 4 || bodyStart > MAX_HEAD_LENGTH + 1) return MALFORMED;
  for (let position = bodyStart; position < length; position += 1) {
    if (!isBase62(text.charCodeAt(position))) return MALFORMED;
  }
  if (text.charCodeAt(bodyStart - 1) !== UNDERSCORE) return MALFORMED;
  const separator = text.lastIndexOf('_', bodyStart - 2);
  if (separator < 1 || separator === bodyStart - 2) return MALFORMED;
  for (let position = 0; position < bodyStart - 1; position += 1) {
    const code = text.charCodeAt(position);
    if (!isBase62(code) && code !== HYPHEN && code !== UNDERSCORE) return MALFORMED;
  }
  const checksumStart = length - CHECKSUM_LENGTH;
  if (crc32Base62(text.slice(0, checksumStart)) !== text.slice(checksumStart)) return MALFORMED;
  return ok({
    prefix: text.slice(0, separator),
    environment: text.slice(separator + 1, bodyStart - 1),
    id: text.slice(bodyStart, bodyStart + ID_LENGTH),
  });
}

const MALFORMED = err('malformed' as const);

function isBase62(code: number): boolean {
  return (code >= 0x30 && code <= 0x39) || (code >= 0x41 && code <= 0x5a) || (code >= 0x61 && code <= 0x7a);
}

/** True for text that begins like a token with this prefix and is long enough to hold a secret, valid or not. */
export function resemblesToken(text: string, prefix: string): boolean {
  return (
    text.length >= prefix.length + 1 + SECRET_LENGTH &&
    text.charCodeAt(prefix.length) === UNDERSCORE &&
    text.startsWith(prefix)
  );
}

/** What is stored in place of the token: hex SHA-256 of the whole text, or HMAC-SHA-256 with the pepper. */
export function digestToken(token: string, pepper: Uint8Array | null): string {
  return pepper === null ? sha256Hex(token) : hmacSha256(pepper, token).toString('hex');
}
