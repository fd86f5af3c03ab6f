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
  | { readonly [name: string]: AuditDetail };

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
  readonly details?: { readonly [name: string]: AuditDetail };
}
