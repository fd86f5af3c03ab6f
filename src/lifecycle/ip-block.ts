import { type AddressRange, parseAddress, parseAddressRange, rangeContains } from '../base/address-range.ts';
import { err, type Result } from '../base/result.ts';

/**
 * An address or CIDR block that a token may be bound to. Stricter than the address ranges of other places: bits set
 * behind the prefix (`10.0.0.7/8`) are an error, because one of the two numbers is not what was meant.
 */
export function parseIpBlock(text: string): Result<AddressRange, string> {
  // The longest address has 45 characters (RFC 4291 §2.2 with an IPv4 tail), its prefix length four.
  if (text.length > 49) return err('expected an IP address or CIDR block such as 10.0.0.0/8 or 2001:db8::/32');
  const range = parseAddressRange(text);
  if (!range.ok) return range;
  const [address = ''] = text.split('/');
  const written = parseAddress(address);
  if (written?.words.every((word, index) => word === range.value.network[index]) === true) return range;
  return err(
    `${JSON.stringify(text)} has bits set behind its prefix; give the block's first address, or ${address} alone`,
  );
}

/** Whether every address of `inner` lies in `outer`. */
export function blockContains(outer: AddressRange, inner: AddressRange): boolean {
  return outer.prefix <= inner.prefix && rangeContains(outer, { family: inner.family, words: inner.network });
}
