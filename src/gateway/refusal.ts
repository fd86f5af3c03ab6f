import type { ConditionName } from '../model/condition.ts';
import type { Reason } from '../model/reason.ts';

/** Error codes of RFC 9449 §7.1 and §9, beside those of RFC 6750; with one of them the challenge is for DPoP. */
export type ProofError = 'invalid_dpop_proof' | 'invalid_token' | 'use_dpop_nonce';

/** Why a request is not forwarded, with what the client may know about it. */
export interface Refusal {
  readonly reason: Reason;
  readonly detail: string | null;
  /** What would have been needed; for the `scope` attribute of the challenge (RFC 6750 §3). */
  readonly requiredScopes: readonly string[];
  readonly condition: ConditionName | null;
  /** What is wrong with the proof of possession; null where nothing is. */
  readonly proofError: ProofError | null;
  /** More fields of the answer, name and value in turn. */
  readonly headers: readonly string[];
}

const NOTHING: readonly string[] = [];

export function refuse(
  reason: Reason,
  detail: string | null = null,
  more: Partial<Pick<Refusal, 'requiredScopes' | 'condition' | 'proofError' | 'headers'>> = {},
): Refusal {
  return {
    reason,
    detail,
    requiredScopes: more.requiredScopes ?? NOTHING,
    condition: more.condition ?? null,
    proofError: more.proofError ?? null,
    headers: more.headers ?? NOTHING,
  };
}
