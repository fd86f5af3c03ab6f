import { hash, type KeyObject } from 'node:crypto';
import { decodeBase64url } from '../base/base64url.ts';
import { readPublicJwk } from '../base/jwk-set.ts';
import type { JwsAlgorithm } from '../base/jws-algorithm.ts';
import { LIMITS } from '../base/limits.ts';
import { err, ok, type Result } from '../base/result.ts';
import { isJsonObject, type JsonObject, type JsonValue, memberOf, parseStrictJson } from '../base/strict-json.ts';
import { verifySignature } from './verify-signature.ts';

/** The closed list: asymmetric algorithms only, no `none` and no HMAC (RFC 9449 §4.2, §11.6). */
export const PROOF_ALGORITHMS = [
  'ES256',
  'ES384',
  'ES512',
  'Ed25519',
  'EdDSA',
  'PS256',
  'PS384',
  'PS512',
  'RS256',
] as const satisfies readonly JwsAlgorithm[];

/** A DPoP proof (RFC 9449 §4.2) of the right form. What it says is not proven before `isSignedByItsKey` has said so. */
export interface DpopProof {
  readonly algorithm: JwsAlgorithm;
  readonly key: KeyObject;
  readonly signingInput: Buffer;
  readonly signature: Buffer;
  readonly jti: string;
  readonly htm: string;
  readonly htu: string;
  /** Milliseconds since the epoch. */
  readonly issuedAt: number;
  /** Null where it names no token. */
  readonly ath: string | null;
  readonly nonce: string | null;
}

/** Members of private and symmetric keys (RFC 7518 §6.2.2, §6.3.2, §6.4, RFC 8037 §2). */
const SECRET_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'];

/** Latest time that a number of milliseconds can tell exactly, seconds. */
const LAST_SECOND = Number.MAX_SAFE_INTEGER / 1000;

/**
 * Steps 3 to 6 and 8 of RFC 9449 §4.3, but for the signature, without any work that a client could make long. The error
 * is for people and repeats nothing of the proof.
 */
export function readDpopProof(text: string): Result<DpopProof, string> {
  if (text.length > LIMITS.proofBytes) return err(`it is longer than ${LIMITS.proofBytes} bytes`);
  const [first = '', second = '', third = '', ...more] = text.split('.');
  const header = objectIn(first);
  const claims = objectIn(second);
  const signature = third === '' ? null : decodeBase64url(third);
  if (header === null || claims === null || signature === null || more.length > 0) return err('it is not one JWT');
  const signer = readSigner(header);
  if (!signer.ok) return signer;
  const said = readClaims(claims);
  if (!said.ok) return said;
  const signingInput = Buffer.from(text.slice(0, text.lastIndexOf('.')), 'latin1');
  return ok({ ...signer.value, ...said.value, signingInput, signature });
}

function readSigner(header: JsonObject): Result<Pick<DpopProof, 'algorithm' | 'key'>, string> {
  // What makes it a proof and no other JWT (RFC 8725 §3.11).
  if (memberOf(header, 'typ') !== 'dpop+jwt') return err('its typ is not dpop+jwt');
  if (memberOf(header, 'crit') !== undefined || memberOf(header, 'b64') !== undefined) {
    return err('it has extensions that are not known');
  }
  const alg = memberOf(header, 'alg');
  const algorithm = PROOF_ALGORITHMS.find((name) => name === alg);
  if (algorithm === undefined) return err('its algorithm is not one of those that are taken');
  const jwk = memberOf(header, 'jwk');
  if (!isJsonObject(jwk)) return err('it has no jwk');
  if (SECRET_MEMBERS.some((name) => memberOf(jwk, name) !== undefined)) return err('its jwk holds a secret');
  const read = readPublicJwk(jwk, [algorithm]);
  if (!read.ok) return err(`its jwk ${read.error}`);
  return read.value === null ? err('its jwk is not a key of its algorithm') : ok({ algorithm, key: read.value.key });
}

type ProofClaims = Pick<DpopProof, 'jti' | 'htm' | 'htu' | 'issuedAt' | 'ath' | 'nonce'>;

function readClaims(claims: JsonObject): Result<ProofClaims, string> {
  const claim = (name: string): JsonValue | undefined => memberOf(claims, name);
  const [jti, htm, htu, iat] = ['jti', 'htm', 'htu', 'iat'].map(claim);
  const [ath, nonce] = [claim('ath') ?? null, claim('nonce') ?? null];
  if (typeof jti !== 'string' || jti === '' || jti.length > LIMITS.proofIdChars) {
    return err(`its jti is not a text of 1 to ${LIMITS.proofIdChars} characters`);
  }
  if (typeof htm !== 'string' || typeof htu !== 'string') return err('its htm or htu is missing');
  if (typeof iat !== 'number' || !(iat >= 0 && iat <= LAST_SECOND)) return err('its iat is not a time');
  if (!isTextOrNull(ath) || !isTextOrNull(nonce)) return err('its ath or nonce is not a text');
  return ok({ jti, htm, htu, issuedAt: Math.floor(iat * 1000), ath, nonce });
}

/** The RFC 7638 thumbprint of the proof's key, as `jkt` has it (RFC 9449 §6.1). */
export function keyThumbprintOf({ key }: DpopProof): string {
  // Only the members that make the key, in their one spelling, and here in the order of §3.3.
  const { crv, e, kty, n, x, y } = key.export({ format: 'jwk' });
  return hash('sha256', JSON.stringify({ crv, e, kty, n, x, y }), 'base64url');
}

/** Whether the key that the proof names has signed it (RFC 9449 §4.3, step 7). */
export function isSignedByItsKey({ algorithm, key, signingInput, signature }: DpopProof): boolean {
  return verifySignature(algorithm, key, signingInput, signature);
}

/** What `ath` of a proof for this token has to be (RFC 9449 §4.2). */
export function accessTokenHash(token: string): string {
  return hash('sha256', token, 'base64url');
}

/** Under which a proof is remembered: a `jti` is unique among those of one key. */
export function replayKeyOf(keyThumbprint: string, { jti }: DpopProof): string {
  return `${keyThumbprint}.${jti}`;
}

function objectIn(segment: string): JsonObject | null {
  const bytes = decodeBase64url(segment);
  const parsed = bytes === null ? null : parseStrictJson(bytes);
  return parsed?.ok === true && isJsonObject(parsed.value) ? parsed.value : null;
}

function isTextOrNull(value: JsonValue): value is string | null {
  return value === null || typeof value === 'string';
}
