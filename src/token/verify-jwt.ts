import { hash } from 'node:crypto';
import type { VerificationKey } from '../base/jwk-set.ts';
import { LIMITS } from '../base/limits.ts';
import type { MaybePromise } from '../base/result.ts';
import { isJsonObject, type JsonObject, memberOf, parseStrictJson } from '../base/strict-json.ts';
import type { Principal } from '../model/principal.ts';
import type { AuthenticationOutcome, CredentialMemo, ForeignTokens } from './authenticator.ts';
import { type JwtClaims, readJwtClaims, readJwtIdentity } from './jwt-claims.ts';
import { type DecodedJwt, JwtDecoder, looksLikeJwt } from './jwt-decoder.ts';
import { type JwtHeader, readJwtHeader, readSignatureHeader } from './jwt-header.ts';
import type { JwtIssuer } from './jwt-issuer.ts';
import { VerifiedJwts } from './verified-jwts.ts';
import { unprovenRefusal } from './verify-opaque.ts';
import { verifySignature } from './verify-signature.ts';

type Refusal = Extract<AuthenticationOutcome, { ok: false }>;

/** A token that is whole and names an issuer that is trusted here. */
interface Parsed {
  readonly issuer: JwtIssuer;
  readonly header: JsonObject;
  readonly payload: JsonObject;
  readonly decoded: DecodedJwt;
}

/** A token that is whole and says what it should; whether it is true, its signature tells. */
interface Candidate {
  readonly digest: string;
  readonly issuer: JwtIssuer;
  readonly header: JwtHeader;
  readonly claims: JwtClaims;
  /** Its time has not come, or is over. */
  readonly untimely: 'token_expired' | 'token_not_yet_valid' | null;
  readonly decoded: DecodedJwt;
}

/** How often newer keys are waited for: for those on their way, which may be older than the token, and for the next. */
const RENEWALS = 2;

/**
 * JWTs of trusted issuers (RFC 7519, RFC 8725). What a token says is checked before its signature is, so that what would be
 * refused anyway costs no cryptography; no word of it counts before the signature is right. At once for what is remembered,
 * and wherever the key is known.
 */
export function createJwtTokens(issuers: readonly JwtIssuer[]): ForeignTokens {
  return new JwtTokens(issuers);
}

class JwtTokens implements ForeignTokens {
  readonly #issuers: ReadonlyMap<string, JwtIssuer>;
  readonly #decoder = new JwtDecoder();
  readonly #verified = new VerifiedJwts(LIMITS.verifiedJwts, LIMITS.verifiedJwtBytes);

  constructor(issuers: readonly JwtIssuer[]) {
    this.#issuers = new Map(issuers.map((each) => [each.issuer, each]));
  }

  authenticate(
    credential: string,
    now: number,
    memo: CredentialMemo | null = null,
  ): MaybePromise<AuthenticationOutcome> | null {
    if (memo?.jwtDigest == null && !looksLikeJwt(credential)) return null;
    const digest = memo?.jwtDigest ?? this.#decoder.digest(credential);
    if (digest === null) return unprovenRefusal('token_malformed');
    if (memo !== null) memo.jwtDigest = digest;
    const known = this.#verified.get(digest);
    if (known !== undefined) {
      if (now < known.validUntil && now >= known.validFrom && known.keys.holds(known.key)) return known.outcome;
      this.#verified.delete(digest);
    }
    const candidate = this.#read(credential, digest, now);
    return 'ok' in candidate ? candidate : this.#verify(candidate);
  }

  identify(credential: string, now: number): MaybePromise<AuthenticationOutcome> | null {
    if (!looksLikeJwt(credential)) return null;
    if (this.#decoder.digest(credential) === null) return unprovenRefusal('token_malformed');
    const parsed = this.#parse(credential);
    if ('ok' in parsed) return parsed;
    const { issuer, payload, decoded } = parsed;
    const header = readSignatureHeader(parsed.header, issuer);
    if (!header.ok) return untrusted(header.error);
    const claims = readJwtIdentity(payload, issuer);
    if (!claims.ok) return untrusted(claims.error);
    if (!(now < claims.value.validUntil)) return unprovenRefusal('token_expired');
    const signed = { issuer, header: header.value, claims: claims.value, decoded };
    return identified(signed) ?? identifiedWithNewest(signed);
  }

  #parse(credential: string): Parsed | Refusal {
    const decoded = this.#decoder.decode(credential);
    const header = parseStrictJson(decoded.header);
    const payload = parseStrictJson(decoded.payload);
    if (!header.ok || !payload.ok) {
      const why = header.ok ? (payload.ok ? '' : payload.error) : header.error;
      return why === 'not JSON' ? unprovenRefusal('token_malformed') : untrusted(`Its JSON is ambiguous: ${why}.`);
    }
    if (!isJsonObject(header.value) || !isJsonObject(payload.value)) return unprovenRefusal('token_malformed');
    const iss = memberOf(payload.value, 'iss');
    const issuer = typeof iss === 'string' ? this.#issuers.get(iss) : undefined;
    if (issuer === undefined) return untrusted('Its issuer (iss) is not trusted here.');
    return { issuer, header: header.value, payload: payload.value, decoded };
  }

