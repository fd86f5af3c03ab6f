import { isIPv4, isIPv6 } from 'node:net';
import { err, ok, type Result } from '../base/result.ts';

/** An address (a block of one) or a CIDR block (RFC 4632 §3.1, RFC 4291 §2.3). */
export interface IpBlock {
  readonly version: 4 | 6;
  readonly network: bigint;
  readonly prefix: number;
}

const WANTED = 'an address or block such as 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32';

/** Strict: no zone, no leading zeros, no bits set behind the prefix, IPv4 never in IPv6's clothes. */
export function parseIpBlock(text: string): Result<IpBlock, string> {
  const match = /^([0-9A-Fa-f:.]{2,45})(?:\/(0|[1-9]\d{0,2}))?$/.exec(text);
  const address = match?.[1] ?? '';
  const version = isIPv4(address) ? 4 : isIPv6(address) ? 6 : null;
  if (match === null || version === null) return err(`expected ${WANTED}, got ${JSON.stringify(text.slice(0, 64))}`);
  const bits = version === 4 ? 32 : 128;
  const prefix = match[2] === undefined ? bits : Number(match[2]);
  if (prefix > bits) return err(`the prefix of an IPv${version} block is at most ${bits}, got ${prefix}`);
  const value = version === 4 ? ipv4Value(address) : ipv6Value(address);
  if (version === 6 && value >> 32n === 0xffffn)
    return err(`${JSON.stringify(text)} is an IPv4 address: write it as one`);
  const host = BigInt(bits - prefix);
  const network = (value >> host) << host;
  if (network !== value) {
    const hint = version === 4 ? `${ipv4Text(network)}/${prefix}` : 'the first address of the block';
    return err(`${JSON.stringify(text)} has bits set behind its prefix; did you mean ${hint}?`);
  }
  return ok({ version, network, prefix });
}

/** Whether every address of `inner` lies in `outer`. */
export function blockContains(outer: IpBlock, inner: IpBlock): boolean {
  if (outer.version !== inner.version || outer.prefix > inner.prefix) return false;
  const host = BigInt((outer.version === 4 ? 32 : 128) - outer.prefix);
  return outer.network >> host === inner.network >> host;
}

function ipv4Value(address: string): bigint {
  return address.split('.').reduce((value, octet) => value * 256n + BigInt(octet), 0n);
}

function ipv4Text(value: bigint): string {
  return [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 255n).join('.');
}

function ipv6Value(address: string): bigint {
  const [left = '', right] = address.split('::');
  const head = ipv6Groups(left);
  const tail = right === undefined ? [] : ipv6Groups(right);
  const zeros = Array.from({ length: 8 - head.length - tail.length }, () => 0n);
  return [...head, ...zeros, ...tail].reduce((value, group) => value * 65_536n + group, 0n);
}

function ipv6Groups(text: string): bigint[] {
  if (text === '') return [];
  return text.split(':').flatMap((group) => {
    if (!group.includes('.')) return [BigInt(`0x${group}`)];
    const value = ipv4Value(group);
    return [value >> 16n, value & 0xffffn];
  });
}
