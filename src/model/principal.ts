import type { Claims } from './token-record.ts';

/** Of this gateway, a JWT of a trusted issuer, and one that its server was asked about (RFC 7662). */
export const TOKEN_TYPES = ['opaque', 'jwt', 'introspected'] as const;
export type TokenType = (typeof TOKEN_TYPES)[number];

/** By what a token that somebody else issued is told from others; revocations are matched against it. */
export interface ForeignToken {
  /** `iss` (RFC 7519 §4.1.1); null where an introspection server does not say. */
  readonly issuer: string | null;
  /** `jti` (RFC 7519 §4.1.7). */
  readonly jti: string | null;
  /** `sub` (RFC 7519 §4.1.2). */
  readonly subject: string | null;
  /** `iat` (RFC 7519 §4.1.6), milliseconds since the epoch; null where it does not say. */
  readonly issuedAt: number | null;
}

/** The key that whoever presents the token has to prove possession of (`cnf`, RFC 7800). */
export interface Confirmation {
  /** SHA-256 of the client's certificate, base64url (`x5t#S256`, RFC 8705 §3.1). */
  readonly certificateThumbprint: string | null;
  /** RFC 7638 thumbprint of the key of the DPoP proof, base64url (`jkt`, RFC 9449 §6.1). */
  readonly keyThumbprint: string | null;
}

/** Whoever a verified token speaks for. Made by authentication, judged by the policy. */
export interface Principal {
  readonly tokenType: TokenType;
  /**
   * Public. Of tokens of this gateway their id; of others text that no id can be (it holds a colon), the same whenever the
   * same token is presented.
   */
  readonly tokenId: string;
  readonly subject: string | null;
  readonly owner: string | null;
  readonly class: string | null;
  readonly scopes: readonly string[];
  readonly roles: readonly string[];
  readonly claims: Claims;
  /** CIDR blocks from which the token may be used; empty: from anywhere. */
  readonly ip: readonly string[];
  /** When the secret in use was made (issue or rotation; `iat`), milliseconds since the epoch. */
  readonly issuedAt: number;
  readonly expiresAt: number;
  /** Set where an old generation was presented within its grace: when that ends. */
  readonly supersededUntil: number | null;
  /** Null for tokens of this gateway. */
  readonly foreign: ForeignToken | null;
  /** Null: a bearer token (RFC 6750 §1.2). */
  readonly confirmation: Confirmation | null;
}
