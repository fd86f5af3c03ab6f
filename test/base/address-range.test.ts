import { BlockList, isIPv4 } from 'node:net';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseAddress, parseAddressRange, rangeContains } from '../../src/base/address-range.ts';

function contains(block: string, text: string): boolean {
  const range = parseAddressRange(block);
  const address = parseAddress(text);
  if (!range.ok || address === null) throw new Error(`not an address: ${block} ${text}`);
  return rangeContains(range.value, address);
}

const family = (text: string): 'ipv4' | 'ipv6' => (isIPv4(text) ? 'ipv4' : 'ipv6');

describe('an address range', () => {
  it('agrees with node:net.BlockList', () => {
    const address = fc.oneof(fc.ipV4(), fc.ipV6());
    fc.assert(
      fc.property(address, address, fc.nat(128), fc.boolean(), (network, other, bits, near) => {
        const prefix = bits % (isIPv4(network) ? 33 : 129);
        // Half of the time an address that shares the first bits, so that both answers occur.
        const asked =
          near && isIPv4(network) && isIPv4(other)
            ? network.replace(/\d+\.\d+$/, other.replace(/^\d+\.\d+\./, ''))
            : other;
        const list = new BlockList();
        list.addSubnet(network, prefix, family(network));
        const mapped = /^(0*:)*:?ffff:/i.test(network) || /^(0*:)*:?ffff:/i.test(asked);
        fc.pre(!mapped);
        // A block is of one family here: `::/0` is every IPv6 address and no IPv4 one.
        const expected = family(network) === family(asked) && list.check(asked, family(asked));
        expect(contains(`${network}/${prefix}`, asked)).toBe(expected);
      }),
    );
  });

  it('takes IPv4 inside IPv6 for IPv4', () => {
    fc.assert(
      fc.property(fc.ipV4(), fc.nat(32), fc.ipV4(), (network, prefix, asked) => {
        const plain = contains(`${network}/${prefix}`, asked);
        expect(contains(`${network}/${prefix}`, `::ffff:${asked}`)).toBe(plain);
        expect(contains(`::ffff:${network}/${prefix + 96}`, asked)).toBe(plain);
      }),
    );
  });

  it.each([
    '',
    '10.0.0',
    '10.0.0.0/',
    '10.0.0.0/33',
    '10.0.0.0/08',
    '10.0.0.0/-1',
    '10.0.0.0/8/8',
    '::/129',
    'fe80::1%eth0/64',
    '::ffff:10.0.0.0/8',
    'a.b.c.d',
    '010.0.0.1',
    ' 10.0.0.0/8',
  ])('refuses %j', (text) => {
    expect(parseAddressRange(text).ok).toBe(false);
  });

  it.each(['', '10.0.0.256', 'localhost', '::g', '1.2.3.4%eth0', '10.0.0.1:80', '[::1]'])(
    '%j is no address',
    (text) => {
      expect(parseAddress(text)).toBeNull();
    },
  );
});
