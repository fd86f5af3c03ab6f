import { describe, expect, it } from 'vitest';
import { countedAddress } from '../../src/gateway/rate-limit.ts';

describe('a limit by address', () => {
  it('counts an IPv4 address, and the network of an IPv6 address', () => {
    expect(countedAddress('192.0.2.7')).toBe('192.0.2.7');
    expect(countedAddress('2001:db8:1:2::1')).toBe(countedAddress('2001:db8:1:2:ffff:ffff:ffff:ffff'));
    expect(countedAddress('2001:db8:1:2::1')).not.toBe(countedAddress('2001:db8:1:3::1'));
    expect(countedAddress('')).toBe('');
  });
});
