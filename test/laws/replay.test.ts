import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalEvent } from '../../src/audit/event.ts';
import { canonicalJson } from '../../src/base/canonical-json.ts';
import { rfc3339 } from '../../src/base/encoding.ts';
import { canonicalTarget } from '../../src/gateway/canonical-path.ts';
import { withToken } from '../../src/gateway/decision-basis.ts';
import type { AuditEventInput } from '../../src/model/audit-event.ts';
import type { Principal } from '../../src/model/principal.ts';
import type { CompiledPolicy, PolicyRequest } from '../../src/policy/compiled-policy.ts';
import { decide } from '../../src/policy/decide.ts';
import { type RecordedEvent, readRecordedRequest } from '../../src/policy/recorded-request.ts';
import { redecide } from '../../src/policy/replay.ts';
import { policyOf } from '../policy/policy-fixture.ts';

const HOUR_MS = 3_600_000;

const rules = (scope: string, when: string, mode: string): CompiledPolicy =>
  policyOf({
    'orders.yaml': `api: orders
upstream: orders
base: /orders
mode: ${mode}
rules:
  - { name: read, methods: [GET], path: [/, "/{id}"], scopes: [${scope}] }
  - { name: conditions, path: "/{tenant}/{rest...}", any_of: [${scope}, orders:admin], when: { ${when} } }
  - { name: health, path: /health, public: true }`,
    'roles.yaml': 'roles: { reader: { scopes: [orders:read] }, writer: { scopes: ["orders:*"], includes: [reader] } }',
  });

const policies = [
  rules('orders:read', 'ip: [10.0.0.0/8], claims: { tenant: "{tenant}" }', 'enforce'),
  rules('orders:list', 'claims: { path: "{rest}", level: 3, sub: ann }, token_type: [opaque]', 'report'),
  rules(
    'orders:read',
    'time: { days: mon-fri, hours: "22:00-06:00", zone: Europe/Berlin }, max_token_age: 1d',
    'enforce',
  ),
];

const claimValue = fc.oneof(
  fc.constantFrom('acme', 'x/y', 3, true, null),
  fc.string({ unit: 'binary' }),
  fc.double(),
  fc.array(fc.oneof(fc.constantFrom('acme', 3, null), fc.string()), { maxLength: 3 }),
  fc.constant({ nested: ['thing'] }),
  fc.constant('l'.repeat(5000)),
);
const moment = fc.integer({ min: Date.UTC(2026, 0, 1), max: Date.UTC(2026, 11, 31) });

const principal: fc.Arbitrary<Principal> = fc.record({
  tokenType: fc.constantFrom('opaque', 'jwt'),
  tokenId: fc.constant('A1b2C3d4E5f6'),
  subject: fc.option(fc.oneof(fc.constant('ann'), fc.string())),
  owner: fc.option(fc.string()),
  class: fc.option(fc.constantFrom('admin', 'service')),
  scopes: fc.array(
    fc.constantFrom('orders:read', 'orders:list', 'orders:*', '*', 'orders', 'pct_prod_A1b2C3d4E5f6s3s3s3s3s3'),
    {
      maxLength: 3,
    },
  ),
  roles: fc.array(fc.constantFrom('reader', 'writer', 'nobody', '__proto__'), { maxLength: 2 }),
  claims: fc.oneof(
    fc.constant({ tenant: 'acme', path: 'x/y', level: 3 }),
    fc.dictionary(fc.constantFrom('tenant', 'path', 'level', 'sub', '__proto__', '10', '9', 'toString'), claimValue),
  ),
  ip: fc.oneof(fc.constant([]), fc.constant(['10.0.0.0/8']), fc.constant(['nowhere'])),
  issuedAt: moment,
  expiresAt: moment,
  supersededUntil: fc.constant(null),
  foreign: fc.constant(null),
  confirmation: fc.constant(null),
});

const request: fc.Arbitrary<PolicyRequest> = fc.record({
  method: fc.constantFrom('GET', 'POST', 'OPTIONS', 'get'),
  host: fc.constantFrom('localhost', 'api.example', ''),
  path: fc
    .oneof(
      fc.constantFrom(
        '/orders',
        '/orders/7',
        '/orders/acme/x/y',
        '/orders/%61cme/x/y/',
        '/orders/health',
        '/orders/acme;v/x',
        '/',
      ),
      fc.constantFrom('/orders/of_test_A1b2C3d4E5f6s3s3s3s3s3/x', '/elsewhere'),
      fc.webPath().map((path) => `/orders${path}`),
    )
    .map((path) => canonicalTarget(path))
    .map((target) => (target.ok ? target.path : '/')),
  ip: fc.constantFrom('10.1.2.3', '192.0.2.1', '2001:db8::1', ''),
});

