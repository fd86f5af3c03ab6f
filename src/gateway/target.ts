import type { Principal } from '../model/principal.ts';
import type { Exchange } from './exchange.ts';
import type { Gateway } from './gateway.ts';
import type { UpstreamOptions } from './options.ts';
import type { Permit } from './permit.ts';

/** The path and query that the upstream gets: the canonical ones, under the upstream's own prefix. */
export function upstreamPath(permit: Permit, exchange: Exchange, prefix: string): string {
  let path = exchange.path;
  if (permit.api.stripBase && permit.api.base !== '') {
    path = path.slice(permit.api.base.length);
    if (path === '') path = '/';
  }
  return `${prefix}${path}${exchange.query}`;
}

/**
 * The header fields that the upstream gets, name and value in turn: the client's own less what ends here, and what
 * only the gateway may say. Framing and Host are not among them: each carrier writes its own.
 */
export function upstreamHeaders(
  gateway: Gateway,
  permit: Permit,
  exchange: Exchange,
  upstream: UpstreamOptions,
): string[] {
  const { head } = exchange;
  if (head === null) throw new TypeError('a request without a head was permitted');
  const fields = head.forwarded;
  withoutOwnTokens(gateway, fields);
  gateway.addresses.describe(fields, head, exchange.peer, gateway.options.tls !== null);
  if (permit.principal !== null) {
    identify(fields, permit.principal, exchange.scopes);
    if (upstream.assertion && gateway.assertions !== null) {
      fields.push('portcullis-assertion', gateway.assertions.of(upstream.name, permit.principal, exchange.scopes));
    }
  }
  fields.push('portcullis-request-id', exchange.requestId);
  if (exchange.traceparent !== null) fields.push('traceparent', exchange.traceparent);
  if (upstream.credential !== null) {
    for (let i = fields.length - 2; i >= 0; i -= 2) {
      if (fields[i]?.toLowerCase() === upstream.credential.header) fields.splice(i, 2);
    }
    fields.push(upstream.credential.header, upstream.credential.value.reveal());
  }
  return fields;
}

function identify(fields: string[], principal: Principal, scopes: readonly string[]): void {
  fields.push('portcullis-token-id', principal.tokenId);
  if (principal.subject !== null) fields.push('portcullis-subject', fieldValue(principal.subject));
  fields.push('portcullis-scopes', scopes.join(' '));
}

/**
 * The credential itself was never among the fields; this takes out what has the shape of a token of ours in any other
 * field (its second copy, or one on a public path, where nobody looked), alone or behind a scheme.
 */
function withoutOwnTokens(gateway: Gateway, fields: string[]): void {
  const { authenticator } = gateway.options;
  for (let i = fields.length - 2; i >= 0; i -= 2) {
    const value = fields[i + 1] ?? '';
    const space = value.indexOf(' ');
    if (authenticator.resembles(value) || (space > 0 && authenticator.resembles(value.slice(space + 1).trimStart()))) {
      fields.splice(i, 2);
    }
  }
}

/** Visible ASCII as it is, everything else (and `%`) percent-encoded from UTF-8: a field value holds no other bytes. */
function fieldValue(text: string): string {
  return /^[\x20-\x24\x26-\x7e]*$/.test(text)
    ? text
    : encodeURIComponent(text).replace(/%(20|2[1-46-9A-F]|3A|3B|3C|3D|3E|3F|40|5B|5D)/g, (match) =>
        decodeURIComponent(match),
      );
}
