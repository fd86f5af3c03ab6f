import { createPublicKey, hash, type KeyObject } from 'node:crypto';
import { decodeBase64url } from './base64url.ts';
import { JWS_ALGORITHM_NAMES, type JwsAlgorithm, jwsAlgorithm } from './jws-algorithm.ts';
import { err, ok, type Result } from './result.ts';
import { isJsonObject, type JsonObject, memberOf, parseStrictJson } from './strict-json.ts';

/** A key that may verify signatures, imported once. */
export interface VerificationKey {
  /** Null where the set does not name it. */
  readonly kid: string | null;
  /** With which of the wanted algorithms it may be used; never empty. */
  readonly algorithms: readonly JwsAlgorithm[];
  readonly key: KeyObject;
  /** The same for two keys that are the same in every respect. */
  readonly identity: string;
}

export interface JwkSet {
  readonly keys: readonly VerificationKey[];
  /** Keys that are left out, by their place in the set, and why; of those for other uses nothing is said. */
  readonly unusable: readonly { readonly index: number; readonly why: string }[];
}

export const JWK_SET_LIMITS = {
  /** A whole set, bytes. */
  bytes: 256 * 1024,
  keys: 100,
  /** Longest name of a key, characters. */
  kid: 256,
  /** Least and most bits of an RSA modulus (RFC 7518 §3.3; what is larger costs whoever verifies too much). */
  rsaBits: [2048, 8192],
  /** Longest RSA exponent, bytes. */
  rsaExponentBytes: 4,
} as const;

/**
 * Reads a JWK Set (RFC 7517 §5) for one purpose: to verify signatures of these algorithms. A set that is none, or larger
 * than the bounds, is an error for people; a single key that cannot be used is left out.
 */
export function readJwkSet(bytes: Uint8Array, wanted: readonly JwsAlgorithm[]): Result<JwkSet, string> {
  if (bytes.length > JWK_SET_LIMITS.bytes) return err(`is larger than ${JWK_SET_LIMITS.bytes / 1024} KiB`);
  const parsed = parseStrictJson(bytes);
  if (!parsed.ok) return err(`is no JWK Set: ${parsed.error}`);
  const list = isJsonObject(parsed.value) ? memberOf(parsed.value, 'keys') : undefined;
  if (!Array.isArray(list)) return err('is no JWK Set: it has no list "keys"');
  if (list.length > JWK_SET_LIMITS.keys) return err(`holds more than ${JWK_SET_LIMITS.keys} keys`);
  const keys: VerificationKey[] = [];
  const unusable: { index: number; why: string }[] = [];
  for (const [index, jwk] of list.entries()) {
    const read = isJsonObject(jwk) ? readPublicJwk(jwk, wanted) : err('is no object');
    if (!read.ok) unusable.push({ index, why: read.error });
    else if (read.value !== null) keys.push(read.value);
  }
  return ok({ keys, unusable });
}

/** One public key (RFC 7517 §4); null where it is for another purpose. The error is a phrase for people. */
export function readPublicJwk(
  jwk: JsonObject,
  wanted: readonly JwsAlgorithm[],
): Result<VerificationKey | null, string> {
  const use = memberOf(jwk, 'use');
  const operations = memberOf(jwk, 'key_ops');
  if (use !== undefined && use !== 'sig') return typeof use === 'string' ? ok(null) : err('its use is no text');
  if (operations !== undefined && !Array.isArray(operations)) return err('its key_ops is no list');
  if (Array.isArray(operations) && !operations.includes('verify')) return ok(null);
  const kid = memberOf(jwk, 'kid') ?? null;
  if (kid !== null && (typeof kid !== 'string' || kid.length > JWK_SET_LIMITS.kid))
    return err('its kid is no short text');
  const kty = memberOf(jwk, 'kty');
  // A shared secret among public keys could be used by everybody who reads them.
  if (kty === 'oct') return err('is a shared secret, which has no place in a set of public keys');
  if (memberOf(jwk, 'd') !== undefined) return err('is a private key');
  const alg = memberOf(jwk, 'alg');
  const curve = memberOf(jwk, 'crv');
  const fitting = JWS_ALGORITHM_NAMES.filter((name) => {
    const entry = jwsAlgorithm(name);
    if (entry.kty !== kty || ('curve' in entry && entry.curve !== curve)) return false;
    return alg === undefined || alg === name || (isEdDsa(alg) && isEdDsa(name));
  });
  // What else its `alg` may be, it is not for what it could do here.
  if (fitting.length === 0) return ok(null);
  const algorithms = fitting.filter((name) => wanted.includes(name));
  if (algorithms.length === 0) return ok(null);
  const members = publicMembers(jwk);
  if (!members.ok) return members;
  try {
    const key = createPublicKey({ key: members.value, format: 'jwk' });
    const identity = hash('sha256', JSON.stringify([kid, algorithms, members.value]), 'base64url');
    return ok({ kid, algorithms, key, identity });
  } catch {
    return err('is no point of its curve, or no key');
  }
}

