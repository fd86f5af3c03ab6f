import { constants, createHmac, type KeyObject, timingSafeEqual, verify } from 'node:crypto';
import { HASH_BYTES, type JwsAlgorithm, jwsAlgorithm } from '../base/jws-algorithm.ts';

/**
 * Whether a JWS signature (RFC 7515 §5.2) is that of the key. The caller has made sure that the key is one of the
 * algorithm. At once, in this thread: a verification takes less time than handing it to another one. Never throws.
 */
export function verifySignature(name: JwsAlgorithm, key: KeyObject, data: Uint8Array, signature: Uint8Array): boolean {
  const algorithm = jwsAlgorithm(name);
  try {
    switch (algorithm.kty) {
      case 'oct': {
        // RFC 7518 §3.2: a shorter key than the hash is long can be guessed.
        if ((key.symmetricKeySize ?? 0) < HASH_BYTES[algorithm.hash]) return false;
        const expected = createHmac(algorithm.hash, key).update(data).digest();
        return expected.length === signature.length && timingSafeEqual(expected, signature);
      }
      case 'RSA':
        return algorithm.padding === 'pkcs1'
          ? verify(algorithm.hash, data, { key, padding: constants.RSA_PKCS1_PADDING }, signature)
          : verify(
              algorithm.hash,
              data,
              // RFC 7518 §3.5: the salt is as long as the hash, no other length.
              { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: HASH_BYTES[algorithm.hash] },
              signature,
            );
      case 'EC':
        // RFC 7518 §3.4: two numbers of fixed length, not DER. Numbers of zero verify nothing.
        if (signature.length !== 2 * algorithm.coordinateBytes || hasZeroHalf(signature)) return false;
        return verify(algorithm.hash, data, { key, dsaEncoding: 'ieee-p1363' }, signature);
      case 'OKP':
        return signature.length === 64 && verify(null, data, key, signature);
    }
  } catch {
    return false;
  }
}

function hasZeroHalf(signature: Uint8Array): boolean {
  const half = signature.length / 2;
  const isZero = (byte: number): boolean => byte === 0;
  return signature.subarray(0, half).every(isZero) || signature.subarray(half).every(isZero);
}
