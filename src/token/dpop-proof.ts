import { calculateJwkThumbprint, compactVerify, importJWK, type JWK } from 'jose';
import { sha256 } from '../base/encoding.ts';
import { LIMITS } from '../base/limits.ts';
import { err, ok, type Result } from '../base/result.ts';
import { readProofKey } from './proof-key.ts';

/** A DPoP proof (RFC 9449 §4.2) of the right form. What it says is not proven before `isSignedBy` has said so. */
export interface DpopProof {
  readonly text: string;
  readonly alg: string;
  readonly key: JWK;
  readonly jti: string;
  readonly htm: string;
  readonly htu: string;
  /** Milliseconds since the epoch. */
  readonly issuedAt: number;
  /** Null where it names no token. */
  readonly ath: string | null;
  readonly nonce: string | null;
}

const SEGMENTS = /^([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)$/;

/** Latest time that a number of milliseconds can tell exactly, seconds. */
const LAST_SECOND = Number.MAX_SAFE_INTEGER / 1000;

/**
 * Steps 3 to 6 and 8 of RFC 9449 §4.3, but for the signature, without any work that a client could make long. The error
 * is for people and repeats nothing of the proof.
 */
export function readDpopProof(text: string): Result<DpopProof, string> {
  if (text.length > LIMITS.proofBytes) return err(`it is longer than ${LIMITS.proofBytes} bytes`);
  const [, protectedHeader = '', payload = '', signature = ''] = SEGMENTS.exec(text) ?? [];
  const header = objectIn(protectedHeader);
  const claims = objectIn(payload);
  if (header === null || claims === null || !isCanonical(signature)) return err('it is not one JWT');
  // What makes it a proof and no other JWT (RFC 8725 §3.11).
  if (header['typ'] !== 'dpop+jwt') return err('its typ is not dpop+jwt');
  if (header['crit'] !== undefined || header['b64'] !== undefined) return err('it has extensions that are not known');
  const { alg } = header;
  if (typeof alg !== 'string') return err('it has no alg');
  const key = readProofKey(header['jwk'], alg);
  if (!key.ok) return key;
  const { jti, htm, htu, iat, ath, nonce } = claims;
  if (typeof jti !== 'string' || jti === '' || jti.length > LIMITS.proofIdChars) {
    return err(`its jti is not a text of 1 to ${LIMITS.proofIdChars} characters`);
  }
  if (typeof htm !== 'string' || typeof htu !== 'string') return err('its htm or htu is missing');
  if (typeof iat !== 'number' || !(iat >= 0 && iat <= LAST_SECOND)) return err('its iat is not a time');
  if (!isTextOrAbsent(ath) || !isTextOrAbsent(nonce)) return err('its ath or nonce is not a text');
  const said = { jti, htm, htu, issuedAt: Math.floor(iat * 1000), ath: ath ?? null, nonce: nonce ?? null };
  return ok({ text, alg, key: key.value, ...said });
}

/** The RFC 7638 thumbprint of the proof's key, as `jkt` has it (RFC 9449 §6.1). */
export function keyThumbprintOf(proof: DpopProof): Promise<string> {
  return calculateJwkThumbprint(proof.key, 'sha256');
}

/** Whether the key that the proof names has signed it (RFC 9449 §4.3, step 7). Never rejects. */
export async function isSignedByItsKey({ text, alg, key }: DpopProof): Promise<boolean> {
  try {
    await compactVerify(text, await importJWK(key, alg), { algorithms: [alg] });
    return true;
  } catch {
    // A point that is not on its curve fails to be imported.
    return false;
  }
}

/** What `ath` of a proof for this token has to be (RFC 9449 §4.2). */
export function accessTokenHash(token: string): string {
  return sha256(token).toString('base64url');
}

/** Under which a proof is remembered: a `jti` is unique among those of one key. */
export function replayKeyOf(keyThumbprint: string, { jti }: DpopProof): string {
  return `${keyThumbprint}.${jti}`;
}

function objectIn(segment: string): Readonly<Record<string, unknown>> | null {
  if (segment === '' || !isCanonical(segment)) return null;
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.from(segment, 'base64url'));
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : null;
  } catch {
    return null;
  }
}

/** The one spelling of its bytes: no stray bits at its end. */
function isCanonical(segment: string): boolean {
  return Buffer.from(segment, 'base64url').toString('base64url') === segment;
}

function isTextOrAbsent(value: unknown): value is string | undefined {
  return value === undefined || typeof value === 'string';
}
