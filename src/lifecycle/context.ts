import type { AuditLog } from '../audit/audit-log.ts';
import type { Clock } from '../base/clock.ts';
import type { Metrics } from '../metrics/metrics.ts';
import type { AuditEventInput } from '../model/audit-event.ts';
import type { TokenRecord } from '../model/token-record.ts';
import type { CompiledPolicy } from '../policy/compiled-policy.ts';
import type { ChangeKind } from '../store/change-log.ts';
import type { Store, StoredToken } from '../store/token-store.ts';
import type { ForeignLifecycle } from './mark.ts';

/** What the changes of a token's life need; made once by the composition root. */
export interface LifecycleContext {
  readonly store: Pick<Store, 'load' | 'list' | 'create' | 'replace' | 'withdraw'>;
  readonly audit: Pick<AuditLog, 'record' | 'recordDurably'>;
  readonly clock: Clock;
  readonly metrics: Pick<Metrics, 'tokenEvent' | 'revocationPropagationSeconds'>;
  readonly tokens: {
    readonly prefix: string;
    readonly environment: string;
    /** Key of the digests; null: plain SHA-256. */
    readonly pepper: Uint8Array | null;
  };
  /** Left out where tokens of others are not taken: then none of them is revoked either. */
  readonly foreign?: ForeignLifecycle;
  /** The policy in force; null while none could be loaded: then nothing is issued or rotated. */
  policy(): CompiledPolicy | null;
  /**
   * Carries changes of these tokens to whoever may still decide by the records as they were. Resolves when nobody can;
   * rejects with a Fault where that could not be made sure of.
   */
  propagate?(ids: readonly string[], kind: ChangeKind): Promise<Propagation>;
  /**
   * Resolves when nobody decides by the record as it was before its last change, open streams left alone; rejects with a
   * Fault where that could not be made sure of. Left out where every request reads the store.
   */
  spread?(id: string): Promise<unknown>;
}

/** How far a change has reached when its call returns. */
export interface Propagation {
  readonly replicas: number;
  readonly acknowledged: number;
  readonly streams_closed: number;
  readonly elapsed_ms: number;
}

/** Whoever asks for a change. That the scopes cover the call itself (`portcullis:tokens:issue` …) is the caller's to check. */
export interface Actor {
  /** Null for the operator at the machine (break-glass). */
  readonly tokenId: string | null;
  /** For `created_by`, `revoked_by` and the audit trail: the token's id, or `break-glass`. */
  readonly name: string;
  readonly scopes: readonly string[];
  readonly roles: readonly string[];
  readonly class: string | null;
  /** Of the admin request, for the audit event. */
  readonly requestId?: string;
  /** Address from which the request came, for the audit event. */
  readonly ip?: string;
}

/** `path` is written as in `scopes[1]`, `claims.tenant`, `ttl`. */
export interface FieldError {
  readonly path: string;
  readonly message: string;
}

/** Why a change was refused. Faults (store, audit trail) are thrown instead. */
export type LifecycleError =
  /** Something in the request is wrong: all of it at once. */
  | { readonly kind: 'invalid'; readonly errors: readonly FieldError[] }
  | { readonly kind: 'not_found' }
  /** The request is in order, but the actor may not hand out that much. */
  | { readonly kind: 'forbidden'; readonly errors: readonly FieldError[] }
  /** The token's state, the policy or a simultaneous change stands against it. */
  | { readonly kind: 'conflict'; readonly message: string };

/** A token as an administrator may see it (through `presentToken`). */
export type DescribedToken = Pick<StoredToken, 'record' | 'usage'>;

/** A change that came with a new secret. `token` is shown this once. */
export interface TokenWithSecret {
  readonly stored: DescribedToken;
  readonly token: string;
}

/** The members that every audit event about a token has. */
export function tokenEvent(
  type: Extract<
    AuditEventInput['type'],
    'token.issued' | 'token.rotated' | 'token.revoked' | 'token.narrowed' | 'token.expired' | 'token.expiring'
  >,
  record: TokenRecord,
  actor: Actor,
  details: NonNullable<AuditEventInput['details']>,
): AuditEventInput {
  return {
    type,
    outcome: 'success',
    token_id: record.id,
    token_type: 'opaque',
    owner: record.owner,
    actor: actor.name,
    ...(record.subject === null ? {} : { subject: record.subject }),
    ...(actor.requestId === undefined ? {} : { request_id: actor.requestId }),
    ...(actor.ip === undefined ? {} : { ip: actor.ip }),
    details,
  };
}
