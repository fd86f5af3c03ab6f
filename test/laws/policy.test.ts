import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CONDITION_NAMES } from '../../src/model/condition.ts';
import type { Principal } from '../../src/model/principal.ts';
import { compilePolicy } from '../../src/policy/compile.ts';
import type { CompiledRule, PolicyRequest } from '../../src/policy/compiled-policy.ts';
import { decide } from '../../src/policy/decide.ts';
import { explain } from '../../src/policy/explain.ts';
import { grantsScope, scopesWithin } from '../../src/policy/scope.ts';
import { policyOf } from '../policy/policy-fixture.ts';

const METHODS = ['GET', 'POST', 'PUT'] as const;
const HOST = 'api.example.com';
/** A small alphabet, so that rules and requests meet. `+` is spelled `%2B` in half of the requests. */
const WORDS = ['a', 'b', 'c+', '__proto__'] as const;

interface WrittenRule {
  readonly methods: readonly string[] | null;
  readonly ownHost: boolean;
  readonly segments: readonly string[];
}

const writtenRule: fc.Arbitrary<WrittenRule> = fc
  .record({
    methods: fc.option(fc.uniqueArray(fc.constantFrom(...METHODS), { minLength: 1 })),
    ownHost: fc.boolean(),
    segments: fc.array(fc.constantFrom(...WORDS, '{}'), { maxLength: 4 }),
    rest: fc.boolean(),
  })
  .map(({ methods, ownHost, segments, rest }) => ({
    methods,
    ownHost,
    segments: [...segments, ...(rest ? ['{...}'] : [])].map((text, i) => text.replace('{', `{p${i}`)),
  }));

const shape = (rule: WrittenRule): string => rule.segments.map((text) => text.replace(/p\d/, '')).join('/');
const meet = (a: WrittenRule, b: WrittenRule): boolean =>
  a.methods === null || b.methods === null || a.methods.some((method) => b.methods?.includes(method));
const conflict = (a: WrittenRule, b: WrittenRule): boolean =>
  a.ownHost === b.ownHost && shape(a) === shape(b) && meet(a, b);

function compile(rules: readonly WrittenRule[]): ReturnType<typeof compilePolicy> {
  const api = (name: string, ownHost: boolean): { name: string; text: string } => ({
    name: `${name}.yaml`,
    text: JSON.stringify({
      api: name,
      upstream: 'x',
      ...(ownHost ? { hosts: [HOST] } : {}),
      rules: [
        ...rules.flatMap((rule, index) =>
          rule.ownHost === ownHost
            ? [
                {
                  name: `r${index}`,
                  path: `/${rule.segments.join('/')}`,
                  ...(rule.methods ? { methods: rule.methods } : {}),
                },
              ]
            : [],
        ),
        { name: 'so that no API is empty', path: '/never/asked/for' },
      ],
    }),
  });
  return compilePolicy([api('everywhere', false), api('own', true)], { upstreams: null });
}

/** The matcher that anybody would write: filter, then take the greatest by rank. */
function reference(
  rules: readonly WrittenRule[],
  method: string,
  host: string,
  segments: readonly string[],
): number | null {
  const rank = (rule: WrittenRule): string =>
    `${rule.ownHost ? 1 : 0}${rule.segments.map((text) => (text.endsWith('...}') ? 0 : text.startsWith('{') ? 1 : 2)).join('')}`;
  const fits = (rule: WrittenRule): boolean => {
    if (rule.ownHost && host !== HOST) return false;
    if (rule.methods !== null && !rule.methods.includes(method)) return false;
    const rest = rule.segments.at(-1)?.endsWith('...}') === true;
    if (rest ? segments.length < rule.segments.length : segments.length !== rule.segments.length) return false;
    return rule.segments.every((text, i) => text.startsWith('{') || text === segments[i]);
  };
  const found = rules.flatMap((rule, index) => (fits(rule) ? [{ index, rank: rank(rule) }] : []));
  const best = found.toSorted((a, b) => (a.rank < b.rank ? 1 : -1));
  // A total order on what matches: no two are equal, or they would have been a conflict.
  expect(new Set(found.map((entry) => entry.rank)).size).toBe(found.length);
  return best[0]?.index ?? null;
}

