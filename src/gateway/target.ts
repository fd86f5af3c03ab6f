import type { Principal } from '../model/principal.ts';
import type { Exchange } from './exchange.ts';
import type { Gateway } from './gateway.ts';
import { foldedName } from './header-kinds.ts';
import type { Permit } from './permit.ts';
import type { RequestHead } from './request-head.ts';
import { checkedLines } from './upstream-request-head.ts';
import type { Upstream } from './upstreams.ts';

/** The path and query that the upstream gets: the canonical ones, under the upstream's own prefix. */
export function upstreamPath(permit: Permit, exchange: Exchange, prefix: string): string {
  let path = exchange.path;
  if (permit.api.stripBase && permit.api.base !== '') {
    path = path.slice(permit.api.base.length);
    if (path === '') path = '/';
  }
  return `${prefix}${path}${exchange.query}`;
}

/** The header fields of a request to an upstream. */
export interface UpstreamFields {
  /** Valid lines, each with its CRLF. */
  readonly lines: string;
  /** The others, name and value in turn. */
  readonly fields: string[];
}

/** Lines that come again with every request of the same header section and token to the same upstream. */
export interface UpstreamLines {
  readonly upstream: Upstream;
  readonly principal: Principal | null;
  readonly policyVersion: string | null;
  readonly lines: string;
}

/**
 * What the upstream gets: the client's own fields less what ends here, and what only the gateway may say. Framing is not
 * among them: each carrier writes its own. Throws RequestUnwritable.
 */
export function upstreamHeaders(
  gateway: Gateway,
  permit: Permit,
  exchange: Exchange,
  upstream: Upstream,
): UpstreamFields {
  const { head } = exchange;
  if (head === null) throw new TypeError('a request without a head was permitted');
  const own = ['portcullis-request-id', exchange.requestId];
  if (exchange.traceparent !== null) own.push('traceparent', exchange.traceparent);
  const { credential, assertion, name } = upstream.options;
  if (assertion && permit.principal !== null && gateway.assertions !== null) {
    own.push('portcullis-assertion', gateway.assertions.of(name, permit.principal, exchange.scopes));
  }
  if (credential !== null) own.push(credential.header, credential.value.reveal());
  const { memo } = exchange.request;
  if (memo === undefined)
    return { lines: '', fields: [...lastingFields(gateway, permit, exchange, head, upstream), ...own] };
  const { principal } = permit;
  const { policyVersion } = exchange;
  let known = memo.upstream;
  if (known?.principal !== principal || known.policyVersion !== policyVersion || known.upstream !== upstream) {
    const fields = lastingFields(gateway, permit, exchange, head, upstream);
    known = { upstream, principal, policyVersion, lines: checkedLines(fields) };
    memo.upstream = known;
  }
  return { lines: known.lines, fields: own };
}

/** The fields in which a request is like the one before it with the same header section, token and upstream. */
function lastingFields(
  gateway: Gateway,
  permit: Permit,
  exchange: Exchange,
  head: RequestHead,
  { options, host }: Upstream,
): string[] {
  const fields = [...head.forwarded];
  withoutOwnTokens(gateway, fields);
  gateway.addresses.describe(fields, head, exchange.peer, gateway.options.tls !== null);
  if (permit.principal !== null) identify(fields, permit.principal, exchange.scopes);
  const { credential } = options;
  if (credential !== null) {
    // Many back ends take an underscore for a hyphen, and would have two of it.
    const ours = foldedName(credential.header.toLowerCase());
    for (let i = fields.length - 2; i >= 0; i -= 2) {
      if (foldedName(fields[i]?.toLowerCase() ?? '') === ours) fields.splice(i, 2);
    }
  }
  fields.push('host', options.preserveHost && head.host !== '' ? head.host : host);
  if (exchange.upgrade === null) fields.push('connection', 'keep-alive');
  return fields;
}

/** The fields that say who is asking. */
export function identify(fields: string[], principal: Principal, scopes: readonly string[]): void {
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
