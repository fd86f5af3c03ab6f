import { isIPv4 } from 'node:net';
import { type AddressRange, parseAddress, parseAddressRange, rangeContains } from '../base/address-range.ts';
import type { RequestHead } from './request-head.ts';

/** Decides who the client is, and what the upstream is told about it (RFC 7239, and the X-Forwarded fields). */
export class ClientAddresses {
  readonly #trusted: readonly AddressRange[];

  /** `trusted`: CIDR blocks of the only peers whose forwarding fields are believed. */
  constructor(trusted: readonly string[]) {
    this.#trusted = trusted.map((block) => {
      const range = parseAddressRange(block);
      if (!range.ok) throw new TypeError(`trusted proxy ${block}: ${range.error}`);
      return range.value;
    });
  }

  isTrusted(peer: string): boolean {
    if (this.#trusted.length === 0) return false;
    const address = parseAddress(peer);
    return address !== null && this.#trusted.some((range) => rangeContains(range, address));
  }

  /**
   * The client's address: the peer, or, behind a trusted proxy, the rightmost address of X-Forwarded-For that is not
   * itself a trusted proxy. An entry that is no address ends the search at the last one that was.
   */
  client(peer: string, head: RequestHead): string {
    if (head.forwardedFor === null || !this.isTrusted(peer)) return peer;
    let client = peer;
    const entries = head.forwardedFor.split(',');
    for (let i = entries.length - 1; i >= 0; i -= 1) {
      const address = normaliseAddress(stripPort((entries[i] ?? '').trim()));
      if (parseAddress(address) === null) break;
      client = address;
      if (!this.isTrusted(address)) break;
    }
    return client;
  }

  /** Scheme and authority that the client addressed: as a trusted proxy tells them, else as they came. */
  origin(head: RequestHead, peer: string, encrypted: boolean): { readonly scheme: string; readonly host: string } {
    const trusted = this.isTrusted(peer);
    const scheme = (trusted ? oneOf(head.forwardedProto, 'http', 'https') : null) ?? (encrypted ? 'https' : 'http');
    return { scheme, host: (trusted ? head.forwardedHost : null) ?? head.host };
  }

  /** Adds the forwarding fields to what goes to the upstream: continued from a trusted peer, else begun anew. */
  describe(into: string[], head: RequestHead, peer: string, encrypted: boolean): void {
    const trusted = this.isTrusted(peer);
    const { scheme, host } = this.origin(head, peer, encrypted);
    const before = trusted ? head.forwardedFor : null;
    into.push('x-forwarded-for', before === null ? peer : `${before}, ${peer}`, 'x-forwarded-proto', scheme);
    if (host !== '') into.push('x-forwarded-host', host);
    const node = peer.includes(':') ? `"[${peer}]"` : peer;
    const element = `for=${node};proto=${encrypted ? 'https' : 'http'}${head.host === '' ? '' : `;host="${head.host}"`}`;
    const elements = trusted ? head.forwardedElements : null;
    into.push('forwarded', elements === null ? element : `${elements}, ${element}`);
  }
}

/** An IPv4 address that came over an IPv6 socket, as IPv4 (RFC 4291 §2.5.5.2). */
export function normaliseAddress(address: string): string {
  return address.startsWith('::ffff:') && isIPv4(address.slice(7)) ? address.slice(7) : address;
}

function stripPort(entry: string): string {
  if (entry.startsWith('[')) return entry.slice(1, entry.indexOf(']'));
  const colon = entry.indexOf(':');
  return colon > 0 && entry.indexOf(':', colon + 1) < 0 ? entry.slice(0, colon) : entry;
}

function oneOf(value: string | null, ...allowed: readonly string[]): string | null {
  return value !== null && allowed.includes(value) ? value : null;
}