const asked = fc.record({
  method: fc.constantFrom(...METHODS, 'HEAD'),
  host: fc.constantFrom(HOST, 'localhost'),
  segments: fc.array(fc.constantFrom(...WORDS, 'other'), { maxLength: 5 }),
  slash: fc.boolean(),
  encoded: fc.boolean(),
});

describe('the router', () => {
  it('equals a naive reference matcher', () => {
    fc.assert(
      fc.property(
        fc.array(writtenRule, { maxLength: 12 }),
        fc.array(asked, { minLength: 1, maxLength: 20 }),
        (drawn, requests) => {
          const rules = drawn.filter((rule, index) => !drawn.slice(0, index).some((other) => conflict(rule, other)));
          const { policy, diagnostics } = compile(rules);
          expect(diagnostics).toEqual([]);
          for (const { method, host, segments, slash, encoded } of requests) {
            const spelled = segments.map((text) => (encoded ? text.replace('+', '%2B') : text));
            const path = `/${spelled.join('/')}${slash && segments.length > 0 ? '/' : ''}`;
            const match = policy?.routes.match({ method, host, path, ip: '127.0.0.1' });
            const index = reference(rules, method, host, segments);
            expect(match?.rule?.name ?? null).toBe(index === null ? null : `r${index}`);
            const names = index === null ? [] : (rules[index]?.segments ?? []);
            const params = names.flatMap((text, i) => {
              const name = /^\{(\w+)(\.\.\.)?\}$/.exec(text);
              return name === null
                ? []
                : [[name[1], name[2] === undefined ? segments[i] : segments.slice(i).join('/')]];
            });
            expect({ ...match?.params }).toEqual(Object.fromEntries(params));
          }
        },
      ),
      { numRuns: 120 },
    );
  });

  it('refuses exactly the rules that can match the same request with equal specificity', () => {
    fc.assert(
      fc.property(writtenRule, writtenRule, (a, b) => {
        const messages = compile([a, b]).diagnostics.map((diagnostic) => diagnostic.message);
        expect(messages.length).toBe(conflict(a, b) ? 1 : 0);
        if (conflict(a, b)) expect(messages[0]).toMatch(/rule "r1" and rule "r0" at \w+\.yaml:1:\d+ both match/);
      }),
      { numRuns: 100 },
    );
  });
});

const policy = policyOf({
  'orders.yaml': `api: orders
upstream: orders
base: /orders
rules:
  - { name: read, methods: [GET], path: [/, "/{id}"], scopes: [orders:read] }
  - { name: any of, methods: [POST], path: /, any_of: [orders:write, orders:admin], mode: report }
  - name: conditions
    path: "/{tenant}/{rest...}"
    scopes: [orders:read]
    when:
      ip: [10.0.0.0/8, 2001:db8::/32]
      time: { days: mon-fri, hours: "22:00-06:00", zone: Europe/Berlin }
      claims: { tenant: "{tenant}", path: "{rest}", level: 3 }
      token_type: [opaque]
      max_token_age: 30d
  - { name: health, path: /health, public: true }`,
  'roles.yaml': 'roles: { reader: { scopes: [orders:read] }, writer: { scopes: ["orders:*"], includes: [reader] } }',
});

const scope = fc.oneof(
  fc.constantFrom('orders:read', 'orders:write', 'orders:*', 'orders:admin', '*', 'orders', ''),
  fc.string(),
);
const claim = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 2 },
    fc.constantFrom('acme', 'x/y', 3),
    fc.string(),
    fc.double(),
    fc.boolean(),
    fc.constant(null),
    fc.array(tie('value'), { maxLength: 3 }),
    fc.dictionary(fc.string(), tie('value'), { maxKeys: 2 }),
  ),
})).value as fc.Arbitrary<Principal['claims'][string]>;
const moment = fc.oneof(
  fc.constantFrom(Date.UTC(2026, 2, 2, 22), Number.NaN, Number.POSITIVE_INFINITY),
  fc.double(),
  fc.integer(),
);
const address = fc.oneof(
  fc.constantFrom('10.1.2.3', '2001:db8::1', '10.0.0.0/8', '0.0.0.0/0'),
  fc.ipV4(),
  fc.ipV6(),
  fc.string(),
);

