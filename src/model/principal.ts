import type { Claims } from './token-record.ts';

export const TOKEN_TYPES = ['opaque', 'jwt'] as const;
export type TokenType = (typeof TOKEN_TYPES)[number];

/** Whoever a verified token speaks for. Made by authentication, judged by the policy. */
export interface Principal {
  readonly tokenType: TokenType;
  readonly tokenId: string;
  readonly subject: string | null;
  readonly owner: string | null;
  readonly class: string | null;
  readonly scopes: readonly string[];
  readonly roles: readonly string[];
  readonly claims: Claims;
  /** CIDR blocks from which the token may be used; empty: from anywhere. */
  readonly ip: readonly string[];
  /** When the secret in use was made (issue or rotation), milliseconds since the epoch. */
  readonly issuedAt: number;
  readonly expiresAt: number;
  /** Set where an old generation was presented within its grace: when that ends. */
  readonly supersededUntil: number | null;
}
