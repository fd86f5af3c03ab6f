import { formatDiagnostic } from '../../src/base/diagnostic.ts';
import { compilePolicy } from '../../src/policy/compile.ts';
import type { CompiledPolicy, Decision, PolicyRequest } from '../../src/policy/compiled-policy.ts';
import { decide } from '../../src/policy/decide.ts';
import { type SampleToken, samplePrincipal } from '../../src/policy/sample-principal.ts';

/** A Monday, 09:30 in UTC. */
export const MONDAY = Date.UTC(2026, 2, 2, 9, 30);

/** The policy of these files; throws, with every diagnostic, where there is none. */
export function policyOf(files: Readonly<Record<string, string>>): CompiledPolicy {
  const given = Object.entries(files).map(([name, text]) => ({ name, text }));
  const { policy, diagnostics } = compilePolicy(given, { upstreams: null });
  if (policy === null) throw new Error(diagnostics.map(formatDiagnostic).join('\n'));
  return policy;
}

/** The policy of one API with these rules, written in YAML. */
export function apiOf(rules: string, head = 'api: orders\nupstream: orders'): CompiledPolicy {
  return policyOf({ 'orders.yaml': `${head}\nrules:\n${rules}` });
}

/** `GET /a` → a request from 127.0.0.1 for localhost. */
export function request(line: string, more: Partial<PolicyRequest> = {}): PolicyRequest {
  const [method = '', path = ''] = line.split(' ');
  return { method, path, host: 'localhost', ip: '127.0.0.1', ...more };
}

export function judge(policy: CompiledPolicy, asked: PolicyRequest, token: SampleToken | null, now = MONDAY): Decision {
  const principal = token === null ? null : samplePrincipal(token, now);
  return decide(policy, policy.routes.match(asked), asked, principal, now);
}

/** A decision in a few words: `allow orders/read`, `deny condition_failed ip orders/read`. */
export function inShort(decision: Decision): string {
  const rule = decision.rule?.id ?? 'no rule';
  if (decision.effect === 'allow') return `allow ${rule}`;
  const words = ['deny', decision.reason, decision.condition, rule, decision.reportOnly ? '(reported only)' : null];
  return words.filter((word) => word !== null).join(' ');
}
