import { z } from 'zod';
import { type AddressRange, parseAddress, parseAddressRange, rangeContains } from '../../base/address-range.ts';
import { textField } from '../schema/fields.ts';
import { conditionKind } from './condition-kind.ts';

const range = textField(
  { description: 'An address or CIDR block, IPv4 or IPv6.', examples: ['10.0.0.0/8', '2001:db8::/32', '192.0.2.7'] },
  parseAddressRange,
);

/** The client's address lies in one of the blocks. */
export const ip = conditionKind({
  schema: z.array(range).min(1, 'an empty list matches no address').describe('Where the client may come from.'),
  compile(ranges) {
    return {
      name: 'ip',
      text: `ip in ${ranges.map((entry) => entry.text).join(', ')}`,
      holds: (input) => addressIn(input.ip, ranges),
    };
  },
});

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
