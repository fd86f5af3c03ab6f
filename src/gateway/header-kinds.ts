/** What the gateway does with a request header field, by its name. */
export const HeaderKind = {
  /** Forwarded as it came. */
  pass: 0,
  /** Ends here: hop-by-hop (RFC 9110 §7.6.1), or a name that only the gateway may set. */
  drop: 1,
  host: 2,
  contentLength: 3,
  transferEncoding: 4,
  connection: 5,
  upgrade: 6,
  te: 7,
  forwardedFor: 8,
  forwardedProto: 9,
  forwardedHost: 10,
  forwarded: 11,
  traceparent: 12,
  /** May hold the credential, as the configuration says. */
  credential: 13,
  /** A proof of possession (RFC 9449 §4.1). It is for this gateway, and ends here. */
  dpop: 14,
} as const;
export type HeaderKind = (typeof HeaderKind)[keyof typeof HeaderKind];

const KINDS: ReadonlyMap<string, HeaderKind> = new Map<string, HeaderKind>([
  ['host', HeaderKind.host],
  ['content-length', HeaderKind.contentLength],
  ['transfer-encoding', HeaderKind.transferEncoding],
  ['connection', HeaderKind.connection],
  ['upgrade', HeaderKind.upgrade],
  ['te', HeaderKind.te],
  ['traceparent', HeaderKind.traceparent],
  ['dpop', HeaderKind.dpop],
  ['x-forwarded-for', HeaderKind.forwardedFor],
  ['x-forwarded-proto', HeaderKind.forwardedProto],
  ['x-forwarded-host', HeaderKind.forwardedHost],
  ['forwarded', HeaderKind.forwarded],
  // Hop-by-hop, or answered by the gateway itself.
  ['keep-alive', HeaderKind.drop],
  ['proxy-connection', HeaderKind.drop],
  ['proxy-authorization', HeaderKind.drop],
  ['proxy-authenticate', HeaderKind.drop],
  ['trailer', HeaderKind.drop],
  ['expect', HeaderKind.drop],
  ['http2-settings', HeaderKind.drop],
  // Would let a back end act on another method or path than the one that was judged.
  ['x-http-method-override', HeaderKind.drop],
  ['x-http-method', HeaderKind.drop],
  ['x-method-override', HeaderKind.drop],
  ['x-original-url', HeaderKind.drop],
  ['x-original-uri', HeaderKind.drop],
  ['x-original-host', HeaderKind.drop],
  ['x-original-method', HeaderKind.drop],
  ['x-rewrite-url', HeaderKind.drop],
  ['x-override-url', HeaderKind.drop],
  ['x-http-destinationurl', HeaderKind.drop],
  ['x-proxy-url', HeaderKind.drop],
  ['proxy-url', HeaderKind.drop],
  ['proxy-host', HeaderKind.drop],
  ['request-uri', HeaderKind.drop],
  ['x-host', HeaderKind.drop],
  ['x-http-host-override', HeaderKind.drop],
  // Client addresses that only a proxy in front may claim; the gateway says them in X-Forwarded-For.
  ['x-real-ip', HeaderKind.drop],
  ['real-ip', HeaderKind.drop],
  ['x-true-ip', HeaderKind.drop],
  ['x-forwarded', HeaderKind.drop],
  ['x-custom-ip-authorization', HeaderKind.drop],
  ['x-original-remote-addr', HeaderKind.drop],
  ['x-original-forwarded-for', HeaderKind.drop],
  ['x-envoy-internal', HeaderKind.drop],
  ['x-client-ip', HeaderKind.drop],
  ['client-ip', HeaderKind.drop],
  ['true-client-ip', HeaderKind.drop],
  ['cf-connecting-ip', HeaderKind.drop],
  ['fastly-client-ip', HeaderKind.drop],
  ['x-cluster-client-ip', HeaderKind.drop],
  ['x-originating-ip', HeaderKind.drop],
  ['x-remote-ip', HeaderKind.drop],
  ['x-remote-addr', HeaderKind.drop],
  ['x-envoy-external-address', HeaderKind.drop],
  // Identities that other gateways assert: a back end that came from behind one may still believe them.
  ['remote-user', HeaderKind.drop],
  ['x-remote-user', HeaderKind.drop],
  ['x-anonymous-consumer', HeaderKind.drop],
  ['x-credential-identifier', HeaderKind.drop],
  ['x-jwt-assertion', HeaderKind.drop],
  ['cf-access-jwt-assertion', HeaderKind.drop],
  ['x-goog-iap-jwt-assertion', HeaderKind.drop],
  ['x-client-cert', HeaderKind.drop],
  ['l5d-client-id', HeaderKind.drop],
  ['l5d-dst-override', HeaderKind.drop],
  // CGI turns a `Proxy` field into HTTP_PROXY (CVE-2016-5385).
  ['proxy', HeaderKind.drop],
]);

