import { describe, expect, it } from 'vitest';
import { explain } from '../../src/policy/explain.ts';
import { samplePrincipal } from '../../src/policy/sample-principal.ts';
import { apiOf, inShort, MONDAY, request } from './policy-fixture.ts';

const policy =
  apiOf(`  - { name: read, methods: [GET], path: "/{t}/{id}", scopes: [orders:read], when: { ip: [10.0.0.0/8], claims: { tenant: "{t}" }, max_token_age: 1h } }
  - { name: admin, path: /admin }
  - { name: health, path: /health, public: true }`);

describe('an explanation', () => {
  it('shows every step, also behind the first that failed', () => {
    const token = { scopes: ['orders:*'], claims: { tenant: 'acme' }, ip: ['192.0.2.0/24'] };
    const { decision, ambiguous, steps } = explain(
      policy,
      request('GET /acme/7', { ip: '192.0.2.1' }),
      samplePrincipal(token, MONDAY),
      MONDAY,
    );
    expect(inShort(decision)).toBe('deny condition_failed ip orders/read');
    expect(ambiguous).toBe(false);
    expect(steps).toEqual([
      { step: 'route', outcome: 'pass', text: 'rule "read" (/{t}/{id}) at orders.yaml:4' },
      { step: 'token', outcome: 'pass', text: 'token sample (opaque)' },
      { step: 'token_ip', outcome: 'pass', text: "the token's own blocks 192.0.2.0/24; the client is 192.0.2.1" },
      { step: 'scopes', outcome: 'pass', text: 'all of orders:read; the token holds orders:*' },
      { step: 'ip', outcome: 'fail', text: 'ip in 10.0.0.0/8' },
      { step: 'claims', outcome: 'pass', text: 'claim tenant is {t}' },
      { step: 'max_token_age', outcome: 'pass', text: 'token not older than 1h' },
    ]);
  });

  it('of a request without a token leaves the conditions unjudged', () => {
    const { decision, steps } = explain(policy, request('GET /acme/7'), null, MONDAY);
    expect(inShort(decision)).toBe('deny token_missing orders/read');
    expect(steps.map(({ step, outcome }) => `${step} ${outcome}`)).toEqual([
      'route pass',
      'token fail',
      'ip unjudged',
      'claims unjudged',
      'max_token_age unjudged',
    ]);
  });

  it('of public, undeclared and ambiguous requests ends early', () => {
    const shown = (line: string): string[] =>
      explain(policy, request(line), null, MONDAY).steps.map(
        ({ step, outcome, text }) => `${step} ${outcome}: ${text}`,
      );
    expect(shown('GET /health')).toEqual([
      'route pass: rule "health" (/health) at orders.yaml:6, public: no token needed',
    ]);
    expect(shown('GET /none')).toEqual([
      'route fail: no rule of api orders declares GET /none',
      'token fail: the request carries no token',
    ]);
    expect(shown('GET /admin;x')[0]).toBe('path fail: /admin;x reads differently without its ;parameters');
    expect(explain(policy, request('GET /admin;x'), null, MONDAY).ambiguous).toBe(true);
  });
});
