import { z } from 'zod';
import { type AddressRange, parseAddress, parseAddressRange, rangeContains } from '../../base/address-range.ts';
import { textField } from '../schema/fields.ts';
import { conditionKind } from './condition-kind.ts';

const range = textField(
  { description: 'An address or CIDR block, IPv4 or IPv6.', examples: ['10.0.0.0/8', '2001:db8::/32', '192.0.2.7'] },
  parseAddressRange,
);

/** Never the source of a packet: RFC 6890 §2.2.2 (unspecified, broadcast), RFC 5771, RFC 4291 §2.5.2 and §2.7. */
const NO_CLIENTS: readonly AddressRange[] = [
  '0.0.0.0/32',
  '224.0.0.0/4',
  '255.255.255.255/32',
  '::/128',
  'ff00::/8',
].flatMap((text) => {
  const parsed = parseAddressRange(text);
  return parsed.ok ? [parsed.value] : [];
});

/** The client's address lies in one of the blocks. */
export const ip = conditionKind({
  schema: z.array(range).min(1, 'an empty list matches no address').describe('Where the client may come from.'),
  compile(ranges) {
    return {
      name: 'ip',
      impossible: ranges.every(isNoClient) ? 'nobody makes a request from such an address' : undefined,
      text: `ip in ${ranges.map((entry) => entry.text).join(', ')}`,
      holds: (input) => addressIn(input.ip, ranges),
    };
  },
});

function isNoClient(range: AddressRange): boolean {
  return NO_CLIENTS.some(
    (other) => range.prefix >= other.prefix && rangeContains(other, { family: range.family, words: range.network }),
  );
}

function addressIn(text: string, ranges: readonly AddressRange[]): boolean {
  const address = parseAddress(text);
  return address !== null && ranges.some((entry) => rangeContains(entry, address));
}

/** The token's own list: blocks as text. One that cannot be read matches nothing. */
export function addressWithin(text: string, blocks: readonly string[]): boolean {
  return addressIn(
    text,
    blocks.flatMap((block) => {
      const parsed = parseAddressRange(block);
      return parsed.ok ? [parsed.value] : [];
    }),
  );
}