const principal: fc.Arbitrary<Principal> = fc.record({
  tokenType: fc.constantFrom('opaque', 'jwt'),
  tokenId: fc.string(),
  subject: fc.option(fc.string()),
  owner: fc.option(fc.string()),
  class: fc.option(fc.constantFrom('admin', 'service', '__proto__')),
  scopes: fc.array(scope, { maxLength: 4 }),
  roles: fc.array(fc.constantFrom('reader', 'writer', 'nobody', 'constructor', '__proto__'), { maxLength: 3 }),
  claims: fc.oneof(
    fc.constant({ tenant: 'acme', path: 'x/y', level: 3 }),
    fc.dictionary(fc.constantFrom('tenant', 'path', 'level', '__proto__', 'toString'), claim),
  ),
  ip: fc.oneof(
    { weight: 3, arbitrary: fc.constant([]) },
    { weight: 1, arbitrary: fc.array(address, { maxLength: 3 }) },
  ),
  issuedAt: moment,
  expiresAt: moment,
  supersededUntil: fc.option(moment),
  foreign: fc.constant(null),
  confirmation: fc.constant(null),
});

const request: fc.Arbitrary<PolicyRequest> = fc.record({
  method: fc.oneof(fc.constantFrom('GET', 'POST', 'HEAD', 'get'), fc.string()),
  host: fc.oneof(fc.constant('localhost'), fc.string()),
  path: fc.oneof(
    fc.constantFrom(
      '/orders',
      '/orders/7',
      '/orders/acme/x/y',
      '/orders/%61cme/x/y/',
      '/orders/health',
      '/orders/acme;v/x',
      '/',
    ),
    fc.string(),
    fc.string().map((text) => `/orders/${text}`),
  ),
  ip: address,
});

/** The rule of scopes, told once more: naive on purpose. */
function mayByScope(rule: CompiledRule, who: Principal): boolean {
  const roles: Readonly<Record<string, readonly string[]>> = { reader: ['orders:read'], writer: ['orders:*'] };
  const granted = [
    ...who.scopes,
    ...who.roles.flatMap((name) => (Object.hasOwn(roles, name) ? (roles[name] ?? []) : [])),
  ];
  const has = (wanted: string): boolean =>
    granted.some((held) => held === wanted || (held === 'orders:*' && wanted.startsWith('orders:'))) ||
    (who.class === 'admin' && who.scopes.includes('*'));
  const { kind, scopes } = rule.scopes;
  return kind === 'all' ? scopes.every(has) : scopes.some(has);
}

