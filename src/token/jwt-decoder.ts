import { hash } from 'node:crypto';
import { endsCanonically } from '../base/base64url.ts';
import { LIMITS } from '../base/limits.ts';

/** Exactly three parts (RFC 7515 §7.1); an unsigned token has an empty third one, and is none of ours to verify. */
const COMPACT = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*$/;

/** Bytes before the parts: the lengths of the first two, so that the same bytes cut elsewhere are another token. */
const LENGTHS_BYTES = 8;

/** The parts of a JWT as bytes. */
export interface DecodedJwt {
  readonly header: Buffer;
  readonly payload: Buffer;
  readonly signature: Buffer;
  /** What is signed: the first two parts as they were sent (RFC 7515 §5.2). */
  readonly signingInput: Buffer;
  /** SHA-256 over lengths, header and payload: the same for every signature of the same claims. */
  readonly claimsDigest: string;
}

/** Whether a credential begins as the base64url of `{` does and has the dot of a compact serialisation. */
export function looksLikeJwt(credential: string): boolean {
  return credential.charCodeAt(0) === 0x65 && /^e[w-z0-9_-]/.test(credential) && credential.includes('.');
}

/** Decodes into one buffer that is used again and again: what has been verified already is known without an allocation. */
export class JwtDecoder {
  readonly #bytes = Buffer.allocUnsafeSlow(LENGTHS_BYTES + LIMITS.credentialBytes);

  /**
   * SHA-256 of the decoded parts: by it verified tokens are remembered, never by their text. Null for what is not three
   * parts of base64url, each in its one spelling. At most `LIMITS.credentialBytes` long.
   */
  digest(token: string): string | null {
    const length = this.#decode(token);
    return length === null ? null : hash('sha256', this.#bytes.subarray(0, length), 'latin1');
  }

  /** The parts of a token of which `digest` was not null, as copies. */
  decode(token: string): DecodedJwt {
    const end = this.#decode(token);
    if (end === null) throw new TypeError('a token was to be decoded that has no digest');
    const headerEnd = LENGTHS_BYTES + this.#bytes.readUInt32LE(0);
    const payloadEnd = headerEnd + this.#bytes.readUInt32LE(4);
    return {
      header: Buffer.from(this.#bytes.subarray(LENGTHS_BYTES, headerEnd)),
      payload: Buffer.from(this.#bytes.subarray(headerEnd, payloadEnd)),
      signature: Buffer.from(this.#bytes.subarray(payloadEnd, end)),
      signingInput: Buffer.from(token.slice(0, token.lastIndexOf('.')), 'latin1'),
      claimsDigest: hash('sha256', this.#bytes.subarray(0, payloadEnd), 'base64url'),
    };
  }

  #decode(token: string): number | null {
    const { length } = token;
    if (length > LIMITS.credentialBytes || !COMPACT.test(token)) return null;
    const first = token.indexOf('.');
    const second = token.indexOf('.', first + 1);
    if (!endsCanonically(token, 0, first) || !endsCanonically(token, first + 1, second)) return null;
    if (!endsCanonically(token, second + 1, length)) return null;
    const bytes = this.#bytes;
    const header = bytes.write(token.slice(0, first), LENGTHS_BYTES, 'base64url');
    const payload = bytes.write(token.slice(first + 1, second), LENGTHS_BYTES + header, 'base64url');
    bytes.writeUInt32LE(header, 0);
    bytes.writeUInt32LE(payload, 4);
    const signatureStart = LENGTHS_BYTES + header + payload;
    return signatureStart + bytes.write(token.slice(second + 1), signatureStart, 'base64url');
  }
}
