import { LIMITS } from '../base/limits.ts';
import type { MaybePromise } from '../base/result.ts';
import type { TokenReader, WhenUnavailable } from '../store/token-store.ts';
import type { AuthenticationOutcome, Authenticator, ForeignRevocations, ForeignTokens } from './authenticator.ts';
import { digestToken, parseToken, resemblesToken } from './opaque-format.ts';
import { type Principals, unprovenRefusal, verifyOpaque } from './verify-opaque.ts';

export interface AuthenticatorOptions {
  readonly prefix: string;
  readonly environment: string;
  /** Key of the digests; null: plain SHA-256. */
  readonly pepper: Uint8Array | null;
  readonly store: TokenReader;
  /** Absent where tokens of others are not taken. Asked in this order, and before a token of this gateway is looked for. */
  readonly foreign?: { readonly kinds: readonly ForeignTokens[]; readonly revocations: ForeignRevocations | null };
}

/** The only entry to this room: classifies by syntax, without I/O, then asks the store about what could be ours. */
export function createAuthenticator(options: AuthenticatorOptions): Authenticator {
  const { prefix, environment, pepper, store, foreign } = options;
  const principals: Principals = new WeakMap();
  return {
    authenticate(credential, now, whenUnavailable = null, memo = null) {
      // Known to be one of ours, by its syntax: only what its record says now is to be seen.
      if (memo !== null && memo.id !== null) {
        const found = store.find(memo.id, whenUnavailable);
        if (!(found instanceof Promise)) return verifyOpaque(found, memo.digest, environment, now, principals, memo);
        return found.then((record) => verifyOpaque(record, memo.digest, environment, now, principals, memo));
      }
      // Longer than any credential that is looked at.
      if (credential.length > LIMITS.credentialBytes) return unprovenRefusal('token_malformed');
      for (const kind of foreign?.kinds ?? []) {
        const outcome = kind.authenticate(credential, now, memo);
        if (outcome !== null) return unlessRevoked(outcome, foreign?.revocations ?? null, whenUnavailable);
      }
      // A JWT (base64url of `{"`…, RFC 7515 §3.1), and no issuer is trusted.
      if (looksLikeJwt(credential)) return unprovenRefusal('token_untrusted');
      const parsed = parseToken(credential);
      // No token, or a mistyped one: its checksum is wrong.
      if (!parsed.ok) return unprovenRefusal('token_malformed');
      // A well-formed token of some other product.
      if (parsed.value.prefix !== prefix) return unprovenRefusal('token_malformed');
      // Ours, made for another environment: nothing to look up here.
      if (parsed.value.environment !== environment) return unprovenRefusal('token_wrong_environment');
      const digest = digestToken(credential, pepper);
      if (memo !== null) {
        memo.id = parsed.value.id;
        memo.digest = digest;
      }
      const found = store.find(parsed.value.id, whenUnavailable);
      if (!(found instanceof Promise)) return verifyOpaque(found, digest, environment, now, principals, memo);
      return found.then((record) => verifyOpaque(record, digest, environment, now, principals, memo));
    },
    resembles: (credential) => resemblesToken(credential, prefix),
  };
}

function unlessRevoked(
  outcome: MaybePromise<AuthenticationOutcome>,
  revocations: ForeignRevocations | null,
  whenUnavailable: WhenUnavailable | null,
): MaybePromise<AuthenticationOutcome> {
  if (outcome instanceof Promise) {
    return outcome.then((settled) => unlessRevoked(settled, revocations, whenUnavailable));
  }
  if (!outcome.ok || outcome.principal.foreign === null || revocations === null) return outcome;
  const covered = revocations.covers(outcome.principal, whenUnavailable);
  if (covered instanceof Promise) return covered.then((settled) => (settled ? revoked(outcome) : outcome));
  return covered === true ? revoked(outcome) : outcome;
}

function revoked({ principal }: Extract<AuthenticationOutcome, { ok: true }>): AuthenticationOutcome {
  return { ok: false, reason: 'token_revoked', tokenId: principal.tokenId, generation: null };
}

function looksLikeJwt(credential: string): boolean {
  return credential.startsWith('eyJ') && credential.includes('.');
}
