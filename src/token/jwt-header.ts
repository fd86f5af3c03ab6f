import { JWK_SET_LIMITS } from '../base/jwk-set.ts';
import type { JwsAlgorithm } from '../base/jws-algorithm.ts';
import { err, ok, type Result } from '../base/result.ts';
import { type JsonObject, memberOf } from '../base/strict-json.ts';
import type { JwtIssuer } from './jwt-issuer.ts';

export interface JwtHeader {
  readonly algorithm: JwsAlgorithm;
  readonly kid: string | null;
}

/** `typ` of a JWT that is an access token, as far as it says so (RFC 7519 §5.1, RFC 9068 §2.1). */
const ACCESS_TOKEN_TYPES: readonly string[] = ['jwt', 'at+jwt'];

/**
 * What the header says of the signature, and that it is of an access token, against what the issuer's tokens have to say (RFC 8725 §3.1, §3.11). `jku`, `jwk`, `x5u` and `x5c`
 * are never read: keys come from the configuration alone (§3.10). The error is a sentence for the client.
 */
export function readJwtHeader(header: JsonObject, issuer: JwtIssuer): Result<JwtHeader, string> {
  if (!isTypeTaken(memberOf(header, 'typ'), issuer.types)) return err('Its type (typ) is not that of an access token.');
  return readSignatureHeader(header, issuer);
}

/** The same, of whatever type the token is. */
export function readSignatureHeader(header: JsonObject, issuer: JwtIssuer): Result<JwtHeader, string> {
  const alg = memberOf(header, 'alg');
  const algorithm = issuer.algorithms.find((name) => name === alg);
  if (algorithm === undefined) return err('Its algorithm (alg) is not one that its issuer may use here.');
  // No extension is understood here, so none may be critical (RFC 7515 §4.1.11); b64 (RFC 7797) changes what is signed.
  if (memberOf(header, 'crit') !== undefined)
    return err('It has critical extensions (crit) that are not understood here.');
  if (memberOf(header, 'b64') !== undefined) return err('Its payload must be encoded as usual (b64).');
  if (memberOf(header, 'enc') !== undefined) return err('It is encrypted (JWE), which is not taken here.');
  const kid = memberOf(header, 'kid') ?? null;
  if (kid !== null && (typeof kid !== 'string' || kid === '' || kid.length > JWK_SET_LIMITS.kid)) {
    return err('The name of its key (kid) is not a short text.');
  }
  return ok({ algorithm, kid });
}

function isTypeTaken(typ: unknown, types: readonly string[] | null): boolean {
  if (typ === undefined) return types === null;
  if (typeof typ !== 'string') return false;
  // RFC 7515 §4.1.9: without a slash it stands for the media type below application/.
  const name = typ.toLowerCase().replace(/^application\//, '');
  return (types ?? ACCESS_TOKEN_TYPES).includes(name);
}