describe('a decision', () => {
  it('is total, and allows only what every check allows', () => {
    let allowed = 0;
    fc.assert(
      fc.property(request, fc.option(principal), moment, (ask, who, now) => {
        const match = policy.routes.match(ask);
        const decision = decide(policy, match, ask, who, now);
        expect(typeof policy.routes.ambiguous(ask)).toBe('boolean');
        if (decision.effect === 'deny') {
          expect(decision.reason === 'token_missing').toBe(who === null);
          expect(decision.reportOnly && who === null).toBe(false);
          expect(decision.condition !== null).toBe(decision.reason === 'condition_failed');
          return;
        }
        allowed += 1;
        expect(decision.rule).toBe(match?.rule);
        if (decision.rule.public) return;
        if (who === null) throw new Error('allowed without a token');
        expect(mayByScope(decision.rule, who)).toBe(true);
        const input = { principal: who, params: decision.params, ip: ask.ip, now, mcp: null };
        expect(decision.rule.conditions.every((condition) => condition.holds(input))).toBe(true);
      }),
      { numRuns: 1500 },
    );
    expect(allowed).toBeGreaterThan(20);
  });

  it('is the same when asked again', () => {
    fc.assert(
      fc.property(request, fc.option(principal), moment, moment, (ask, who, now, between) => {
        const once = decide(policy, policy.routes.match(ask), ask, who, now);
        decide(policy, policy.routes.match(ask), ask, who, between);
        expect(decide(policy, policy.routes.match(ask), ask, who, now)).toEqual(once);
      }),
    );
  });

  it('denies when any condition cannot be evaluated', () => {
    const now = Date.UTC(2026, 2, 2, 22);
    const good: { ask: PolicyRequest; who: Principal; now: number } = {
      ask: { method: 'GET', host: 'localhost', path: '/orders/acme/x/y', ip: '10.1.2.3' },
      who: {
        tokenType: 'opaque',
        tokenId: 't',
        subject: null,
        owner: null,
        class: null,
        scopes: ['orders:read'],
        roles: [],
        claims: { tenant: 'acme', path: 'x/y', level: 3 },
        ip: [],
        issuedAt: now,
        expiresAt: now,
        supersededUntil: null,
        foreign: null,
        confirmation: null,
      },
      now,
    };
    const effect = ({ ask, who, now: at }: typeof good): string =>
      decide(policy, policy.routes.match(ask), ask, who, at).effect;
    expect(effect(good)).toBe('allow');
    const noAddress = fc.string().filter((text) => !/^[0-9a-f.:]+$/i.test(text));
    const noTime = fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 9e15);
    const noClaim = claim.filter((value) => value !== 'acme' && !(Array.isArray(value) && value.includes('acme')));
    const denied = (changed: Partial<typeof good>): void => expect(effect({ ...good, ...changed })).toBe('deny');
    const token = (changed: Partial<Principal>): Partial<typeof good> => ({ who: { ...good.who, ...changed } });
    fc.assert(fc.property(noAddress, (ip) => void denied({ ask: { ...good.ask, ip } })));
    fc.assert(fc.property(noTime, (at) => void denied({ now: at })));
    fc.assert(fc.property(noTime, (issuedAt) => void denied(token({ issuedAt }))));
    fc.assert(fc.property(noClaim, (tenant) => void denied(token({ claims: { ...good.who.claims, tenant } }))));
    fc.assert(fc.property(fc.array(noAddress, { minLength: 1 }), (ip) => void denied(token({ ip }))));
  });

  it('is what its explanation says, step by step', () => {
    fc.assert(
      fc.property(request, fc.option(principal), moment, (ask, who, now) => {
        const { decision, ambiguous, steps } = explain(policy, ask, who, now);
        expect(decision).toEqual(decide(policy, policy.routes.match(ask), ask, who, now));
        expect(ambiguous).toBe(policy.routes.ambiguous(ask));
        const failed = steps
          .filter(({ step, outcome }) => step !== 'path' && outcome === 'fail')
          .map(({ step }) => step);
        expect(failed.length === 0).toBe(decision.effect === 'allow');
        if (decision.effect === 'deny' && decision.condition !== null && failed[0] !== 'token_ip') {
          expect(failed[0]).toBe(decision.condition);
        }
        const order = steps.flatMap(({ step }) => CONDITION_NAMES.filter((name) => name === step));
        expect(order).toEqual(CONDITION_NAMES.filter((name) => order.includes(name)));
      }),
      { numRuns: 500 },
    );
  });
});

describe('scopes', () => {
  const part = fc.constantFrom('a', 'b', 'ab', 'a.b');
  const literal = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => parts.join(':'));
  const granted = fc.tuple(literal, fc.boolean()).map(([text, wild]) => (wild ? `${text}:*` : text));

  it('a wildcard covers what follows its colon, and nothing else', () => {
    fc.assert(
      fc.property(literal, literal, (stem, other) => {
        expect(grantsScope(`${stem}:*`, `${stem}:${other}`)).toBe(true);
        expect(grantsScope(`${stem}:*`, stem)).toBe(false);
        expect(grantsScope(`${stem}:*`, `${stem}x:${other}`)).toBe(false);
        expect(grantsScope(`${stem}:*`, other)).toBe(other.startsWith(`${stem}:`));
        expect(grantsScope(stem, other)).toBe(stem === other);
        expect(grantsScope('*', other)).toBe(false);
      }),
    );
  });

  it('being within is a partial order', () => {
    fc.assert(
      fc.property(granted, granted, granted, (a, b, c) => {
        expect(scopesWithin([a], [a])).toBe(true);
        if (scopesWithin([a], [b]) && scopesWithin([b], [c])) expect(scopesWithin([a], [c])).toBe(true);
        if (scopesWithin([a], [b]) && scopesWithin([b], [a])) expect(a).toBe(b);
        expect(scopesWithin([a, b, c], ['*'])).toBe(true);
      }),
    );
  });

  it('what lies within the bounds never covers more than they do', () => {
    fc.assert(
      fc.property(fc.array(granted), fc.array(granted), literal, (requested, bounds, required) => {
        if (!scopesWithin(requested, bounds)) return;
        if (requested.some((scope) => grantsScope(scope, required))) {
          expect(bounds.some((scope) => grantsScope(scope, required))).toBe(true);
        }
      }),
    );
  });
});
