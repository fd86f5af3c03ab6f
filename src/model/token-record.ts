/** What a token record says about its state. `rotating` and `expired` follow from the clock and are never stored. */
export const TOKEN_STATUSES = ['active', 'revoked', 'expired', 'rotating'] as const;
export type TokenStatus = (typeof TOKEN_STATUSES)[number];

/** A value of a token's `claims`, also of a JWT's (RFC 7519 §4). */
export type ClaimValue =
  | string
  | number
  | boolean
  | null
  | readonly ClaimValue[]
  | { readonly [name: string]: ClaimValue };
export type Claims = Readonly<Record<string, ClaimValue>>;

/** An earlier generation of a rotated token. */
export interface SupersededGeneration {
  readonly generation: number;
  /** Hex SHA-256, or HMAC-SHA-256 with the pepper, of that generation's whole token. */
  readonly digest: string;
  /** Until when it still works, milliseconds since the epoch. */
  readonly grace_until: number;
  readonly last_used_at: number | null;
  readonly last_used_ip: string | null;
  /** Set where it ends as soon as a newer generation is used, at `grace_until` at the latest. */
  readonly retire?: 'on_first_use';
}

/** What whoever presents the token has to prove possession of, in the words of `cnf` (RFC 7800 §3.1). At least one. */
export interface TokenBinding {
  /** RFC 7638 thumbprint (SHA-256, base64url) of the key of its DPoP proofs (RFC 9449 §6.1). */
  readonly jkt?: string;
  /** SHA-256 of the client's certificate, base64url (RFC 8705 §3.1). */
  readonly 'x5t#S256'?: string;
}

/** A token as it is stored, under its id. Times are milliseconds since the Unix epoch; lists are never null. */
export interface TokenRecord {
  readonly id: string;
  readonly name: string;
  readonly owner: string;
  readonly class: string;
  readonly environment: string;
  readonly subject: string | null;
  readonly scopes: readonly string[];
  readonly roles: readonly string[];
  readonly claims: Claims;
  /** CIDR blocks or addresses from which the token may be used; empty: from anywhere. */
  readonly ip: readonly string[];
  readonly created_at: number;
  readonly created_by: string;
  readonly not_before: number | null;
  readonly expires_at: number;
  readonly generation: number;
  readonly rotated_at: number | null;
  /** The generation whose own secret asked for the current one; absent where an administrator did. */
  readonly rotated_with?: number;
  /** Until when any superseded generation still works. */
  readonly grace_until: number | null;
  readonly rotate_after: number | null;
  readonly revoked_at: number | null;
  readonly revoked_by: string | null;
  readonly revoke_reason: string | null;
  /** Hex digest of the current generation's whole token. Never leaves the store and the verifier. */
  readonly digest: string;
  /** Newest first, at most LIMITS.supersededGenerations. */
  readonly superseded: readonly SupersededGeneration[];
  /** Of the coming or past end of the current generation: what has been announced, so that it is announced once. */
  readonly announced?: readonly string[];
  /** Never changes: every generation is bound to the same. Absent: a bearer token. */
  readonly bound_to?: TokenBinding;
  /** Set where `expires_at` was brought forward because nobody used the token. */
  readonly expired_by?: 'idle_expiry';
}

/** How a token was last used. Kept beside the record: it changes often and decides nothing. */
export interface TokenUsage {
  readonly last_used_at: number | null;
  readonly last_used_ip: string | null;
  readonly use_count: number;
}

export function statusAt(record: TokenRecord, now: number): TokenStatus {
  if (record.revoked_at !== null) return 'revoked';
  if (now >= record.expires_at) return 'expired';
  if (record.grace_until !== null && now < record.grace_until) return 'rotating';
  return 'active';
}
