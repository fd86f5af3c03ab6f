import { canonicalTarget } from '../src/gateway/canonical-path.ts';
import type { Principal } from '../src/model/principal.ts';
import { compilePolicy } from '../src/policy/compile.ts';
import type { CompiledPolicy } from '../src/policy/compiled-policy.ts';
import { decide } from '../src/policy/decide.ts';
import { policyText } from './gateway.ts';
import { median } from './statistics.ts';

/** One request, over and over: from the request-target to the decision, with everything that needs no connection. */
export interface DecisionCase {
  readonly name: string;
  readonly rules: number;
  readonly target: string;
}

export const DECISION_CASES: readonly DecisionCase[] = [
  { name: 'literal path, 10 rules', rules: 10, target: '/items' },
  { name: 'path with a name, 10 rules', rules: 10, target: '/items/1042?expand=owner' },
  { name: 'literal path, 1,000 rules', rules: 1_000, target: '/items' },
  { name: 'path with a name, 1,000 rules', rules: 1_000, target: '/items/1042?expand=owner' },
  { name: 'path to be made canonical, 1,000 rules', rules: 1_000, target: '/a/..//items/%7e1042?expand=owner' },
];

const BATCHES = 5;

/** Median over some batches, microseconds of this thread's CPU time for one decision. Throws when it is not an allow. */
export function decisionMicroseconds(each: DecisionCase, perBatch: number): number {
  const decideOnce = decider(each);
  for (let i = 0; i < perBatch; i += 1) decideOnce();
  const batches = Array.from({ length: BATCHES }, () => {
    const begun = process.threadCpuUsage();
    for (let i = 0; i < perBatch; i += 1) decideOnce();
    const { user, system } = process.threadCpuUsage(begun);
    return (user + system) / perBatch;
  });
  return median(batches);
}

function decider({ rules, target }: DecisionCase): () => void {
  const policy = policyOf(rules);
  const now = Date.now();
  return () => {
    const path = canonicalTarget(target);
    if (!path.ok) throw new Error(path.reason);
    const request = { method: 'GET', host: 'api.example.com', path: path.path, ip: '127.0.0.1' };
    if (policy.routes.ambiguous(request)) throw new Error('ambiguous');
    const decision = decide(policy, policy.routes.match(request), request, PRINCIPAL, now);
    if (decision.effect !== 'allow') throw new Error(decision.detail);
  };
}

function policyOf(rules: number): CompiledPolicy {
  const file = { name: 'policies/items.yaml', text: policyText(rules - 10) };
  const { policy, diagnostics } = compilePolicy([file], { upstreams: null });
  if (policy === null) throw new Error(JSON.stringify(diagnostics));
  return policy;
}

const PRINCIPAL: Principal = {
  tokenType: 'opaque',
  tokenId: 'aaaaaaaaaaaa',
  subject: 'bench',
  owner: 'bench',
  class: 'service',
  scopes: ['items:read', 'items:write'],
  roles: [],
  claims: {},
  ip: [],
  issuedAt: 0,
  expiresAt: Number.MAX_SAFE_INTEGER,
  supersededUntil: null,
  foreign: null,
  confirmation: null,
};

if (import.meta.main) {
  const perBatch = Number(process.argv[2]);
  const found = DECISION_CASES.map((each) => [each.name, decisionMicroseconds(each, perBatch)]);
  process.stdout.write(`${JSON.stringify(found)}\n`);
}