/** The line of the audit trail that the gateway would write, read back. */
function recorded(policy: CompiledPolicy, ask: PolicyRequest, who: Principal, now: number): RecordedEvent {
  const decision = decide(policy, policy.routes.match(ask), ask, who, now);
  const denied = decision.effect === 'deny';
  const event: AuditEventInput = {
    type: !denied ? 'access.allowed' : decision.reportOnly ? 'access.would_deny' : 'access.denied',
    outcome: denied && !decision.reportOnly ? 'failure' : 'success',
    reason: denied ? decision.reason : undefined,
    policy: policy.version,
    token_id: who.tokenId,
    token_type: who.tokenType,
    subject: who.subject ?? undefined,
    owner: who.owner ?? undefined,
    ...ask,
    details: withToken(who, now),
  };
  const text = canonicalEvent(event, rfc3339(now + 5 * HOUR_MS), 1);
  expect(canonicalJson(JSON.parse(text))).toBe(text);
  return JSON.parse(text);
}

describe('a recorded request decided again', () => {
  it('comes out as it was under the same policies, and as it would under others, or says that it cannot', () => {
    let decided = 0;
    let flipped = 0;
    let undecidable = 0;
    const any = fc.constantFrom(...policies);
    fc.assert(
      fc.property(any, any, request, principal, moment, (then, other, ask, who, now) => {
        if (then.routes.ambiguous(ask)) return;
        const read = readRecordedRequest(recorded(then, ask, who, now));
        if (read === null) throw new Error('the event is not of a request');
        for (const policy of [then, other]) {
          const again = redecide(policy, read, { enforce: false });
          if (again.kind !== 'decided') {
            undecidable += 1;
            continue;
          }
          decided += 1;
          const wanted = policy.routes.ambiguous(ask) ? null : decide(policy, policy.routes.match(ask), ask, who, now);
          const outcome =
            wanted === null ? 'deny' : wanted.effect === 'allow' ? 'allow' : wanted.reportOnly ? 'would_deny' : 'deny';
          expect([again.outcome, again.rule?.id]).toEqual([outcome, wanted?.rule?.id]);
          if (wanted?.effect === 'deny') expect(again.reason).toBe(wanted.reason);
          if (policy === then) expect(again.outcome).toBe(read.outcome);
          else if (again.outcome !== read.outcome) flipped += 1;
        }
      }),
      { numRuns: 1500 },
    );
    // The property would also hold for one that decides nothing.
    expect([decided > 800, flipped > 50, undecidable > 0]).toEqual([true, true, true]);
  });

  it('is never guessed at: whatever an event holds, the result is a decision or the lack of one', () => {
    const event = fc.record({
      type: fc.constantFrom('access.allowed', 'access.denied', 'access.would_deny', 'token.issued'),
      method: fc.oneof(fc.constantFrom('GET', 'OPTIONS'), fc.anything()),
      path: fc.oneof(fc.constantFrom('/orders', '/orders/acme/x'), fc.anything()),
      host: fc.anything(),
      ip: fc.anything(),
      reason: fc.oneof(fc.constantFrom('token_missing', 'token_expired', 'rate_limited'), fc.anything()),
      token_type: fc.constantFrom('opaque', 'other', undefined),
      details: fc.oneof(
        fc.anything(),
        fc.record({
          decided_at: fc.oneof(fc.integer(), fc.anything()),
          credential: fc.oneof(fc.constantFrom('none', 'unread'), fc.anything()),
          token: fc.oneof(
            fc.anything(),
            fc.record({
              scopes: fc.array(fc.string()),
              issued_at: fc.integer(),
              claims: fc.anything(),
              ip: fc.anything(),
            }),
          ),
        }),
      ),
    });
    fc.assert(
      fc.property(event, (line) => {
        const read = readRecordedRequest({ outcome: 'success', time: 'x', ...line } as RecordedEvent);
        if (read === null) return;
        expect(['decided', 'undecidable', 'outside']).toContain(
          redecide(policies[0] as CompiledPolicy, read, { enforce: true }).kind,
        );
      }),
      { numRuns: 800 },
    );
  });
});
