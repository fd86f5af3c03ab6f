import { request } from 'node:http';

/** Which of the demonstration's tokens a call carries. */
export type DemoToken = 'none' | 'read' | 'write' | 'expired' | 'made up' | 'revoked';

export interface DemoCall {
  readonly method: string;
  /** The request-target, sent as it stands. */
  readonly path: string;
  readonly token: DemoToken;
  readonly status: number;
  /** The reason of a refusal; null for an answer of the upstream. */
  readonly reason: string | null;
  readonly body?: string;
}

/** What the shipped policies make of it all. The last call comes after a revocation. */
export const DEMO_CALLS: readonly DemoCall[] = [
  { method: 'GET', path: '/orders', token: 'none', status: 401, reason: 'token_missing' },
  { method: 'GET', path: '/orders', token: 'read', status: 200, reason: null },
  { method: 'GET', path: '/orders/1', token: 'read', status: 200, reason: null },
  {
    method: 'POST',
    path: '/orders',
    token: 'read',
    status: 403,
    reason: 'scope_insufficient',
    body: '{"item":"gate"}',
  },
  { method: 'POST', path: '/orders', token: 'write', status: 201, reason: null, body: '{"item":"gate"}' },
  { method: 'GET', path: '/orders', token: 'expired', status: 401, reason: 'token_expired' },
  { method: 'GET', path: '/orders', token: 'made up', status: 401, reason: 'token_malformed' },
  { method: 'GET', path: '/orders/tenants/acme/1', token: 'read', status: 403, reason: 'condition_failed' },
  { method: 'GET', path: '/admin', token: 'write', status: 403, reason: 'route_not_declared' },
  { method: 'GET', path: '/orders/%2e%2e/admin', token: 'write', status: 403, reason: 'route_not_declared' },
  { method: 'GET', path: '/orders/%2e%2e/%2e%2e/admin', token: 'write', status: 400, reason: 'path_ambiguous' },
  { method: 'GET', path: '/orders/..;/admin', token: 'write', status: 400, reason: 'path_ambiguous' },
  { method: 'GET', path: '/orders%2fadmin', token: 'write', status: 400, reason: 'path_ambiguous' },
  { method: 'GET', path: '/health', token: 'none', status: 200, reason: null },
  { method: 'GET', path: '/orders', token: 'revoked', status: 401, reason: 'token_revoked' },
];

export interface DemoAnswer {
  readonly status: number;
  /** The `reason` of a problem document (RFC 9457), else null. */
  readonly reason: string | null;
}

const TIMEOUT_MS = 10_000;

/** Sends one call over a real socket. fetch would tidy the path up; node:http sends it as it stands. */
export function send(trafficUrl: string, call: DemoCall, token: string | null): Promise<DemoAnswer> {
  const { hostname, port } = new URL(trafficUrl);
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        hostname,
        port,
        method: call.method,
        path: call.path,
        agent: false,
        timeout: TIMEOUT_MS,
        headers: {
          ...(token === null ? {} : { authorization: `Bearer ${token}` }),
          ...(call.body === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(call.body) }),
        },
      },
      (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => {
          text += chunk;
        });
        response.on('error', reject);
        response.on('end', () => resolve({ status: response.statusCode ?? 0, reason: reasonOf(text) }));
      },
    );
    sent.on('timeout', () => sent.destroy(new Error(`no answer within ${TIMEOUT_MS / 1000} s`)));
    sent.on('error', reject);
    sent.end(call.body);
  });
}

function reasonOf(text: string): string | null {
  try {
    const parsed: unknown = JSON.parse(text);
    return typeof parsed === 'object' && parsed !== null && 'reason' in parsed ? String(parsed.reason) : null;
  } catch {
    return null;
  }
}
