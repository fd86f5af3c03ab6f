import { readFile, stat } from 'node:fs/promises';
import { JWK_SET_LIMITS } from '../base/jwk-set.ts';
import { isLoopbackHost } from '../base/loopback.ts';
import { isJsonObject, memberOf, parseStrictJson } from '../base/strict-json.ts';

/**
 * From where the keys of an issuer come. `read` gives the bytes of a JWK Set, or null where they are surely the ones it gave
 * last. Rejects with an error whose message is for people.
 */
export interface KeySource {
  read(signal: AbortSignal): Promise<Uint8Array | null>;
  /** Milliseconds between two reads, as long as they succeed. */
  readonly everyMs: number;
}

/** How old keys from elsewhere become: a key that its issuer has withdrawn is taken for so long. */
const REFRESH_MS = 5 * 60_000;
const FILE_LOOK_MS = 2_000;
/** A discovery document, bytes. */
const DISCOVERY_BYTES = 64 * 1024;

export function keysAt(url: URL): KeySource {
  return { everyMs: REFRESH_MS, read: (signal) => fetchBounded(url, JWK_SET_LIMITS.bytes, signal) };
}

/**
 * Asks the issuer's metadata where its keys are, each time: OpenID Connect Discovery 1.0 §4 or RFC 8414 §3. `document` null:
 * at the well-known places that belong to the issuer, one after the other.
 */
export function keysByDiscovery(issuer: string, document: URL | null): KeySource {
  const places = document === null ? wellKnownPlaces(issuer) : [document];
  return {
    everyMs: REFRESH_MS,
    async read(signal) {
      const metadata = await firstOf(places, signal);
      return fetchBounded(keysOfMetadata(metadata.bytes, issuer, metadata.from), JWK_SET_LIMITS.bytes, signal);
    },
  };
}

/** A file is looked at often, and read when it has changed. */
export function keysInFile(path: string): KeySource {
  let known = '';
  return {
    everyMs: FILE_LOOK_MS,
    async read() {
      // Taken before the file is read: what changes meanwhile is read again.
      const { dev, ino, mtimeMs, size } = await stat(path);
      const state = `${dev} ${ino} ${mtimeMs} ${size}`;
      if (state === known) return null;
      if (size > JWK_SET_LIMITS.bytes) throw new Error(`is larger than ${JWK_SET_LIMITS.bytes / 1024} KiB`);
      const bytes = await readFile(path);
      known = state;
      return bytes;
    },
  };
}

function wellKnownPlaces(issuer: string): URL[] {
  const openId = new URL(`${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`);
  const oauth = new URL(issuer);
  // RFC 8414 §3.1: before the path of the issuer, not behind it.
  oauth.pathname = `/.well-known/oauth-authorization-server${oauth.pathname === '/' ? '' : oauth.pathname}`;
  return [openId, oauth];
}

async function firstOf(places: readonly URL[], signal: AbortSignal): Promise<{ bytes: Uint8Array; from: URL }> {
  let failure: unknown;
  for (const from of places) {
    try {
      return { bytes: await fetchBounded(from, DISCOVERY_BYTES, signal), from };
    } catch (error) {
      failure ??= error;
    }
  }
  throw failure;
}

function keysOfMetadata(bytes: Uint8Array, issuer: string, from: URL): URL {
  const parsed = parseStrictJson(bytes);
  if (!parsed.ok || !isJsonObject(parsed.value)) throw new Error('the discovery document is no JSON object');
  // OpenID Connect Discovery §4.3, RFC 8414 §3.3: exactly the one that was asked for, or it speaks for somebody else.
  if (memberOf(parsed.value, 'issuer') !== issuer) throw new Error('the discovery document is of another issuer');
  const text = memberOf(parsed.value, 'jwks_uri');
  const url = typeof text === 'string' ? URL.parse(text) : null;
  if (url === null || url.username !== '' || url.password !== '') {
    throw new Error('the discovery document has no usable jwks_uri');
  }
  // From elsewhere nobody is to send this process to services of its own machine.
  const plain = url.protocol === 'http:' && isLoopbackHost(url.hostname) && isLoopbackHost(from.hostname);
  if (url.protocol !== 'https:' && !plain) throw new Error('the jwks_uri of the discovery document is not https');
  return url;
}

/** One GET, no redirects, bounded; the bytes of an answer of 200. */
async function fetchBounded(url: URL, most: number, signal: AbortSignal): Promise<Uint8Array> {
  const response = await fetch(url, {
    redirect: 'error',
    signal,
    headers: { accept: 'application/json, application/jwk-set+json', 'accept-encoding': 'identity' },
  });
  if (response.status !== 200 || response.body === null) {
    await response.body?.cancel();
    throw new Error(`answered ${response.status}`);
  }
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body) {
    size += chunk.length;
    // Leaving the loop cancels the body.
    if (size > most) throw new Error(`answered with more than ${most / 1024} KiB`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