/** Two names of one algorithm (RFC 9864 §2.2, §4). */
function isEdDsa(name: unknown): boolean {
  return name === 'EdDSA' || name === 'Ed25519';
}

type PublicMembers = Readonly<Record<string, string>>;

/** Those that make up the public key and no others, checked. */
function publicMembers(jwk: JsonObject): Result<PublicMembers, string> {
  switch (memberOf(jwk, 'kty')) {
    case 'RSA':
      return rsaMembers(jwk);
    case 'EC':
      return ecMembers(jwk);
    default:
      return okpMembers(jwk);
  }
}

function rsaMembers(jwk: JsonObject): Result<PublicMembers, string> {
  const modulus = bytesOf(jwk, 'n');
  const exponent = bytesOf(jwk, 'e');
  if (modulus === null || exponent === null) return err('lacks n or e, or they are not base64url');
  const n = withoutLeadingZeros(modulus);
  const e = withoutLeadingZeros(exponent);
  const bits = n.length === 0 ? 0 : n.length * 8 - Math.clz32(n[0] ?? 0) + 24;
  const [least, most] = JWK_SET_LIMITS.rsaBits;
  if (bits < least) return err(`has ${bits} bits; an RSA key needs ${least}`);
  if (bits > most) return err(`has ${bits} bits, more than ${most}`);
  if (e.length === 0 || e.length > JWK_SET_LIMITS.rsaExponentBytes) return err('has an exponent out of bounds');
  // With 1 every text is its own signature; an even one belongs to no key.
  if ((e.at(-1) ?? 0) % 2 === 0 || (e.length === 1 && e[0] === 1)) return err('has an exponent that protects nothing');
  if ((n.at(-1) ?? 0) % 2 === 0) return err('has an even modulus');
  if (isOfWeakChip(n)) return err('was made by a chip whose keys can be factored (ROCA, CVE-2017-15361)');
  return ok({ kty: 'RSA', n: n.toString('base64url'), e: e.toString('base64url') });
}

/** Primes by which the moduli of those chips leave powers of 65537 only. By chance that happens once in 2^27 keys. */
const ROCA_PRIMES = [11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157];

function isOfWeakChip(modulus: Buffer): boolean {
  const n = BigInt(`0x${modulus.toString('hex')}`);
  return ROCA_PRIMES.every((prime) => isPowerOf65537(Number(n % BigInt(prime)), prime));
}

function isPowerOf65537(value: number, prime: number): boolean {
  let power = 1;
  do {
    if (power === value) return true;
    power = (power * 65_537) % prime;
  } while (power !== 1);
  return false;
}

function ecMembers(jwk: JsonObject): Result<PublicMembers, string> {
  const crv = memberOf(jwk, 'crv');
  const [x, y] = [bytesOf(jwk, 'x'), bytesOf(jwk, 'y')];
  const length = crv === 'P-256' ? 32 : crv === 'P-384' ? 48 : 66;
  // RFC 7518 §6.2.1.2: the whole length of the coordinate.
  if (typeof crv !== 'string' || x?.length !== length || y?.length !== length) return err('has no whole x and y');
  return ok({ kty: 'EC', crv, x: x.toString('base64url'), y: y.toString('base64url') });
}

function okpMembers(jwk: JsonObject): Result<PublicMembers, string> {
  const x = bytesOf(jwk, 'x');
  if (x?.length !== 32) return err('has no x of 32 bytes');
  if (isWeakEd25519(x)) return err('is a point of small order, under which anything verifies');
  return ok({ kty: 'OKP', crv: 'Ed25519', x: x.toString('base64url') });
}

const FIELD_PRIME = 2n ** 255n - 19n;
/** The y of the two pairs of points of order 8. */
const ORDER_EIGHT = 0x7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7n;
/** y of the points of order 1, 2, 4 and 8 (RFC 8032 §5.1.7 leaves it to the verifier to refuse them). */
const SMALL_ORDER: ReadonlySet<bigint> = new Set([0n, 1n, FIELD_PRIME - 1n, ORDER_EIGHT, FIELD_PRIME - ORDER_EIGHT]);

/** Also for a y beyond the field, which is another spelling of a point (RFC 8032 §5.1.3). */
function isWeakEd25519(x: Buffer): boolean {
  const bigEndian = Buffer.from(x).reverse();
  const y = BigInt(`0x${bigEndian.toString('hex')}`) & (2n ** 255n - 1n);
  return y >= FIELD_PRIME || SMALL_ORDER.has(y);
}

function bytesOf(jwk: JsonObject, member: string): Buffer | null {
  const value = memberOf(jwk, member);
  return typeof value === 'string' ? decodeBase64url(value) : null;
}

/** RFC 7518 §6.3.1.1 forbids them, and some issuers write one all the same. */
function withoutLeadingZeros(bytes: Buffer): Buffer {
  const first = bytes.findIndex((byte) => byte !== 0);
  return first === -1 ? Buffer.alloc(0) : bytes.subarray(first);
}