  #read(credential: string, digest: string, now: number): Candidate | Refusal {
    const parsed = this.#parse(credential);
    if ('ok' in parsed) return parsed;
    const { issuer, payload, decoded } = parsed;
    const read = readJwtHeader(parsed.header, issuer);
    if (!read.ok) return untrusted(read.error);
    const claims = readJwtClaims(payload, issuer, now);
    if (claims.ok) return { digest, issuer, header: read.value, claims: claims.value, untimely: null, decoded };
    const { reason, detail, claims: untimely } = claims.error;
    if (reason === 'token_untrusted' || untimely === null) return untrusted(detail ?? 'Its claims are not valid.');
    return { digest, issuer, header: read.value, claims: untimely, untimely: reason, decoded };
  }

  #verify(candidate: Candidate): MaybePromise<AuthenticationOutcome> {
    const { untimely } = candidate;
    const settled = this.#verifyWithKnown(candidate);
    if (settled !== null) return settled;
    // For a token that is refused anyway nobody is asked: then it stays unproven, and is judged anew when its time has come.
    if (untimely !== null) return unprovenRefusal(untimely);
    return this.#verifyWithNewer(candidate, RENEWALS);
  }

  #verifyWithNewer(candidate: Candidate, renewals: number): MaybePromise<AuthenticationOutcome> {
    const { issuer, header } = candidate;
    const renewal = renewals === 0 ? null : issuer.keys.renew();
    if (renewal === null) return withoutKey(issuer, header);
    return renewal.then(() => this.#verifyWithKnown(candidate) ?? this.#verifyWithNewer(candidate, renewals - 1));
  }

  /** Null where the keys at hand do not settle it. */
  #verifyWithKnown(candidate: Candidate): AuthenticationOutcome | null {
    const { issuer, header, untimely } = candidate;
    // A token that names no key is tried with some of those that fit.
    const key = signingKeyOf(candidate, LIMITS.keysTried);
    if (key === undefined) {
      const named = header.kid !== null && issuer.keys.knows(header.kid);
      return named ? untrusted('Its signature is not that of its issuer.') : null;
    }
    const principal = principalOf(candidate);
    if (untimely !== null) return { ok: false, reason: untimely, tokenId: principal.tokenId, generation: 0 };
    return this.#remember(candidate, key, principal);
  }

  #remember(candidate: Candidate, key: VerificationKey, principal: Principal): AuthenticationOutcome {
    const { digest, issuer, claims, decoded } = candidate;
    const outcome = { ok: true, generation: 0, principal } as const;
    const { validFrom, validUntil } = claims;
    const bytes = decoded.payload.length + decoded.header.length;
    this.#verified.set(digest, { outcome, keys: issuer.keys, key, validFrom, validUntil, bytes });
    return outcome;
  }
}

type Signed = Pick<Candidate, 'issuer' | 'header' | 'claims' | 'decoded'>;

function signingKeyOf({ issuer, header, decoded }: Signed, tried: number): VerificationKey | undefined {
  const { signingInput, signature } = decoded;
  const keys = issuer.keys.find(header.kid, header.algorithm).slice(0, tried);
  return keys.find((each) => verifySignature(header.algorithm, each.key, signingInput, signature));
}

/** Null where the keys at hand do not say that its issuer signed it: newer ones may. */
function identified(signed: Signed): AuthenticationOutcome | null {
  // All that there are: with fewer keys in the set it may be let in.
  const key = signingKeyOf(signed, Number.POSITIVE_INFINITY);
  return key === undefined ? null : { ok: true, generation: 0, principal: principalOf(signed) };
}

async function identifiedWithNewest(signed: Signed): Promise<AuthenticationOutcome> {
  const settled = await signed.issuer.keys.newest();
  return (
    identified(signed) ?? (settled ? untrusted('None of the keys of its issuer has made its signature.') : silent())
  );
}

function untrusted(why: string): Refusal {
  return { ...unprovenRefusal('token_untrusted'), detail: `The token is not trusted here. ${why}` };
}

function silent(): Refusal {
  const detail = "The token's issuer cannot be asked for its keys at the moment. Try again soon.";
  return { ...unprovenRefusal('store_unavailable'), detail };
}

/** No key at hand verifies the token. That is a word against it only if the issuer's keys are known as they are now. */
function withoutKey({ keys }: JwtIssuer, { kid }: JwtHeader): Refusal {
  if (!keys.authoritative) {
    return silent();
  }
  return untrusted(
    kid === null
      ? 'None of the keys of its issuer has made its signature.'
      : 'The key that it names (kid) is not among those of its issuer.',
  );
}

function principalOf({ issuer, claims, decoded }: Pick<Candidate, 'issuer' | 'claims' | 'decoded'>): Principal {
  const { jti, subject, issuedAt } = claims;
  return {
    tokenType: 'jwt',
    tokenId: `jwt:${publicId(issuer.issuer, jti, decoded)}`,
    subject,
    owner: null,
    class: null,
    scopes: claims.scopes,
    roles: claims.roles,
    claims: claims.others,
    ip: [],
    // Where the token does not say, the oldest that it can be: limits of age are to err on refusal.
    issuedAt: issuedAt ?? claims.validUntil - issuer.clockSkewMs - issuer.maxLifetimeMs,
    expiresAt: claims.validUntil,
    supersededUntil: null,
    foreign: { issuer: issuer.issuer, jti, subject, issuedAt },
    confirmation: claims.confirmation,
  };
}

/** Of a token without an id, that of its claims: a signature may have more than one spelling. */
function publicId(issuer: string, jti: string | null, { claimsDigest }: DecodedJwt): string {
  return (jti === null ? claimsDigest : hash('sha256', `${issuer}\0${jti}`, 'base64url')).slice(0, 22);
}
