import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import { countedAddress, RateLimits } from '../../src/gateway/rate-limit.ts';
import { compilePolicy } from '../../src/policy/compile.ts';
import type { CompiledRule } from '../../src/policy/compiled-policy.ts';

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

describe('the windows in memory', () => {
  it('are bounded, and what one that is forgotten early has let through is told to the store', () => {
    const { policy } = compilePolicy([{ name: 'a.yaml', text: POLICY }], { upstreams: null });
    const rule = policy?.apis[0]?.rules[0] as CompiledRule;
    const limit = rule.rateLimit;
    if (limit === null) throw new Error('the rule has no limit');
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
