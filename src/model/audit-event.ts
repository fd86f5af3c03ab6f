import type { Claims } from './token-record.ts';

/** The types of audit events: one closed list for the writer, the verifier, the filters and the documentation. */
export const AUDIT_EVENT_TYPES = [
  'access.allowed',
  'access.denied',
  'access.would_deny',
  'token.issued',
  'token.rotated',
  'token.revoked',
  'token.expired',
  'token.narrowed',
  'token.reuse',
  'token.expiring',
  'policy.loaded',
  'policy.rejected',
  'config.loaded',
  'admin.denied',
  'store.lost',
  'store.restored',
  'chain.start',
  'chain.checkpoint',
] as const;
export type AuditEventType = (typeof AUDIT_EVENT_TYPES)[number];

export type AuditDetail =
  | string
  | number
  | boolean
  | null
  | readonly AuditDetail[]
  | { readonly [name: string]: AuditDetail | undefined };

/**
 * `details` of an access event: what the policy's decision hung on and no other member tells, so that it can be made
 * again under other policies. Times are milliseconds since the epoch. Nothing of it is the token's secret.
 */
export type AccessDetails = {
  /** When the conditions were judged. */
  readonly decided_at?: number;
  /** Another proxy asked for the decision: the gateway itself forwarded nothing. */
  readonly decision_only?: true;
  /** The message that a condition looked at; without a method an answer to the server. */
  readonly mcp?: { readonly method?: string; readonly tool?: string };
  /** The limit of the rule, where it was this that refused the request: `100/60000ms by token`. */
  readonly rate_limit?: string;
  /** The token as the policy saw it; only where the policy was asked about it. Empty lists and objects are left out. */
  readonly token?: {
    readonly class?: string;
    /** Those that a condition can look at: texts, numbers, booleans and lists of them. */
    readonly claims?: Claims;
    /** Some claims are left out because they were too long. */
    readonly claims_cut?: true;
    /** The token's own address blocks. */
    readonly ip?: readonly string[];
    /** When its secret was made. */
    readonly issued_at: number;
    /** Who issued it, and the issuer's name for it (`iss`, `jti`), of a token of others. */
    readonly issuer?: string;
    readonly jti?: string;
    readonly roles?: readonly string[];
    readonly scopes: readonly string[];
  };
  /** Where no token was judged: whether none came with the request, or one did and nobody looked at it. */
  readonly credential?: 'none' | 'unread';
  /** The method that a CORS preflight announces. */
  readonly preflight?: string;
};

/** An event before it has its place in a chain. `path` is without its query; no member ever holds a secret. */
export interface AuditEventInput {
  readonly type: AuditEventType;
  readonly outcome: 'success' | 'failure';
  /** Milliseconds since the epoch; when it is left out, the time of recording. */
  readonly time?: number;
  readonly reason?: string;
  readonly request_id?: string;
  readonly trace_id?: string;
  readonly api?: string;
  readonly rule?: string;
  /** Version of the policy in force. */
  readonly policy?: string;
  readonly token_id?: string;
  readonly token_type?: string;
  readonly subject?: string;
  readonly owner?: string;
  readonly actor?: string;
  readonly ip?: string;
  readonly method?: string;
  readonly host?: string;
  readonly path?: string;
  readonly status?: number;
  readonly bytes_in?: number;
  readonly bytes_out?: number;
  readonly duration_ms?: number;
  readonly upstream_ms?: number;
  readonly details?: { readonly [name: string]: AuditDetail | undefined };
}
