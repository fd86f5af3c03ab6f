/**
 * The algorithms with which a JWT may be signed: RFC 7518 §3, EdDSA (RFC 8037 §3.1) and its other name (RFC 9864 §2.2).
 * `none` is not among them and cannot be named.
 */
export type JwsAlgorithmEntry =
  | { readonly kty: 'oct'; readonly hash: Hash }
  | { readonly kty: 'RSA'; readonly hash: Hash; readonly padding: 'pkcs1' | 'pss' }
  /** `coordinateBytes`: of a signature's two numbers (RFC 7518 §3.4), and of a public key's (§6.2.1.2). */
  | { readonly kty: 'EC'; readonly hash: Hash; readonly curve: string; readonly coordinateBytes: number }
  | { readonly kty: 'OKP'; readonly curve: 'Ed25519' };

type Hash = 'sha256' | 'sha384' | 'sha512';

export const JWS_ALGORITHMS = {
  RS256: { kty: 'RSA', hash: 'sha256', padding: 'pkcs1' },
  RS384: { kty: 'RSA', hash: 'sha384', padding: 'pkcs1' },
  RS512: { kty: 'RSA', hash: 'sha512', padding: 'pkcs1' },
  PS256: { kty: 'RSA', hash: 'sha256', padding: 'pss' },
  PS384: { kty: 'RSA', hash: 'sha384', padding: 'pss' },
  PS512: { kty: 'RSA', hash: 'sha512', padding: 'pss' },
  ES256: { kty: 'EC', hash: 'sha256', curve: 'P-256', coordinateBytes: 32 },
  ES384: { kty: 'EC', hash: 'sha384', curve: 'P-384', coordinateBytes: 48 },
  ES512: { kty: 'EC', hash: 'sha512', curve: 'P-521', coordinateBytes: 66 },
  EdDSA: { kty: 'OKP', curve: 'Ed25519' },
  Ed25519: { kty: 'OKP', curve: 'Ed25519' },
  HS256: { kty: 'oct', hash: 'sha256' },
  HS384: { kty: 'oct', hash: 'sha384' },
  HS512: { kty: 'oct', hash: 'sha512' },
} as const satisfies Readonly<Record<string, JwsAlgorithmEntry>>;

export type JwsAlgorithm = keyof typeof JWS_ALGORITHMS;

export const JWS_ALGORITHM_NAMES = Object.keys(JWS_ALGORITHMS) as readonly JwsAlgorithm[];

/** The entry under its general type, so that the kinds can be told apart. */
export function jwsAlgorithm(name: JwsAlgorithm): JwsAlgorithmEntry {
  return JWS_ALGORITHMS[name];
}

/** Length of a hash's output, bytes. */
export const HASH_BYTES: Readonly<Record<Hash, number>> = { sha256: 32, sha384: 48, sha512: 64 };
