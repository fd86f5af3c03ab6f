import { describe, expect, it } from 'vitest';
import type { PolicyRequest } from '../../../src/policy/compiled-policy.ts';
import type { SampleToken } from '../../../src/policy/sample-principal.ts';
import { apiOf, judge, MONDAY, request } from '../policy-fixture.ts';

/** Whether a rule at `path` with this `when` lets the request through. */
function holds(
  when: string,
  given: { token?: SampleToken; request?: Partial<PolicyRequest>; now?: number; path?: string; target?: string },
): boolean {
  const policy = apiOf(`  - { name: rule, path: "${given.path ?? '/'}", when: { ${when} } }`);
  const asked = request(`GET ${given.target ?? '/'}`, given.request);
  return judge(policy, asked, given.token ?? {}, given.now).effect === 'allow';
}

describe('ip', () => {
  it.each([
    ['10.0.0.0/8', '10.255.255.255', true],
    ['10.0.0.0/8', '11.0.0.0', false],
    ['10.1.2.3/8', '10.9.9.9', true],
    ['0.0.0.0/0', '255.255.255.255', true],
    ['0.0.0.0/0', '::1', false],
    ['192.0.2.7', '192.0.2.7', true],
    ['192.0.2.7/32', '192.0.2.8', false],
    ['10.0.0.0/8', '::ffff:10.1.2.3', true],
    ['10.0.0.0/8', '::ffff:a01:203', true],
    ['::ffff:10.0.0.0/104', '10.1.2.3', true],
    ['2001:db8::/32', '2001:db8:ffff::1', true],
    ['2001:db8::/33', '2001:db8:8000::', false],
    ['fe80::/10', 'fe80::1%eth0', true],
    ['::/0', '::ffff:10.1.2.3', false],
    ['::/0', '10.1.2.3', false],
    ['10.0.0.0/8', '', false],
    ['10.0.0.0/8', '10.1.2', false],
    ['10.0.0.0/8', 'unix:', false],
  ])('%s holds for %s: %s', (block, ip, expected) => {
    expect(holds(`ip: ["${block}"]`, { request: { ip } })).toBe(expected);
  });
});

describe('time', () => {
  const at = (text: string): number => Date.parse(text);
  it.each([
    ['days: mon-fri', '2026-03-02T00:00:00Z', true],
    ['days: mon-fri', '2026-03-01T23:59:59.999Z', false],
    ['days: fri-mon', '2026-03-01T12:00:00Z', true],
    ['days: fri-mon', '2026-03-03T12:00:00Z', false],
    ['days: [sat, "mon,wed"]', '2026-03-04T12:00:00Z', true],
    ['days: [sat, "mon,wed"]', '2026-03-05T12:00:00Z', false],
    ['hours: "08:00-18:00"', '2026-03-02T08:00:00Z', true],
    ['hours: "08:00-18:00"', '2026-03-02T07:59:59.999Z', false],
    ['hours: "08:00-18:00"', '2026-03-02T18:00:00Z', false],
    ['hours: "18:00-24:00"', '2026-03-02T23:59:59Z', true],
    ['hours: "00:00-24:00"', '2026-03-02T00:00:00Z', true],
    ['hours: "22:00-06:00"', '2026-03-02T23:00:00Z', true],
    ['hours: "22:00-06:00"', '2026-03-02T05:59:59Z', true],
    ['hours: "22:00-06:00"', '2026-03-02T06:00:00Z', false],
    // Hours over midnight belong to the day on which they begin.
    ['days: fri, hours: "22:00-06:00"', '2026-03-07T02:00:00Z', true],
    ['days: fri, hours: "22:00-06:00"', '2026-03-06T02:00:00Z', false],
    ['days: fri, hours: "22:00-06:00"', '2026-03-06T23:00:00Z', true],
    // Berlin: UTC+1 in winter, UTC+2 in summer.
    ['hours: "08:00-18:00", zone: Europe/Berlin', '2026-03-02T07:00:00Z', true],
    ['hours: "08:00-18:00", zone: Europe/Berlin', '2026-07-06T06:00:00Z', true],
    ['hours: "08:00-18:00", zone: Europe/Berlin', '2026-07-06T16:00:00Z', false],
    ['days: mon, zone: Asia/Kolkata', '2026-03-01T18:30:00Z', true],
    ['days: mon, zone: Asia/Kolkata', '2026-03-01T18:29:59Z', false],
  ])('%s holds at %s: %s', (time, moment, expected) => {
    expect(holds(`time: { ${time} }`, { now: at(moment) })).toBe(expected);
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 8.64e15 + 1, -8.64e15])(
    'is never at %d',
    (now) => {
      expect(holds('time: { days: tue }', { now })).toBe(now === -8.64e15);
    },
  );

  it('is asked anew for every minute', () => {
    const policy = apiOf('  - { name: rule, path: /, when: { time: { hours: "09:00-09:31" } } }');
    const effects = [0, 30_000, 60_000, 0].map((later) => judge(policy, request('GET /'), {}, MONDAY + later).effect);
    expect(effects).toEqual(['allow', 'allow', 'deny', 'allow']);
  });
});

