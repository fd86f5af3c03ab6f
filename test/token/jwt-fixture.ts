import { createHmac, createSecretKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { readJwkSet } from '../../src/base/jwk-set.ts';
import type { JwsAlgorithm } from '../../src/base/jws-algorithm.ts';
import type { AuthenticationOutcome } from '../../src/token/authenticator.ts';
import type { JwtIssuer } from '../../src/token/jwt-issuer.ts';
import type { KeySet } from '../../src/token/key-sets.ts';
import { createJwtTokens } from '../../src/token/verify-jwt.ts';

export const ISSUER = 'https://issuer.test';
export const AUDIENCE = 'https://api.test';
export const NOW = Date.UTC(2026, 10, 22, 12);
export const SECONDS = NOW / 1000;

export interface SigningKey {
  readonly kid: string;
  readonly algorithm: JwsAlgorithm;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

const CURVES: ReadonlyMap<string, string> = new Map([
  ['ES256', 'P-256'],
  ['ES384', 'P-384'],
  ['ES512', 'P-521'],
]);

export function signingKey(algorithm: JwsAlgorithm, kid: string = algorithm, rsaBits = 2048): SigningKey {
  const pair = /^[RP]S/.test(algorithm)
    ? generateKeyPairSync('rsa', { modulusLength: rsaBits })
    : algorithm.startsWith('ES')
      ? generateKeyPairSync('ec', { namedCurve: CURVES.get(algorithm) ?? '' })
      : generateKeyPairSync('ed25519');
  return { kid, algorithm, ...pair };
}

export type Members = Readonly<Record<string, unknown>>;

export function publicJwk({ kid, algorithm, publicKey }: SigningKey, more: Members = {}): Members {
  return { ...publicKey.export({ format: 'jwk' }), kid, alg: algorithm, use: 'sig', ...more };
}

export function jwks(...keys: readonly (SigningKey | Members)[]): string {
  return JSON.stringify({ keys: keys.map((key) => ('privateKey' in key ? publicJwk(key as SigningKey) : key)) });
}

export function claimsOf(more: Members = {}): Members {
  return { iss: ISSUER, aud: AUDIENCE, sub: 'user-7', iat: SECONDS, exp: SECONDS + 600, jti: 'id-1', ...more };
}

export function encode(part: unknown): string {
  const text = typeof part === 'string' ? part : JSON.stringify(part);
  return Buffer.from(text).toString('base64url');
}

/** A signature as the algorithm wants it (RFC 7518 §3). */
export function signatureOf(algorithm: string, key: KeyObject, input: string): Buffer {
  const data = Buffer.from(input);
  const hash = `sha${algorithm.slice(2)}`;
  if (algorithm.startsWith('HS')) return createHmac(hash, key).update(data).digest();
  if (algorithm.startsWith('RS')) return sign(hash, data, key);
  if (algorithm.startsWith('PS'))
    return sign(hash, data, { key, padding: 6, saltLength: Number(algorithm.slice(2)) / 8 });
  if (algorithm.startsWith('ES')) return sign(hash, data, { key, dsaEncoding: 'ieee-p1363' });
  return sign(null, data, key);
}

/** A token as its issuer makes it; `header` adds to what it says, or is the text of the whole header. */
export function jwt(key: SigningKey, claims: unknown = claimsOf(), header: Members | string = {}): string {
  const head = typeof header === 'string' ? header : { alg: key.algorithm, kid: key.kid, ...header };
  const input = `${encode(head)}.${encode(claims)}`;
  return `${input}.${signatureOf(key.algorithm, key.privateKey, input).toString('base64url')}`;
}

/** Keys that stay as they are. */
export function fixedKeys(set: string, algorithms: readonly JwsAlgorithm[]): KeySet {
  const read = readJwkSet(Buffer.from(set), algorithms);
  if (!read.ok) throw new Error(`the test's keys ${read.error}`);
  const { keys } = read.value;
  return {
    authoritative: true,
    find: (kid, algorithm) => keys.filter((key) => (kid ?? key.kid) === key.kid && key.algorithms.includes(algorithm)),
    knows: (kid) => keys.some((key) => key.kid === kid),
    holds: (key) => keys.includes(key),
    renew: () => null,
    newest: async () => true,
  };
}

export function issuerOf(keys: readonly (SigningKey | Members)[], more: Partial<JwtIssuer> = {}): JwtIssuer {
  const algorithms: readonly JwsAlgorithm[] = more.algorithms ?? ['RS256', 'PS256', 'ES256', 'EdDSA'];
  return {
    issuer: ISSUER,
    audiences: [AUDIENCE],
    algorithms,
    maxLifetimeMs: 3_600_000,
    clockSkewMs: 30_000,
    scopeClaim: 'scope',
    rolesClaim: 'roles',
    requiredClaims: [],
    types: null,
    keys: fixedKeys(jwks(...keys), algorithms),
    ...more,
  };
}

/** What becomes of a token, said shortly: `ok`, or the reason with its detail. */
export function present(token: string, issuer: JwtIssuer, now: number = NOW): string {
  const outcome = createJwtTokens([issuer]).authenticate(token, now);
  if (outcome === null) return 'no JWT';
  if (outcome instanceof Promise) return 'later';
  return said(outcome);
}

export function said(outcome: AuthenticationOutcome): string {
  if (outcome.ok) return 'ok';
  const detail = outcome.detail?.replace('The token is not trusted here. ', '');
  return detail === undefined ? outcome.reason : `${outcome.reason}: ${detail}`;
}

export function secretKey(bytes: Uint8Array): KeyObject {
  return createSecretKey(bytes);
}
