import { describe, expect, it } from 'vitest';
import type { CompiledPolicy, PolicyRequest } from '../../src/policy/compiled-policy.ts';
import { apiOf, policyOf, request } from './policy-fixture.ts';

/** `rule {params}`, `api undeclared`, or `nobody`. */
function route(policy: CompiledPolicy, line: string, more: Partial<PolicyRequest> = {}): string {
  const match = policy.routes.match(request(line, more));
  if (match === null) return 'nobody';
  if (match.rule === null) return `${match.api.name} undeclared`;
  return `${match.rule.name} ${JSON.stringify(match.params)}`;
}

describe('which rule judges', () => {
  const policy = apiOf(
    `  - { name: base, path: / }
  - { name: list, methods: [GET, HEAD], path: /list/ }
  - { name: one, methods: [GET], path: "/{id}" }
  - { name: rest, path: "/{rest...}" }
  - { name: literal below name, path: "/{id}/items" }
  - { name: name below literal, path: "/list/{item}" }
  - { name: encoded, path: /a%2Bb }
  - { name: prototype, path: [/__proto__, /constructor] }
  - { name: prototype parameters, path: "/p/{__proto__}/{constructor}" }`,
    'api: orders\nupstream: orders\nbase: /orders',
  );

  it.each([
    ['GET /orders', 'base {}'],
    ['GET /orders/', 'base {}'],
    ['GET /orders/list', 'list {}'],
    ['GET /orders/list/', 'list {}'],
    ['GET /orders/List', 'one {"id":"List"}'],
    ['POST /orders/list', 'rest {"rest":"list"}'],
    ['GET /orders/7', 'one {"id":"7"}'],
    ['GET /orders/7/', 'one {"id":"7"}'],
    ['HEAD /orders/7', 'rest {"rest":"7"}'],
    ['get /orders/7', 'rest {"rest":"7"}'],
    ['GET /orders/7/items', 'literal below name {"id":"7"}'],
    ['GET /orders/list/items', 'name below literal {"item":"items"}'],
    ['GET /orders/7/8/9/', 'rest {"rest":"7/8/9"}'],
    ['GET /orders/list/8/9', 'rest {"rest":"list/8/9"}'],
    ['GET /orders/a+b', 'encoded {}'],
    ['GET /orders/a%2Bb', 'encoded {}'],
    ['GET /orders/l%69st', 'list {}'],
    ['GET /orders/%E2%82%AC%2B', 'one {"id":"€+"}'],
    ['GET /orders/%25', 'one {"id":"%"}'],
    ['GET /orders/%2541', 'one {"id":"%41"}'],
    ['GET /orders/__proto__', 'prototype {}'],
    ['GET /orders/constructor', 'prototype {}'],
    ['GET /orders/p/x/y', 'prototype parameters {"__proto__":"x","constructor":"y"}'],
    ['GET /orders/hasOwnProperty', 'one {"id":"hasOwnProperty"}'],
    ['GET /', 'nobody'],
    ['GET /order', 'nobody'],
    ['GET /ordersx', 'nobody'],
  ])('%s: %s', (line, expected) => {
    expect(route(policy, line)).toBe(expected);
  });

  it.each([
    '',
    '*',
    'orders',
    '/orders//list',
    '//orders',
    '/orders/%zz',
    '/orders/%C3',
    '/orders/a%2Fb',
    '/orders/a%5Cb',
    '/orders/a%00',
  ])('what is not canonical belongs to nobody: %j', (path) => {
    expect(policy.routes.match({ ...request('GET /'), path })).toBeNull();
  });
});

