import { HeaderKind, type HeaderKinds } from './header-kinds.ts';
import type { CredentialSource } from './options.ts';

/** How the body of a request is delimited (RFC 9112 §6.3), re-serialised from here and never copied. */
export type BodyFraming = 'none' | 'length' | 'chunked';

/** What one walk over a request's header section found. `forwarded` is what goes on, name and value in turn. */
export interface RequestHead {
  readonly forwarded: readonly string[];
  readonly host: string;
  /** The host without its port, in lower case and without a trailing dot: what policies name. */
  readonly hostName: string;
  readonly framing: BodyFraming;
  readonly contentLength: number;
  /** The one credential, or null where none was presented. */
  readonly credential: string | null;
  /** Two different credentials in one request. */
  readonly credentialAmbiguous: boolean;
  /** The credential came under the scheme DPoP (RFC 9449 §7.1). */
  readonly dpop: boolean;
  /** Value of the `DPoP` field; the last one where there are several. */
  readonly proof: string | null;
  readonly proofAmbiguous: boolean;
  readonly traceparent: string | null;
  readonly forwardedFor: string | null;
  readonly forwardedProto: string | null;
  readonly forwardedHost: string | null;
  readonly forwardedElements: string | null;
}

/** Reads header sections; holds what the configuration says about them. */
export class RequestHeadReader {
  readonly #kinds: HeaderKinds;
  readonly #sources: readonly CredentialSource[];
  /** The last valid Host and its name: most requests come with the same. */
  #lastHost = '';
  #lastHostName = '';
  /** The last credential that was found came under the scheme DPoP. */
  #lastWasDpop = false;

  constructor(kinds: HeaderKinds, sources: readonly CredentialSource[]) {
    this.#kinds = kinds;
    this.#sources = withDpop(sources);
  }

  /**
   * One walk over the raw fields of a request. Null when its framing, Host or Connection is not what exactly one
   * reading allows (RFC 9112 §3.2, §6.1, §6.3): such a request is refused, never repaired.
   */
  read(raw: readonly string[], httpVersion: string): RequestHead | null {
    const forwarded: string[] = [];
    let host: string | null = null;
    let contentLength: string | null = null;
    let transferEncoding: string | null = null;
    let connection: string | null = null;
    let credential: string | null = null;
    let credentialAmbiguous = false;
    let otherAuthorization = false;
    let dpop = false;
    let proof: string | null = null;
    let proofAmbiguous = false;
    let traceparent: string | null = null;
    let forwardedFor: string | null = null;
    let forwardedProto: string | null = null;
    let forwardedHost: string | null = null;
    let forwardedElements: string | null = null;
    let trailersAccepted = false;
    for (let i = 0; i < raw.length; i += 2) {
      const name = raw[i] ?? '';
      const value = raw[i + 1] ?? '';
      switch (this.#kinds.of(name)) {
        case HeaderKind.pass:
          forwarded.push(name, value);
          break;
        case HeaderKind.credential: {
          const found = this.#credential(name, value);
          if (found === null) {
            if (otherAuthorization) return null;
            otherAuthorization = true;
            forwarded.push(name, value);
          } else if (credential === null) {
            credential = found;
            dpop = this.#lastWasDpop;
          } else if (credential !== found || dpop !== this.#lastWasDpop) credentialAmbiguous = true;
          break;
        }
        case HeaderKind.dpop:
          proofAmbiguous = proof !== null;
          proof = value;
          break;
        case HeaderKind.host:
          if (host !== null) return null;
          host = value;
          break;
        case HeaderKind.contentLength:
          if (contentLength !== null) return null;
          contentLength = value;
          break;
        case HeaderKind.transferEncoding:
          if (transferEncoding !== null) return null;
          transferEncoding = value;
          break;
        case HeaderKind.connection:
          connection = connection === null ? value : `${connection},${value}`;
          break;
        case HeaderKind.te:
          if (value.toLowerCase().includes('trailers')) trailersAccepted = true;
          break;
        case HeaderKind.traceparent:
          if (traceparent !== null) return null;
          traceparent = value;
          break;
        case HeaderKind.forwardedFor:
          forwardedFor = forwardedFor === null ? value : `${forwardedFor}, ${value}`;
          break;
        case HeaderKind.forwardedProto:
          forwardedProto = value;
          break;
        case HeaderKind.forwardedHost:
          forwardedHost = value;
          break;
        case HeaderKind.forwarded:
          forwardedElements = forwardedElements === null ? value : `${forwardedElements}, ${value}`;
          break;
        default:
          break;
      }
    }
    if (host === null) {
      if (httpVersion !== '1.0') return null;
      host = '';
    } else if (host !== this.#lastHost) {
      if (!isHost(host)) return null;
      this.#lastHost = host;
      this.#lastHostName = hostName(host);
    }
    let framing: BodyFraming = 'none';
    let length = 0;
    if (transferEncoding !== null) {
      if (contentLength !== null || httpVersion !== '1.1' || transferEncoding.toLowerCase() !== 'chunked') return null;
      framing = 'chunked';
    } else if (contentLength !== null) {
      length = parseContentLength(contentLength);
      if (length < 0) return null;
      framing = 'length';
    }
    if (connection !== null && !applyConnection(connection, forwarded)) return null;
    if (trailersAccepted) forwarded.push('te', 'trailers');
    return {
      forwarded,
      host,
      hostName: host === '' ? '' : this.#lastHostName,
      framing,
      contentLength: length,
      credential,
      credentialAmbiguous,
      dpop,
      proof,
      proofAmbiguous,
      traceparent,
      forwardedFor,
      forwardedProto,
      forwardedHost,
      forwardedElements,
    };
  }

  /** The credential that this field holds, or null where it holds something else (`Authorization: Basic …`). */
  #credential(name: string, value: string): string | null {
    const lower = name.toLowerCase();
    for (const { header, scheme } of this.#sources) {
      if (header !== lower) continue;
      this.#lastWasDpop = scheme === DPOP;
      if (scheme === null) return value;
      // RFC 9110 §11.1: the scheme is case-insensitive and followed by at least one space.
      if (value.length >= scheme.length && value.slice(0, scheme.length).toLowerCase() === scheme.toLowerCase()) {
        if (value.length === scheme.length) return '';
        if (value.charCodeAt(scheme.length) === 0x20) return value.slice(scheme.length + 1).trim();
      }
    }
    return null;
  }
}

