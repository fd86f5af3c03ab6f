/** Which tokens of others a revocation means: those that fit every selector that is not null. */
export interface MarkSelectors {
  /** As in `Principal.tokenId`: for a token without a `jti`. A public digest, never the token. */
  readonly tokenId: string | null;
  /** `jti` (RFC 7519 §4.1.7). */
  readonly jti: string | null;
  /** `sub` (RFC 7519 §4.1.2). */
  readonly subject: string | null;
  /** `iss` (RFC 7519 §4.1.1). */
  readonly issuer: string | null;
}

/**
 * A revocation of tokens that others issued. There is no record of theirs that could say so, so it is kept beside the records.
 * Its id is a digest of its selectors: the same ones make the same mark, whoever makes it and however often, and it only ever
 * grows (`issuedBefore`, `keepUntil`). Times are milliseconds since the epoch.
 */
export interface RevocationMark extends MarkSelectors {
  readonly id: string;
  /** Exclusive. Null: whenever they were issued. A token that does not say when counts as issued before. */
  readonly issuedBefore: number | null;
  /** Until when one of the tokens may live. Null: for good. */
  readonly keepUntil: number | null;
  readonly revokedAt: number;
  readonly revokedBy: string;
  readonly reason: string | null;
}
