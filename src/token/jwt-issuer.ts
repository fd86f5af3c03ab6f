import type { JwsAlgorithm } from '../base/jws-algorithm.ts';
import type { ClaimValue } from '../model/token-record.ts';
import type { KeySet } from './key-sets.ts';

/** What is asked of the tokens of one issuer (RFC 8725 §3). All of it comes from the configuration. */
export interface JwtIssuer {
  /** `iss`, exact. */
  readonly issuer: string;
  /** One of these has to be among `aud`, exact. Never empty. */
  readonly audiences: readonly string[];
  /** The only ones that are looked at; whatever a token says of itself. */
  readonly algorithms: readonly JwsAlgorithm[];
  /** Longest time from `iat` to `exp`, milliseconds. */
  readonly maxLifetimeMs: number;
  /** How far the issuer's clock may be apart, milliseconds. */
  readonly clockSkewMs: number;
  readonly scopeClaim: string;
  readonly rolesClaim: string;
  readonly requiredClaims: readonly RequiredClaim[];
  /** Values of `typ` in lower case, without `application/`; null: `jwt`, `at+jwt` or none. */
  readonly types: readonly string[] | null;
  readonly keys: KeySet;
}

/** A claim that has to be there; with a value where `value` is not null: the same, or in a list of the token's. */
export interface RequiredClaim {
  readonly name: string;
  readonly value: Extract<ClaimValue, string | number | boolean> | null;
}
