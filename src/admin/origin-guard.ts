import { isIP } from 'node:net';
import { type Refusal, refusal } from './problem.ts';

/**
 * Keeps other sites' pages away from a listener on the operator's own machine.
 *
 * A page of another site reaches it in two ways. It sends a cross-site request, which carries a foreign `Origin`: refused
 * always. Or its name is made to resolve to the loopback address (DNS rebinding), so that the browser takes the
 * listener for the page's own server: on a loopback listener only an address, `localhost` or the configured host is
 * accepted as `Host`. A listener on any other address is reached by names that only the operator's network knows
 * (a container's, a service's), and there the token is what protects.
 *
 * No answer ever carries a CORS header, so no page of another origin reads one.
 */
export function guardOrigin(
  headers: { readonly host?: string; readonly origin?: string },
  listener: { readonly host: string; readonly loopback: boolean },
): Refusal | null {
  const host = headers.host ?? '';
  if (headers.origin !== undefined && hostOfOrigin(headers.origin) !== host.toLowerCase()) {
    return refusal('origin_refused', 'the request comes from a page of another origin');
  }
  if (!listener.loopback) return null;
  const name = hostname(host);
  const known = isIP(name) !== 0 || name === 'localhost' || name.endsWith('.localhost') || name === listener.host;
  return known ? null : refusal('origin_refused', 'the Host of the request is not a name of this listener');
}

/** True for addresses that only this machine can reach. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

function hostname(host: string): string {
  const bracketed = /^\[([^\]]*)\](?::\d*)?$/.exec(host);
  return (bracketed?.[1] ?? host.replace(/:\d*$/, '')).toLowerCase();
}

function hostOfOrigin(origin: string): string | null {
  return /^https?:\/\/([^/?#@\s]+)$/i.exec(origin)?.[1]?.toLowerCase() ?? null;
}
