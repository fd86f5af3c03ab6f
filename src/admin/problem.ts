import { maskTokens } from '../base/token-mask.ts';
import type { FieldError } from '../lifecycle/context.ts';
import { REASONS, type Reason } from '../model/reason.ts';

/** Reasons that only the admin API gives; those of the traffic listener (`model/reason.ts`) keep their meaning here. */
export const ADMIN_REASONS = {
  request_invalid: { status: 400, title: 'The request is not valid' },
  origin_refused: { status: 403, title: 'Requests from other sites are refused' },
  not_found: { status: 404, title: 'There is nothing here' },
  method_not_allowed: { status: 405, title: 'The method is not allowed here' },
  conflict: { status: 409, title: 'The state of the token does not allow this' },
  idempotency_in_progress: { status: 409, title: 'A request with this Idempotency-Key is under way' },
  media_type_unsupported: { status: 415, title: 'The content type is not supported' },
  policy_rejected: { status: 422, title: 'The policies were not loaded' },
  idempotency_key_reused: { status: 422, title: 'The Idempotency-Key belongs to another request' },
  internal_error: { status: 500, title: 'Something went wrong on this side' },
  audit_unavailable: { status: 503, title: 'The audit trail cannot be written' },
} as const satisfies Readonly<Record<string, { readonly status: number; readonly title: string }>>;

export type AdminReason = keyof typeof ADMIN_REASONS | Reason;

/** An expected refusal, as a value. `detail` is for people and never quotes a secret. */
export interface Refusal {
  readonly ok: false;
  readonly reason: AdminReason;
  readonly detail: string;
  readonly errors?: readonly FieldError[];
  readonly headers?: Readonly<Record<string, string>>;
  /** Further members of the document, such as the `error` of RFC 6749 §5.2. */
  readonly members?: Readonly<Record<string, unknown>>;
}

export function refusal(reason: AdminReason, detail: string, more: Partial<Refusal> = {}): Refusal {
  return { ok: false, reason, detail, ...more };
}

/** RFC 9457. */
export interface ProblemDocument {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly reason: AdminReason;
  readonly request_id: string;
  readonly errors?: readonly FieldError[];
}

export const PROBLEM_CONTENT_TYPE = 'application/problem+json';

export function statusOf(reason: AdminReason): number {
  return entryOf(reason).status;
}

export function problemDocument(refused: Refusal, requestId: string): ProblemDocument {
  const { status, title } = entryOf(refused.reason);
  return {
    type: `urn:portcullis:reason:${refused.reason}`,
    title,
    status,
    detail: maskTokens(refused.detail),
    reason: refused.reason,
    request_id: requestId,
    ...(refused.errors === undefined ? {} : { errors: refused.errors.map(masked) }),
    ...refused.members,
  };
}

/** Errors repeat what a client sent, and somebody may put a token where a name belongs. */
function masked({ path, message }: FieldError): FieldError {
  return { path: maskTokens(path), message: maskTokens(message) };
}

/** Seconds for `Retry-After`, or null where a repeat makes no sense. */
export function retryAfterOf(reason: AdminReason): number | null {
  if (isTrafficReason(reason)) return REASONS[reason].retryAfter;
  return reason === 'audit_unavailable' || reason === 'idempotency_in_progress' ? 1 : null;
}

function entryOf(reason: AdminReason): { readonly status: number; readonly title: string } {
  return isTrafficReason(reason) ? REASONS[reason] : ADMIN_REASONS[reason];
}

function isTrafficReason(reason: AdminReason): reason is Reason {
  return Object.hasOwn(REASONS, reason);
}