/** Families of names that only a gateway may set: this one's, and those whose identities a back end may still believe. */
const DROPPED_PREFIXES: readonly string[] = [
  'portcullis-',
  'x-forwarded-',
  'x-auth-request-',
  'x-webauth-',
  'x-consumer-',
  'x-pomerium-',
  'x-amzn-oidc-',
  'x-ssl-client-',
];

const CACHE_ENTRIES = 2048;

/**
 * Tells a header's kind from its name as it came. Whatever is no letter and no digit counts as `-`: many back ends fold `_`, and some
 * (PHP) also `.` and the like, so `Portcullis_Subject` would arrive as `Portcullis-Subject`. Names seen are remembered, up to a bound.
 */
export class HeaderKinds {
  readonly #known = new Map<string, HeaderKind>();
  readonly #credentialHeaders: ReadonlySet<string>;

  constructor(credentialHeaders: Iterable<string>) {
    this.#credentialHeaders = new Set(credentialHeaders);
  }

  of(name: string): HeaderKind {
    const known = this.#known.get(name);
    if (known !== undefined) return known;
    const kind = this.#classify(name);
    // Begun anew when full: names that a client made up do not keep the usual ones out for good.
    if (this.#known.size >= CACHE_ENTRIES) this.#known.clear();
    this.#known.set(name, kind);
    return kind;
  }

  #classify(name: string): HeaderKind {
    const lower = name.toLowerCase();
    if (this.#credentialHeaders.has(lower)) return HeaderKind.credential;
    const folded = foldedName(lower);
    const kind = KINDS.get(folded);
    // A folded spelling is never the real field: it can only be meant to slip past, so it ends here.
    if (kind !== undefined) return folded === lower ? kind : HeaderKind.drop;
    if (DROPPED_PREFIXES.some((prefix) => folded.startsWith(prefix))) return HeaderKind.drop;
    if (folded !== lower && this.#credentialHeaders.has(folded)) return HeaderKind.drop;
    return HeaderKind.pass;
  }
}

/** A name, in lower case, as the least careful of back ends tells it from others. */
export function foldedName(lower: string): string {
  return lower.replaceAll(/[^a-z0-9-]/g, '-');
}

/** What the gateway does with a field of an upstream's answer, by its name. */
export const AnswerFieldKind = {
  pass: 0,
  /** Ends here: hop-by-hop (RFC 9110 §7.6.1), or a name that only the gateway may set. */
  drop: 1,
  connection: 2,
  transferEncoding: 3,
  trailer: 4,
  contentLength: 5,
  contentType: 6,
  date: 7,
} as const;
export type AnswerFieldKind = (typeof AnswerFieldKind)[keyof typeof AnswerFieldKind];

const ANSWER_KINDS: ReadonlyMap<string, AnswerFieldKind> = new Map<string, AnswerFieldKind>([
  ['connection', AnswerFieldKind.connection],
  ['transfer-encoding', AnswerFieldKind.transferEncoding],
  ['trailer', AnswerFieldKind.trailer],
  ['content-length', AnswerFieldKind.contentLength],
  ['content-type', AnswerFieldKind.contentType],
  ['date', AnswerFieldKind.date],
  ['keep-alive', AnswerFieldKind.drop],
  ['proxy-connection', AnswerFieldKind.drop],
  ['proxy-authenticate', AnswerFieldKind.drop],
  ['proxy-authorization', AnswerFieldKind.drop],
  ['te', AnswerFieldKind.drop],
  ['upgrade', AnswerFieldKind.drop],
  // Of proofs of possession: the client would take it for a nonce of this gateway (RFC 9449 §8.2).
  ['dpop-nonce', AnswerFieldKind.drop],
  // Would lead clients past the gateway (RFC 7838).
  ['alt-svc', AnswerFieldKind.drop],
]);

/** Tells a field of an answer from its name as it came. Names seen are remembered, up to a bound. */
export class AnswerFieldKinds {
  readonly #known = new Map<string, AnswerFieldKind>();

  of(name: string): AnswerFieldKind {
    const known = this.#known.get(name);
    if (known !== undefined) return known;
    const lower = name.toLowerCase();
    const kind =
      ANSWER_KINDS.get(lower) ?? (lower.startsWith('portcullis-') ? AnswerFieldKind.drop : AnswerFieldKind.pass);
    if (this.#known.size >= CACHE_ENTRIES) this.#known.clear();
    this.#known.set(name, kind);
    return kind;
  }
}