describe('claims', () => {
  it.each([
    ['tenant: "{t}"', { tenant: 'acme' }, true],
    ['tenant: "{t}"', { tenant: 'Acme' }, false],
    ['tenant: "{t}"', { tenant: ['globex', 'acme'] }, true],
    ['tenant: "{t}"', { tenant: [['acme']] }, false],
    ['tenant: "{t}"', { tenant: [] }, false],
    ['tenant: "{t}"', { tenant: null }, false],
    ['tenant: "{t}"', { tenant: { acme: 'acme' } }, false],
    ['tenant: "{t}"', {}, false],
    ['constructor: "{t}"', {}, false],
    ['plan: gold', { plan: 'gold' }, true],
    ['level: 3', { level: 3 }, true],
    ['level: 3', { level: '3' }, false],
    ['level: "3"', { level: 3 }, false],
    ['staff: true', { staff: true }, true],
    ['staff: true', { staff: 'true' }, false],
    ['plan: gold, tenant: "{t}"', { plan: 'gold', tenant: 'globex' }, false],
    ['plan: gold, tenant: "{t}"', { plan: 'gold', tenant: 'acme' }, true],
  ])('%s holds for %j: %s', (claims, token, expected) => {
    expect(holds(`claims: { ${claims} }`, { token: { claims: token }, path: '/{t}', target: '/acme' })).toBe(expected);
  });

  it('compares decoded values, and the whole rest', () => {
    const given = { path: '/{t}', target: '/a%20b%2Bc', token: { claims: { tenant: 'a b+c' } } };
    expect(holds('claims: { tenant: "{t}" }', given)).toBe(true);
    const rest = { path: '/{t...}', target: '/a/b/', token: { claims: { tenant: 'a/b' } } };
    expect(holds('claims: { tenant: "{t}" }', rest)).toBe(true);
  });

  it('sub is the subject, and no claim can pretend to be it', () => {
    const given = { path: '/{user}', target: '/ada' };
    expect(holds('claims: { sub: "{user}" }', { ...given, token: { subject: 'ada' } })).toBe(true);
    expect(holds('claims: { sub: "{user}" }', { ...given, token: { subject: 'bob', claims: { sub: 'ada' } } })).toBe(
      false,
    );
    expect(holds('claims: { sub: "{user}" }', { ...given, token: { claims: { sub: 'ada' } } })).toBe(false);
  });
});

describe('token_type', () => {
  it.each([
    ['[opaque, jwt]', 'jwt', true],
    ['opaque', 'opaque', true],
    ['[jwt]', 'opaque', false],
  ] as const)('%s holds for %s: %s', (types, type, expected) => {
    expect(holds(`token_type: ${types}`, { token: { type } })).toBe(expected);
  });
});

describe('max_token_age', () => {
  it.each([
    [0, true],
    [3_600_000, true],
    [3_600_001, false],
    // A replica's clock may be a little ahead of the one that issued.
    [-60_000, true],
    [-60_001, false],
    [Number.NaN, false],
  ])('1h holds at the age of %d ms: %s', (age, expected) => {
    expect(holds('max_token_age: 1h', { token: { age } })).toBe(expected);
  });
});
