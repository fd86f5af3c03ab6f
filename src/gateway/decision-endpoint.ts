import { METHODS, STATUS_CODES } from 'node:http';
import { NEVER_FORWARDED } from '../policy/never-forwarded.ts';
import { canonicalTarget } from './canonical-path.ts';
import type { Exchange } from './exchange.ts';
import type { Gateway } from './gateway.ts';
import type { Permit } from './permit.ts';
import { type Refusal, refuse } from './refusal.ts';
import { hostName, isHost, type RequestHead } from './request-head.ts';
import { ownFields } from './response-head.ts';
import { identify } from './target.ts';

/**
 * The decision alone, for another proxy that forwards by itself: it tells in header fields (or, as Envoy does, in method and
 * path) what request it was sent, and gets 200 with the identity fields, or the refusal that the client would have got here.
 */
export const DECISION_PATH = '/.portcullis/authz';

const DOT = 0x2e;

/**
 * Told by its spelling, before dot segments are resolved: behind the prefix stands a path of somebody else's, which must
 * not climb out of it and become a request to an upstream of ours.
 */
export function isDecisionCall(target: string): boolean {
  if (target.charCodeAt(1) !== DOT || !target.startsWith(DECISION_PATH)) return false;
  const next = target.charAt(DECISION_PATH.length);
  return next === '' || next === '?' || next === '/';
}

/** Said to whoever has a good token and is no trusted proxy. */
export const NO_TRUSTED_PROXY =
  'Decisions are given to proxies only: the address of this one is not among listen.trusted_proxies.';

type Part = 'method' | 'uri' | 'host';

const FIELDS: ReadonlyMap<string, Part> = new Map<string, Part>([
  ['x-forwarded-method', 'method'],
  ['x-original-method', 'method'],
  ['x-forwarded-uri', 'uri'],
  ['x-original-uri', 'uri'],
  ['x-forwarded-host', 'host'],
]);

const SERVED_METHODS: ReadonlySet<string> = new Set(METHODS.filter((method) => !NEVER_FORWARDED.has(method)));

/**
 * Puts the request that the proxy was sent in the place of its own. Null when it has exactly one reading. To be called for
 * trusted peers only.
 */
export function readOriginalRequest(exchange: Exchange, head: RequestHead): Refusal | null {
  exchange.decisionOnly = true;
  const said = partsSaid(exchange.request.rawHeaders);
  if (typeof said === 'string') return refuse('request_malformed', said);
  const target = exchange.request.url ?? '';
  if (target.charAt(DECISION_PATH.length) === '/') {
    const wrong =
      differs(said, 'method', exchange.method) ??
      differs(said, 'uri', target.slice(DECISION_PATH.length)) ??
      differs(said, 'host', head.host);
    if (wrong !== null) return wrong;
  }
  return take(exchange, head, said);
}

/** What the fields say of each part, or what is wrong with them. */
function partsSaid(raw: readonly string[]): Map<Part, string> | string {
  const said = new Map<Part, string>();
  const seen = new Set<string>();
  for (let i = 0; i < raw.length; i += 2) {
    const name = (raw[i] ?? '').toLowerCase();
    const part = FIELDS.get(name);
    if (part === undefined) continue;
    if (seen.has(name)) return `${name} stands there twice.`;
    seen.add(name);
    const value = raw[i + 1] ?? '';
    const other = said.get(part);
    if (other !== undefined && other !== value) return `The fields about the original ${part} contradict each other.`;
    said.set(part, value);
  }
  return said;
}

/** What the decision request itself says, where the path stands behind the prefix: fields may repeat it, not contradict it. */
function differs(said: Map<Part, string>, part: Part, own: string): Refusal | null {
  const other = said.get(part);
  said.set(part, own);
  if (other === undefined || other === own) return null;
  return refuse('request_malformed', `A field about the original ${part} contradicts the request itself.`);
}

function take(exchange: Exchange, head: RequestHead, said: ReadonlyMap<Part, string>): Refusal | null {
  const method = said.get('method');
  const uri = said.get('uri');
  const host = said.get('host') ?? head.host;
  if (method === undefined || uri === undefined) {
    const missing = method === undefined ? 'method' : 'uri';
    return refuse(
      'request_malformed',
      `The original ${missing} is missing: X-Forwarded-* or X-Original-* has to tell it.`,
    );
  }
  if (!SERVED_METHODS.has(method)) return refuse('request_malformed', 'The original method is not served here.');
  if (!isHost(host)) return refuse('request_malformed', 'The original host is not valid.');
  exchange.method = method;
  exchange.host = hostName(host);
  // Without X-Forwarded-For nobody says who the client is. That it is the proxy would be a guess, and let it meet conditions.
  if (head.forwardedFor === null) exchange.client = '';
  const target = canonicalTarget(uri);
  if (!target.ok) return refuse(target.reason);
  if (target.authority !== null && target.authority.toLowerCase() !== host.toLowerCase()) {
    return refuse('request_malformed', 'The original request-target and host name different authorities.');
  }
  if (RESTRUCTURED.test(uri.replace(/[?#].*$/s, ''))) {
    return refuse('path_ambiguous', 'Repeated slashes and dot segments are not decided on for another proxy.');
  }
  exchange.path = target.path;
  return null;
}

/**
 * Repeated slashes and dot segments. The gateway forwards without them; a proxy that asks it forwards the path as it came,
 * and whoever serves it may see another one than the policy did.
 */
const RESTRUCTURED = /(?<!^https?:)\/\/|\/(?:\.|%2e){1,2}(?:\/|$)/i;

const IDENTITY_FIELDS = ['portcullis-token-id', 'portcullis-subject', 'portcullis-scopes', 'portcullis-assertion'];

/** The answer to a request that was let in: who it is, and the path that was judged. Nothing goes to an upstream. */
export function answerDecision(gateway: Gateway, exchange: Exchange, permit: Permit): void {
  // Since its token was looked up the request may have waited.
  const refused = gateway.streams.refusal(exchange);
  if (refused !== null) {
    gateway.answer(exchange, refuse(refused));
    return;
  }
  const { response } = exchange;
  const fields = ['content-length', '0', 'cache-control', 'no-store', 'portcullis-path', exchange.path];
  if (permit.principal !== null) {
    identify(fields, permit.principal, exchange.scopes);
    const upstream = gateway.upstreams.get(permit.api.upstream);
    if (upstream?.options.assertion === true && gateway.assertions !== null) {
      fields.push(
        'portcullis-assertion',
        gateway.assertions.of(permit.api.upstream, permit.principal, exchange.scopes),
      );
    }
  }
  // All of them, empty where there is nobody: a proxy copies them over what the client has sent under these names.
  // (What a field says may be the name of another.)
  const named = new Set(fields.filter((_, index) => index % 2 === 0));
  for (const name of IDENTITY_FIELDS) if (!named.has(name)) fields.push(name, '');
  fields.push(...ownFields(gateway, exchange));
  const last = exchange.bodyPending || gateway.draining;
  if (last) fields.push('connection', 'close');
  exchange.served = true;
  exchange.status = 200;
  response.writeHead(200, STATUS_CODES[200] ?? '', fields);
  if (exchange.bodyPending) response.linger();
  response.finish();
}
