import type { IntrospectionResult } from '../model/introspection-result.ts';
import type { Reason } from '../model/reason.ts';
import type { TokenStatus } from '../model/token-record.ts';

/**
 * What the rooms report. Every label value comes from the operator's files or from closed lists, never from a
 * client: `api` and `rule` are names of the policy, or `-` where none matched. Times are seconds.
 */
export interface Metrics {
  request(api: string, rule: string, decision: 'allow' | 'deny' | 'would_deny', reason: Reason | 'ok'): void;
  response(api: string, status: number): void;
  decisionSeconds(seconds: number): void;
  requestSeconds(api: string, seconds: number): void;
  upstreamSeconds(upstream: string, seconds: number): void;
  /** `change` is +1 or -1. */
  inFlight(api: string, change: 1 | -1): void;
  streamsOpen(api: string, change: 1 | -1): void;
  tokenEvent(event: 'issued' | 'rotated' | 'revoked' | 'narrowed' | 'expired' | 'reuse' | 'expiring'): void;
  tokens(counts: readonly { readonly class: string; readonly status: TokenStatus; readonly count: number }[]): void;
  tokensExpiring(
    counts: readonly { readonly class: string; readonly withinMs: number; readonly count: number }[],
  ): void;
  revocationPropagationSeconds(seconds: number): void;
  storeUp(up: boolean): void;
  storeLeaseValid(valid: boolean): void;
  storeOperationSeconds(operation: string, seconds: number): void;
  cacheHit(): void;
  cacheMiss(): void;
  staleAnswer(): void;
  auditEvent(sink: string): void;
  auditDropped(sink: string): void;
  policyInfo(version: string): void;
  policyReload(result: 'success' | 'failure'): void;
  introspection(server: string, result: IntrospectionResult): void;
  tlsReload(result: 'success' | 'failure'): void;
  /** End of the listener's certificate, milliseconds since the epoch. */
  tlsCertificateExpires(at: number): void;
  jwksRefresh(issuer: string, result: 'success' | 'failure'): void;
}
