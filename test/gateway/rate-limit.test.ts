import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import { countedAddress, RateLimits } from '../../src/gateway/rate-limit.ts';
import { Fault } from '../../src/model/fault.ts';
import { compilePolicy } from '../../src/policy/compile.ts';
import type { CompiledRule, RateLimit } from '../../src/policy/compiled-policy.ts';
import { samplePrincipal } from '../../src/policy/sample-principal.ts';

describe('a limit by address', () => {
  it('counts an IPv4 address, and the network of an IPv6 address', () => {
    expect(countedAddress('192.0.2.7')).toBe('192.0.2.7');
    expect(countedAddress('2001:db8:1:2::1')).toBe(countedAddress('2001:db8:1:2:ffff:ffff:ffff:ffff'));
    expect(countedAddress('2001:db8:1:2::1')).not.toBe(countedAddress('2001:db8:1:3::1'));
    expect(countedAddress('')).toBe('');
  });
});

const POLICY = `api: a
upstream: a
rules:
  - { name: open, path: /, public: true, rate_limit: { requests: 100, per: 1m, by: ip } }
`;

function openRule(text = POLICY): { readonly rule: CompiledRule; readonly limit: RateLimit } {
  const { policy } = compilePolicy([{ name: 'a.yaml', text }], { upstreams: null });
  const rule = policy?.apis[0]?.rules[0];
  if (rule === undefined || rule.rateLimit === null) throw new Error('there is no rule with a limit');
  return { rule, limit: rule.rateLimit };
}

describe('serve_cached', () => {
  it('counts without the store up to the limit, and for max_stale at most', async () => {
    const { rule, limit } = openRule();
    let now = 0;
    const counter = { countRate: () => Promise.reject(new Fault('store_unavailable', 'away')), countsRates: false };
    const limits = new RateLimits(
      { counter, replicas: () => 2, onUnavailable: 'serve_cached', maxStaleMs: 30_000 },
      { now: () => now, monotonic: () => now },
    );
    const ask = async (): Promise<string | null> => {
      const refusal = await limits.check(rule, limit, { principal: null, client: '192.0.2.1', rateFields: null });
      return refusal?.reason ?? null;
    };
    for (let i = 0; i < limit.requests; i += 1) expect(await ask()).toBeNull();
    expect(await ask()).toBe('rate_limited');
    now = 30_000;
    await expect(ask()).rejects.toMatchObject({ code: 'store_unavailable' });
  });
});

describe('a limit by subject', () => {
  it('is of one issuer: the alice of another, or of a token of this gateway, uses up nothing of it', () => {
    const { rule, limit } = openRule(POLICY.replace('public: true', 'scopes: [x]').replace('by: ip', 'by: subject'));
    const keys: string[] = [];
    const counter = {
      countRate: (key: string, add: number) => {
        keys.push(key);
        return { count: add, leftMs: 60_000 };
      },
      countsRates: true,
    };
    const limits = new RateLimits(
      { counter, replicas: () => 200, onUnavailable: 'deny', maxStaleMs: 0 },
      { now: () => 0, monotonic: () => 0 },
    );
    const ask = (subject: string, issuer: string | null | undefined): number => {
      const foreign = issuer === undefined ? null : { issuer, jti: null, subject, issuedAt: null };
      const principal = { ...samplePrincipal({ subject }, 0), foreign };
      expect(limits.check(rule, limit, { principal, client: '192.0.2.1', rateFields: null })).toBeNull();
      return limits.size;
    };
    expect([ask('alice', undefined), ask('alice', 'https://a'), ask('alice', 'https://b')]).toEqual([1, 2, 3]);
    expect([ask('alice', null), ask('alice', 'https://a'), ask('bob', 'https://a')]).toEqual([4, 4, 5]);
    // A window that an earlier release began goes on.
    expect(keys[0]).toMatch(/\nsubject alice$/);
    const long = 's'.repeat(200);
    expect([ask(long, undefined), ask(long, 'https://a'), ask(long, 'https://b')]).toEqual([6, 7, 8]);
  });
});

describe('the windows in memory', () => {
  it('are bounded, and what one that is forgotten early has let through is told to the store', () => {
    const { rule, limit } = openRule();
    const counted = new Map<string, number>();
    const counter = {
      countRate: (key: string, add: number) => {
        counted.set(key, (counted.get(key) ?? 0) + add);
        return { count: counted.get(key) ?? 0, leftMs: 60_000 };
      },
      countsRates: true,
    };
    let now = 0;
    const limits = new RateLimits(
      { counter, replicas: () => 2, onUnavailable: 'deny', maxStaleMs: 0 },
      { now: () => now, monotonic: () => now },
    );
    const ask = (address: number): void => {
      const client = `10.${address >> 16}.${(address >> 8) & 255}.${address & 255}`;
      expect(limits.check(rule, limit, { principal: null, client, rateFields: null })).toBeNull();
    };
    const beyond = 500;
    for (let address = 0; address < LIMITS.rateWindows + beyond; address += 1) ask(address);
    expect(limits.size).toBe(LIMITS.rateWindows);
    expect([...counted.values()]).toEqual(Array.from({ length: beyond }, () => 1));
    now = 60_000;
    for (let address = 0; address < beyond; address += 1) ask(LIMITS.rateWindows + beyond + address);
    expect(counted.size).toBe(beyond);
  });
});
