import type { ConditionName } from '../model/condition.ts';
import type { Reason } from '../model/reason.ts';

/** Why a request is not forwarded, with what the client may know about it. */
export interface Refusal {
  readonly reason: Reason;
  readonly detail: string | null;
  /** What would have been needed; for the `scope` attribute of the challenge (RFC 6750 §3). */
  readonly requiredScopes: readonly string[];
  readonly condition: ConditionName | null;
  /** More fields of the answer, name and value in turn. */
  readonly headers: readonly string[];
}

const NOTHING: readonly string[] = [];

export function refuse(
  reason: Reason,
  detail: string | null = null,
  more: { requiredScopes?: readonly string[]; condition?: ConditionName | null; headers?: readonly string[] } = {},
): Refusal {
  return {
    reason,
    detail,
    requiredScopes: more.requiredScopes ?? NOTHING,
    condition: more.condition ?? null,
    headers: more.headers ?? NOTHING,
  };
}
