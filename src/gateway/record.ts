import type { AuditEventInput } from '../model/audit-event.ts';
import { decisionBasis, type TokenBases } from './decision-basis.ts';
import type { Exchange } from './exchange.ts';
import type { GatewayOptions } from './options.ts';
import { traceIdOf } from './trace-context.ts';

/** Leaves the metric and the audit event of one request; the one place that writes either on the data plane. */
export function recordExchange(options: GatewayOptions, exchange: Exchange, bases: TokenBases): void {
  const { metrics, clock } = options;
  const api = exchange.api?.name ?? '-';
  const rule = exchange.rule?.name ?? '-';
  const allowed = exchange.forwarded || exchange.served;
  const durationMs = clock.monotonic() - exchange.startedAt;
  metrics.request(
    api,
    rule,
    exchange.wouldDeny !== null ? 'would_deny' : allowed ? 'allow' : 'deny',
    exchange.wouldDeny ?? exchange.reason ?? 'ok',
  );
  if (exchange.status !== 0) metrics.response(api, exchange.status);
  metrics.requestSeconds(api, durationMs / 1000);
  options.audit.record(accessEvent(exchange, allowed, durationMs, bases));
}

function accessEvent(exchange: Exchange, allowed: boolean, durationMs: number, bases: TokenBases): AuditEventInput {
  const { principal } = exchange;
  const reason = exchange.wouldDeny ?? exchange.reason ?? exchange.ownReason;
  return {
    type: exchange.wouldDeny !== null ? 'access.would_deny' : allowed ? 'access.allowed' : 'access.denied',
    outcome: allowed && exchange.reason === null && exchange.ownReason === null ? 'success' : 'failure',
    reason: reason ?? undefined,
    request_id: exchange.requestId,
    trace_id: exchange.traceparent === null ? undefined : traceIdOf(exchange.traceparent),
    api: exchange.api?.name,
    rule: exchange.rule?.name,
    policy: exchange.policyVersion ?? undefined,
    token_id: exchange.tokenId ?? undefined,
    token_type: principal?.tokenType,
    subject: principal?.subject ?? undefined,
    owner: principal?.owner ?? undefined,
    ip: exchange.client === '' ? undefined : exchange.client,
    method: exchange.method === '' ? undefined : exchange.method,
    host: exchange.host === '' ? undefined : exchange.host,
    path: exchange.path === '' ? undefined : exchange.path,
    status: exchange.status === 0 ? undefined : exchange.status,
    bytes_in: exchange.bytesIn,
    bytes_out: exchange.bytesOut,
    duration_ms: round(durationMs),
    upstream_ms:
      exchange.upstreamAnsweredAt === 0 ? undefined : round(exchange.upstreamAnsweredAt - exchange.upstreamStartedAt),
    details: decisionBasis(exchange, bases),
  };
}

/** Microseconds are as fine as a person reads. */
function round(milliseconds: number): number {
  return Math.round(milliseconds * 1000) / 1000;
}