/** The scheme of tokens that are presented with a proof (RFC 9449 §7.1), as it is written here and nowhere else. */
const DPOP = 'dpop';

/** Wherever `Authorization` may hold a token it may also hold one with a proof. */
function withDpop(sources: readonly CredentialSource[]): readonly CredentialSource[] {
  const spelled = sources.map(({ header, scheme }) => ({
    header,
    scheme: scheme?.toLowerCase() === DPOP ? DPOP : scheme,
  }));
  const has = (header: string, scheme: string | null): boolean =>
    spelled.some((source) => source.header === header && source.scheme === scheme);
  if (!spelled.some(({ header }) => header === 'authorization') || has('authorization', DPOP)) return spelled;
  const dpop = { header: 'authorization', scheme: DPOP };
  // Bearer first, as most requests have it; but what takes the whole value would take this too.
  return has('authorization', null) ? [dpop, ...spelled] : [...spelled, dpop];
}

/** Digits only; -1 for anything else, and for what a number cannot hold exactly. */
function parseContentLength(text: string): number {
  if (text.length === 0 || text.length > 16) return -1;
  for (let i = 0; i < text.length; i += 1) {
    const code = text.charCodeAt(i);
    if (code < 0x30 || code > 0x39) return -1;
  }
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : -1;
}

const NEVER_NAMED: ReadonlySet<string> = new Set(['host', 'content-length', 'transfer-encoding']);

/**
 * Takes the fields that `Connection` names out of what is forwarded (RFC 9110 §7.6.1). False where it names a field
 * that delimits or routes the message: no sender means that, so it is an attack or a fault.
 */
function applyConnection(connection: string, forwarded: string[]): boolean {
  if (connection === 'keep-alive' || connection === 'close' || connection === 'Upgrade') return true;
  for (const option of connection.split(',')) {
    const name = option.trim().toLowerCase();
    if (name === '' || name === 'keep-alive' || name === 'close' || name === 'upgrade') continue;
    if (NEVER_NAMED.has(name)) return false;
    for (let i = forwarded.length - 2; i >= 0; i -= 2) {
      if (forwarded[i]?.toLowerCase() === name) forwarded.splice(i, 2);
    }
  }
  return true;
}

/** `uri-host [ ":" port ]` (RFC 9110 §7.2), without user information; an empty value is what some 1.0 clients send. */
export function isHost(value: string): boolean {
  if (value.length > 255 + 6) return false;
  let end = 0;
  if (value.startsWith('[')) {
    const close = value.indexOf(']');
    if (close < 2) return false;
    for (let i = 1; i < close; i += 1) if (!isAddressCode(value.charCodeAt(i))) return false;
    end = close + 1;
  } else {
    let dotBefore = true;
    while (end < value.length && value.charCodeAt(end) !== 0x3a) {
      const code = value.charCodeAt(end);
      if (!isRegNameCode(code)) return false;
      if (code === 0x2e && dotBefore) return false;
      dotBefore = code === 0x2e;
      end += 1;
    }
    if (end === 0) return value === '';
  }
  if (end === value.length) return true;
  if (value.charCodeAt(end) !== 0x3a) return false;
  const port = value.slice(end + 1);
  return port.length <= 5 && /^\d*$/.test(port) && Number(port) <= 65_535;
}

/** RFC 3986 §3.2.2 reg-name without percent-encoding and without the comma, which would part a list of hosts in two. */
function isRegNameCode(code: number): boolean {
  return (
    (code >= 0x61 && code <= 0x7a) ||
    (code >= 0x41 && code <= 0x5a) ||
    (code >= 0x30 && code <= 0x39) ||
    code === 0x2d ||
    code === 0x2e ||
    code === 0x5f ||
    code === 0x7e ||
    code === 0x21 ||
    code === 0x24 ||
    (code >= 0x26 && code <= 0x2b) ||
    code === 0x3b ||
    code === 0x3d
  );
}

function isAddressCode(code: number): boolean {
  return (
    (code >= 0x30 && code <= 0x3a) || (code >= 0x61 && code <= 0x66) || (code >= 0x41 && code <= 0x46) || code === 0x2e
  );
}

/** Without its port, in lower case and without a trailing dot. */
export function hostName(host: string): string {
  const end = host.startsWith('[') ? host.indexOf(']') + 1 : host.indexOf(':');
  const name = (end > 0 ? host.slice(0, end) : host).toLowerCase();
  return name.endsWith('.') ? name.slice(0, -1) : name;
}
