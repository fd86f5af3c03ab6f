import type { Principal } from '../model/principal.ts';
import type { AllowDecision, CompiledApi, CompiledRule, DenyDecision } from '../policy/compiled-policy.ts';

const MINT = Symbol('mint');

/**
 * Proof that the policy let a request through. Nothing is forwarded without one, and only the two functions below can
 * make one: from an allow decision, or from a deny decision of an API or rule that only reports.
 */
export class Permit {
  readonly api: CompiledApi;
  readonly rule: CompiledRule | null;
  readonly principal: Principal | null;

  constructor(mint: typeof MINT, api: CompiledApi, rule: CompiledRule | null, principal: Principal | null) {
    if (mint !== MINT) throw new TypeError('a permit is made by a decision only');
    this.api = api;
    this.rule = rule;
    this.principal = principal;
  }
}

export function permitAllowed(decision: AllowDecision, principal: Principal | null): Permit {
  return new Permit(MINT, decision.api, decision.rule, principal);
}

/** Null where the decision is to be enforced. A valid token is needed all the same. */
export function permitReported(decision: DenyDecision, principal: Principal): Permit | null {
  if (!decision.reportOnly || decision.api === null) return null;
  return new Permit(MINT, decision.api, decision.rule, principal);
}
