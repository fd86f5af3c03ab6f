import { describe, expect, it } from 'vitest';
import { apiOf, inShort, judge, policyOf, request } from './policy-fixture.ts';

const RULES = `  - { name: read, methods: [GET], path: ["/", "/{id}"], scopes: [orders:read] }
  - { name: both, methods: [PUT], path: /, scopes: [orders:read, orders:write] }
  - { name: either, methods: [POST], path: /, any_of: [orders:write, orders:admin] }
  - { name: any token, methods: [PATCH], path: / }
  - { name: office, methods: [GET], path: /office, scopes: { any_of: [orders:read] }, when: { ip: [10.0.0.0/8], token_type: jwt, max_token_age: 1h } }
  - { name: health, path: /health, public: true }`;
const policy = policyOf({
  'orders.yaml': `api: orders\nupstream: orders\nbase: /orders\nrules:\n${RULES}`,
  'roles.yaml': 'roles: { support: { scopes: [orders:read] }, lead: { scopes: [orders:write], includes: [support] } }',
});

describe('a decision', () => {
  it.each([
    // Without a token nobody learns what is declared.
    ['GET /orders', null, 'deny token_missing orders/read'],
    ['GET /orders/a/b', null, 'deny token_missing no rule'],
    ['GET /elsewhere', null, 'deny token_missing no rule'],
    ['DELETE /orders/health', null, 'allow orders/health'],
    ['GET /orders/health', { ip: ['192.0.2.1'] }, 'allow orders/health'],
    ['GET /elsewhere', { scopes: ['orders:*'] }, 'deny route_not_declared no rule'],
    ['DELETE /orders', { scopes: ['orders:*'] }, 'deny route_not_declared no rule'],
    ['HEAD /orders', { scopes: ['orders:*'] }, 'deny route_not_declared no rule'],
    ['GET /orders', { scopes: ['orders:read'] }, 'allow orders/read'],
    ['GET /orders', { scopes: ['orders:write'] }, 'deny scope_insufficient orders/read'],
    ['GET /orders', { scopes: ['*'] }, 'deny scope_insufficient orders/read'],
    ['GET /orders', { scopes: ['*'], class: 'service' }, 'deny scope_insufficient orders/read'],
    ['GET /orders', { scopes: ['*'], class: 'admin' }, 'allow orders/read'],
    ['GET /orders', { roles: ['support'] }, 'allow orders/read'],
    ['GET /orders', { roles: ['lead'] }, 'allow orders/read'],
    ['GET /orders', { roles: ['Support', '__proto__', 'nobody'] }, 'deny scope_insufficient orders/read'],
    ['PUT /orders', { scopes: ['orders:read'] }, 'deny scope_insufficient orders/both'],
    ['PUT /orders', { scopes: ['orders:write'], roles: ['support'] }, 'allow orders/both'],
    ['POST /orders', { scopes: ['orders:admin'] }, 'allow orders/either'],
    ['POST /orders', { scopes: ['orders:read'] }, 'deny scope_insufficient orders/either'],
    ['PATCH /orders', {}, 'allow orders/any token'],
    ['GET /orders', { scopes: ['orders:read'], ip: ['192.0.2.0/24'] }, 'deny condition_failed ip orders/read'],
    ['GET /orders', { ip: ['not an address'] }, 'deny condition_failed ip orders/read'],
    ['GET /orders', { scopes: ['orders:read'], ip: ['192.0.2.0/24', '127.0.0.0/8'] }, 'allow orders/read'],
  ] as const)('%s with %j: %s', (line, token, expected) => {
    expect(inShort(judge(policy, request(line), token))).toBe(expected);
  });

  it('judges conditions in their order, after scopes', () => {
    const ask = (ip: string, token: Parameters<typeof judge>[2]): string =>
      inShort(judge(policy, request('GET /orders/office', { ip }), token));
    expect(ask('192.0.2.1', { type: 'opaque', age: 7_200_000 })).toBe('deny scope_insufficient orders/office');
    const scopes = ['orders:read'];
    expect(ask('192.0.2.1', { scopes, type: 'opaque', age: 7_200_000 })).toBe('deny condition_failed ip orders/office');
    expect(ask('10.1.1.1', { scopes, type: 'opaque', age: 7_200_000 })).toBe(
      'deny condition_failed token_type orders/office',
    );
    expect(ask('10.1.1.1', { scopes, type: 'jwt', age: 7_200_000 })).toBe(
      'deny condition_failed max_token_age orders/office',
    );
    expect(ask('10.1.1.1', { scopes, type: 'jwt', age: 3_600_000 })).toBe('allow orders/office');
  });

  it('says what would have been needed, and only to whom may know', () => {
    expect(judge(policy, request('PUT /orders'), { scopes: [] })).toEqual({
      effect: 'deny',
      reason: 'scope_insufficient',
      detail: 'the token needs all of: orders:read, orders:write',
      condition: null,
      requiredScopes: ['orders:read', 'orders:write'],
      rule: policy.apis[0]?.rules[1],
      api: policy.apis[0],
      reportOnly: false,
      params: {},
    });
    expect(judge(policy, request('PUT /orders'), null)).toMatchObject({
      requiredScopes: [],
      detail: 'the request carries no token',
    });
    const office = judge(policy, request('GET /orders/office'), { scopes: ['orders:read'] });
    expect(office).toMatchObject({ condition: 'ip', detail: 'condition ip is not met', requiredScopes: [] });
  });

  it('carries the parameters', () => {
    const decision = judge(policy, request('GET /orders/a%2Bb'), { scopes: ['orders:read'] });
    expect(decision).toMatchObject({ effect: 'allow', params: { id: 'a+b' } });
  });
});

describe('report mode', () => {
  const reporting = apiOf(
    `  - { name: read, methods: [GET], path: /, scopes: [orders:read] }
  - { name: write, methods: [POST], path: /, scopes: [orders:write], mode: enforce }`,
    'api: orders\nupstream: orders\nmode: report',
  );

  it.each([
    ['GET /', { scopes: ['orders:read'] }, 'allow orders/read'],
    ['GET /', {}, 'deny scope_insufficient orders/read (reported only)'],
    ['GET /undeclared', {}, 'deny route_not_declared no rule (reported only)'],
    ['POST /', {}, 'deny scope_insufficient orders/write'],
    // Neither the lack of a token nor its own bounds are the policy's to waive.
    ['GET /', null, 'deny token_missing orders/read'],
    ['GET /undeclared', null, 'deny token_missing no rule'],
    ['GET /', { ip: ['192.0.2.1'] }, 'deny condition_failed ip orders/read'],
    ['GET /undeclared', { ip: ['192.0.2.1'] }, 'deny route_not_declared no rule'],
  ] as const)('%s with %j: %s', (line, token, expected) => {
    expect(inShort(judge(reporting, request(line), token))).toBe(expected);
  });

  it('of one rule leaves the others in force', () => {
    const mixed = apiOf(
      '  - { name: new, path: /new, scopes: [a], mode: report }\n  - { name: old, path: /old, scopes: [a] }',
    );
    expect(inShort(judge(mixed, request('GET /new'), {}))).toBe('deny scope_insufficient orders/new (reported only)');
    expect(inShort(judge(mixed, request('GET /old'), {}))).toBe('deny scope_insufficient orders/old');
    expect(inShort(judge(mixed, request('GET /none'), {}))).toBe('deny route_not_declared no rule');
  });
});
