import type { MaybePromise } from '../base/result.ts';
import type { Principal } from '../model/principal.ts';
import type { Reason } from '../model/reason.ts';
import type { SupersededGeneration, TokenRecord } from '../model/token-record.ts';
import type { WhenUnavailable } from '../store/token-store.ts';

export type TokenReason = Extract<
  Reason,
  | 'token_malformed'
  | 'token_unknown'
  | 'token_expired'
  | 'token_not_yet_valid'
  | 'token_revoked'
  | 'token_superseded'
  | 'token_wrong_environment'
  | 'token_untrusted'
  // Whoever vouches for the token cannot be asked: which is no word against the token.
  | 'store_unavailable'
>;

export type AuthenticationOutcome =
  | {
      readonly ok: true;
      readonly principal: Principal;
      readonly generation: number;
      /** True where older generations end with this use (`retire: on_first_use`); nothing is answered before they have. */
      readonly retiresOlder?: boolean;
    }
  | {
      readonly ok: false;
      readonly reason: TokenReason;
      /** Set once the credential is proven to belong to that token (its digest matched), never before. */
      readonly tokenId: string | null;
      readonly generation: number | null;
      /** Class of that token. */
      readonly tokenClass?: string;
      /** For the client, in place of what the reason says by itself. */
      readonly detail?: string;
    };

/**
 * What was found out about one credential, kept by whoever is presented with the very same one again. Filled in and read by
 * the authenticator only; it holds the digest, not the credential.
 */
export class CredentialMemo {
  /** Set where it is a token of this gateway and environment, going by its syntax. */
  id: string | null = null;
  digest = '';
  /** The record of which the digest was shown to be a generation, and which one. */
  record: TokenRecord | null = null;
  match: GenerationMatch | null = null;
  /** Set where it is a JWT, going by its syntax: the digest of its decoded parts. */
  jwtDigest: string | null = null;
}

/** The generation of a record that a digest belongs to; `superseded` null: the current one. */
export interface GenerationMatch {
  readonly superseded: SupersededGeneration | null;
  readonly generation: number;
}

/** Tokens of one kind that somebody else issued. */
export interface ForeignTokens {
  /**
   * Null where the credential is not of this kind, by its syntax alone. An outcome that is `ok` has a principal with `foreign`
   * set, and `generation` 0. Never throws for what a client can write, and never says 401 because an issuer is silent.
   * `memo` was given with no other credential before.
   */
  authenticate(
    credential: string,
    now: number,
    memo?: CredentialMemo | null,
  ): MaybePromise<AuthenticationOutcome> | null;
  /**
   * Which token a text is, for an authenticated caller who wants it revoked, and never for whoever presents it: `ok` for each
   * that is truly of its issuer and has not ended, also where it is not let in now (its time has not come, it is for somebody
   * else, it lives too long). Its principal is granted nothing. Another outcome says for good that it will not be let in, but for
   * `store_unavailable`: nobody can say. Null as for `authenticate`; absent: as `authenticate`.
   */
  identify?(credential: string, now: number): MaybePromise<AuthenticationOutcome> | null;
}

/** Which tokens of others have been revoked here. */
export interface ForeignRevocations {
  /**
   * At once while the lease is valid; otherwise the store is asked. `whenUnavailable` as for `TokenReader.find`. Throws (or
   * rejects with) a Fault `store_unavailable`.
   */
  covers(token: Pick<Principal, 'tokenId' | 'foreign'>, whenUnavailable: WhenUnavailable | null): MaybePromise<boolean>;
}

/**
 * Turns one raw credential into a principal or a refusal; the only entry to this room. At once where the store is in
 * this process or the record is remembered. `whenUnavailable` null: as the store is configured.
 * `memo` was given with no other credential before. Throws (or rejects with) a Fault `store_unavailable`; a doubt is never a
 * principal.
 */
export interface Authenticator {
  authenticate(
    credential: string,
    now: number,
    whenUnavailable?: WhenUnavailable | null,
    memo?: CredentialMemo | null,
  ): MaybePromise<AuthenticationOutcome>;
  /** True when the text has the shape of a token of ours (prefix and length), valid or not: such text is never forwarded. */
  resembles(credential: string): boolean;
}