describe('hosts', () => {
  const policy = policyOf({
    'a.yaml': 'api: everywhere\nupstream: a\nrules: [ { name: all, path: "/{rest...}" }, { name: exact, path: /x } ]',
    'b.yaml':
      'api: own\nupstream: b\nhosts: [API.example.com, "[::1]"]\nrules: [ { name: own, methods: [GET], path: "/{any}" } ]',
  });

  it.each([
    ['GET /x', 'localhost', 'exact {}'],
    ['GET /x', 'api.example.com', 'own {"any":"x"}'],
    ['GET /x', 'api.example.com.', 'own {"any":"x"}'],
    ['GET /x', '[::1]', 'own {"any":"x"}'],
    ['POST /x', 'api.example.com', 'exact {}'],
    ['GET /x/y', 'api.example.com', 'all {"rest":"x/y"}'],
    ['GET /', 'api.example.com', 'own undeclared'],
    ['GET /', 'localhost', 'everywhere undeclared'],
  ])('%s on %s: %s', (line, host, expected) => {
    expect(route(policy, line, { host })).toBe(expected);
  });
});

describe('the owner of an undeclared path', () => {
  const rule = 'rules: [ { name: only, path: /only } ]';
  const policy = policyOf({
    'a.yaml': `api: outer\nupstream: a\nbase: /a\n${rule}`,
    'b.yaml': `api: inner\nupstream: a\nbase: /a/b\n${rule}`,
    'c.yaml': 'api: reporting\nupstream: a\nbase: /c\nmode: report\nrules: [ { name: one, path: /one } ]',
    'd.yaml': 'api: sharing\nupstream: a\nbase: /c\nrules: [ { name: two, path: /two } ]',
  });

  it.each([
    ['GET /a', 'outer undeclared'],
    ['GET /a/x', 'outer undeclared'],
    ['GET /a/b/', 'inner undeclared'],
    ['GET /a/%62/x', 'inner undeclared'],
    ['GET /a/bx', 'outer undeclared'],
    ['GET /b', 'nobody'],
    // Of two with the same base the one that enforces owns: deny first.
    ['GET /c/x', 'sharing undeclared'],
  ])('%s: %s', (line, expected) => {
    expect(route(policy, line)).toBe(expected);
  });
});

describe('a path that reads differently without its ;parameters (RFC 3986 §3.3)', () => {
  const policy = apiOf(`  - { name: admin, path: "/admin/{rest...}" }
  - { name: any, path: "/{any}" }
  - { name: deep, path: "/{any}/{more}" }
  - { name: tenant, path: "/t/{tenant}/{id}", when: { claims: { tenant: "{tenant}" } } }
  - { name: export, path: /export }`);

  it.each([
    ['/x', false],
    ['/x;v=1', false],
    ['/x;v=1/y;w', false],
    ['/export;v=1', true],
    ['/export%3Bv=1', true],
    ['/export%3bv', true],
    ['/admin;x/secret', true],
    ['/;x/admin/secret', true],
    ['/;/export', true],
    ['/x/;', true],
    ['/x/..;/export', true],
    ['/x/..%3B/export', true],
    ['/..;/x', true],
    ['/x/y/.;/', true],
    // The same rule, but its condition would see another tenant.
    ['/t/acme;x/1', true],
    ['/t/acme/1;x', false],
    ['/undeclared/a/b;c/d', false],
    ['/admin/a;b', false],
  ])('%s: %s', (path, expected) => {
    expect(policy.routes.ambiguous(request(`GET ${path}`))).toBe(expected);
  });
});

describe('a thousand rules', () => {
  it('are found like ten', () => {
    const lines = Array.from(
      { length: 1000 },
      (_, i) => `  - { name: "r${i}", path: ["/v1/r${i}/{id}", "/v1/r${i}"] }`,
    );
    const policy = apiOf(lines.join('\n'));
    expect(route(policy, 'GET /v1/r999/7')).toBe('r999 {"id":"7"}');
    expect(route(policy, 'GET /v1/r500')).toBe('r500 {}');
    expect(route(policy, 'GET /v1/r1000')).toBe('orders undeclared');
  });

  it('allocate nothing without parameters: the answer is the same object', () => {
    const policy = apiOf('  - { name: list, path: /list }\n  - { name: one, path: "/one/{id}" }');
    expect(policy.routes.match(request('GET /list'))).toBe(policy.routes.match(request('POST /list/')));
  });
});
