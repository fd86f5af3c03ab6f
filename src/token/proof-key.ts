import type { JWK } from 'jose';
import { LIMITS } from '../base/limits.ts';
import { err, ok, type Result } from '../base/result.ts';

/** What kind of key an algorithm takes (RFC 7518 §3.1, RFC 8037, RFC 9864), and how long its parts are. */
interface KeyKind {
  readonly kty: 'EC' | 'RSA' | 'OKP';
  readonly crv?: string;
  /** Bytes of each coordinate. */
  readonly bytes?: number;
}

const ED25519: KeyKind = { kty: 'OKP', crv: 'Ed25519', bytes: 32 };
const RSA: KeyKind = { kty: 'RSA' };

/** The closed list: asymmetric, each bound to one kind of key. No `none`, no HMAC (RFC 9449 §4.2, §11.6). */
const KINDS: ReadonlyMap<string, KeyKind> = new Map<string, KeyKind>([
  ['ES256', { kty: 'EC', crv: 'P-256', bytes: 32 }],
  ['ES384', { kty: 'EC', crv: 'P-384', bytes: 48 }],
  ['ES512', { kty: 'EC', crv: 'P-521', bytes: 66 }],
  ['Ed25519', ED25519],
  ['EdDSA', ED25519],
  ['PS256', RSA],
  ['PS384', RSA],
  ['PS512', RSA],
  ['RS256', RSA],
]);

export const PROOF_ALGORITHMS: readonly string[] = [...KINDS.keys()];

/** Members of private and symmetric keys (RFC 7518 §6.2.2, §6.3.2, §6.4, RFC 8037 §2). */
const SECRET_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'];

const LEAST_RSA_BITS = 2048;

/**
 * The public key that a proof names, reduced to the members that make the key: nothing else in it has a meaning here. The
 * error is for people.
 */
export function readProofKey(value: unknown, alg: string): Result<JWK, string> {
  const kind = KINDS.get(alg);
  if (kind === undefined) return err('its algorithm is not one of those that are taken');
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return err('it has no jwk');
  const jwk: Partial<Record<string, unknown>> = { ...value };
  if (SECRET_MEMBERS.some((member) => jwk[member] !== undefined)) return err('its jwk holds a secret');
  if (jwk['kty'] !== kind.kty || jwk['crv'] !== kind.crv) return err('its jwk is not a key of its algorithm');
  if (kind.kty === 'RSA') return readRsaKey(jwk['n'], jwk['e']);
  const x = decoded(jwk['x']);
  if (x === null || x.length !== kind.bytes || kind.crv === undefined) return err('its jwk is not a public key');
  const point = { kty: kind.kty, crv: kind.crv, x: x.toString('base64url') };
  if (kind.kty === 'OKP') return isSmallOrder(x) ? err('its jwk is a weak key') : ok(point);
  const y = decoded(jwk['y']);
  if (y === null || y.length !== kind.bytes) return err('its jwk is not a public key');
  return ok({ ...point, y: y.toString('base64url') });
}

/** RFC 8725 §3.5. An exponent of 1 would make every signature valid, and an even one belongs to no key. */
function readRsaKey(modulus: unknown, exponent: unknown): Result<JWK, string> {
  const n = decoded(modulus);
  const e = decoded(exponent);
  if (n === null || e === null || n.length === 0 || n[0] === 0) return err('its jwk is not a public key');
  const bits = n.length * 8 - (Math.clz32(n[0] ?? 0) - 24);
  if (bits < LEAST_RSA_BITS || bits > LIMITS.proofRsaBits) return err('its jwk is an RSA key of a size not taken');
  const power = e.length <= 4 ? Number.parseInt(`0${e.toString('hex')}`, 16) : 0;
  if (power < 3 || power % 2 === 0 || e[0] === 0) return err('its jwk is a weak key');
  return ok({ kty: 'RSA', n: n.toString('base64url'), e: e.toString('base64url') });
}

/** Null for anything that is not the one spelling of its bytes (RFC 7515 §2: no padding, no stray bits). */
function decoded(text: unknown): Buffer | null {
  if (typeof text !== 'string') return null;
  const bytes = Buffer.from(text, 'base64url');
  return bytes.toString('base64url') === text ? bytes : null;
}

/**
 * Points of small order on Ed25519: with one of them as key some signatures fit every message. Their y, little endian and
 * without the sign of x, as RFC 8032 §5.1.3 decodes it; those above the prime are other spellings of 0 and 1.
 */
const SMALL_ORDER_Y: ReadonlySet<string> = new Set([
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
]);

function isSmallOrder(point: Buffer): boolean {
  const y = Buffer.from(point);
  y[31] = (y[31] ?? 0) & 0x7f;
  return SMALL_ORDER_Y.has(y.toString('hex'));
}
