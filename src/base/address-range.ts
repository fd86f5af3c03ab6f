import { isIPv4, isIPv6 } from 'node:net';
import { err, ok, type Result } from './result.ts';

/**
 * A CIDR block (RFC 4632, RFC 4291 §2.3) or a single address. `network` holds the bits above the prefix, the host bits
 * cut off; an IPv4-mapped IPv6 address or block (`::ffff:a.b.c.d`, RFC 4291 §2.5.5.2) counts as IPv4.
 *
 * node:net's BlockList answers the same question, and is the measure in the tests, but a look-up costs 5 µs.
 */
export interface AddressRange {
  readonly text: string;
  readonly family: 4 | 6;
  readonly prefix: number;
  readonly network: Address;
}

/** IPv4 as one unsigned number, IPv6 as four, most significant first. */
type Address = readonly number[];

/** A client's address, parsed once and asked about often. */
export interface ParsedAddress {
  readonly family: 4 | 6;
  readonly words: Address;
}

/** `10.0.0.0/8`, `2001:db8::/32`, `192.0.2.7`. The error says what is wrong with it. */
export function parseAddressRange(text: string): Result<AddressRange, string> {
  const slash = text.indexOf('/');
  const address = parseAddress(slash < 0 ? text : text.slice(0, slash));
  if (address === null || text.includes('%')) {
    return err(`expected an IP address or CIDR block such as 10.0.0.0/8 or 2001:db8::/32, got ${JSON.stringify(text)}`);
  }
  // A mapped block is written with an IPv6 prefix length.
  const mapped = address.family === 4 && text.includes(':');
  const widest = mapped || address.family === 6 ? 128 : 32;
  const digits = slash < 0 ? String(widest) : text.slice(slash + 1);
  if (!/^(?:0|[1-9]\d{0,2})$/.test(digits) || Number(digits) > widest || (mapped && Number(digits) < 96)) {
    const lowest = mapped ? 96 : 0;
    return err(
      `the prefix length of ${JSON.stringify(text)} must be a number from ${lowest} to ${widest}; did you mean "${text.slice(0, slash)}/${widest}"?`,
    );
  }
  const prefix = Number(digits) - (mapped ? 96 : 0);
  const network = address.words.map((word, index) => (word & maskOf(prefix - index * 32)) >>> 0);
  return ok({ text, family: address.family, prefix, network });
}

/** Null for what is no address; an IPv6 zone (`%eth0`) is cut off. */
export function parseAddress(text: string): ParsedAddress | null {
  if (isIPv4(text)) return { family: 4, words: [ipv4Number(text)] };
  const zone = text.indexOf('%');
  const bare = zone < 0 ? text : text.slice(0, zone);
  if (!isIPv6(bare)) return null;
  const words = ipv6Words(bare);
  const [first, second, third, last = 0] = words;
  return first === 0 && second === 0 && third === 0xffff ? { family: 4, words: [last] } : { family: 6, words };
}

export function rangeContains(range: AddressRange, address: ParsedAddress): boolean {
  if (range.family !== address.family) return false;
  for (let index = 0; index < range.network.length; index += 1) {
    const mask = maskOf(range.prefix - index * 32);
    if (((address.words[index] ?? 0) & mask) >>> 0 !== range.network[index]) return false;
  }
  return true;
}

function maskOf(bits: number): number {
  if (bits <= 0) return 0;
  return bits >= 32 ? 0xffff_ffff : (0xffff_ffff << (32 - bits)) >>> 0;
}

function ipv4Number(text: string): number {
  let value = 0;
  let octet = 0;
  for (let i = 0; i < text.length; i += 1) {
    const code = text.charCodeAt(i);
    if (code === 0x2e) {
      value = value * 256 + octet;
      octet = 0;
    } else octet = octet * 10 + code - 0x30;
  }
  return value * 256 + octet;
}

/** Of a text that is a valid IPv6 address. */
function ipv6Words(text: string): Address {
  const lastColon = text.lastIndexOf(':');
  let hex = text;
  if (text.includes('.')) {
    const tail = ipv4Number(text.slice(lastColon + 1));
    hex = `${text.slice(0, lastColon + 1)}${(tail >>> 16).toString(16)}:${(tail & 0xffff).toString(16)}`;
  }
  const [head = '', rest] = hex.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = rest === undefined || rest === '' ? [] : rest.split(':');
  const groups = [...left, ...Array<string>(8 - left.length - right.length).fill('0'), ...right];
  const words: number[] = [];
  for (let i = 0; i < 8; i += 2) {
    words.push(((Number.parseInt(groups[i] ?? '0', 16) << 16) | Number.parseInt(groups[i + 1] ?? '0', 16)) >>> 0);
  }
  return words;
}
