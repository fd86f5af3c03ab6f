/**
 * What looks like one of our tokens, `<prefix>_<environment>_<id:12><secret and checksum>`, also when it was cut short.
 * It hangs on the underscores alone, so that a long text without them costs one pass.
 */
const OPAQUE = /(_[A-Za-z0-9-]{1,64}_[0-9A-Za-z]{12})[0-9A-Za-z]{8,}/g;

/** A JWS or JWE in compact form (RFC 7515 §7.1): its header is JSON, so it starts with `eyJ`. */
const COMPACT_JWT = /(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]*){2,4}/g;

/** Credentials of an Authorization header (RFC 9110 §11.4), wherever somebody quotes one. */
const AUTHORIZATION = /\b(Bearer|Basic|Digest)(\s+)[A-Za-z0-9._~+/=-]{12,}/gi;

/** No shorter text holds anything that is masked: `Basic` with its shortest credentials. */
export const SHORTEST_MASKED = 18;

/**
 * The text with every token in it cut down to its public part: an opaque token keeps prefix, environment and id, a JWT
 * becomes `[jwt]`, the credentials of a quoted Authorization header `[redacted]`.
 */
export function maskTokens(text: string): string {
  let masked = text;
  if (masked.includes('_')) masked = masked.replace(OPAQUE, '$1…');
  if (masked.includes('eyJ')) masked = masked.replace(COMPACT_JWT, '[jwt]');
  if (masked.includes(' ') || masked.includes('\t')) masked = masked.replace(AUTHORIZATION, '$1$2[redacted]');
  return masked;
}
