const ALPHABET = /^[A-Za-z0-9_-]*$/;
const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

/**
 * Whether a text is base64url in its one spelling (RFC 4648 §3.5, §5; RFC 7515 §2): no padding, no white space, no
 * character of the other alphabet, no bits left over at the end.
 */
export function isCanonicalBase64url(text: string): boolean {
  return ALPHABET.test(text) && endsCanonically(text, 0, text.length);
}

/** The same of the end of a part of a text whose characters are known to be of the alphabet. */
export function endsCanonically(text: string, start: number, end: number): boolean {
  const rest = (end - start) % 4;
  if (rest === 0) return true;
  if (rest === 1) return false;
  const unused = rest === 2 ? 0b1111 : 0b11;
  return (DIGITS.indexOf(text.charAt(end - 1)) & unused) === 0;
}

/** The bytes of a canonical text; null for every other. */
export function decodeBase64url(text: string): Buffer | null {
  return isCanonicalBase64url(text) ? Buffer.from(text, 'base64url') : null;
}
