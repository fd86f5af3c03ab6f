import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestGateway } from '../support/gateway.ts';
import { GatewayProgram } from '../support/gateway-program.ts';
import { plantToken } from '../support/planted-token.ts';
import { TestUpstream } from '../support/upstream.ts';

const DAY_MS = 86_400_000;

const ORDERS = `api: orders
upstream: orders
base: /orders
preflight: forward
rules:
  - { name: read, methods: [GET], path: [/, "/{id}"], scopes: [orders:read] }
  - { name: support, methods: [DELETE], path: "/{id}", any_of: [orders:delete, orders:admin] }
`;
const TRIAL = `api: trial
upstream: orders
base: /trial
mode: report
rules:
  - { name: read, methods: [GET], path: /, scopes: [orders:audit] }
`;
const BY_HOST = `api: by-host
upstream: orders
hosts: [shop.example]
rules:
  - { name: all, path: [/, "/{rest...}"], scopes: [orders:read] }
`;
const ROLES = `roles:
  support: { scopes: [orders:delete] }
  lead: { includes: [support] }
`;

describe('policies at work', () => {
  let upstream: TestUpstream;
  let gateway: TestGateway;
  let token: string;

  beforeAll(async () => {
    upstream = await TestUpstream.start();
    gateway = await TestGateway.start({
      upstreams: { orders: upstream.url },
      policies: { 'orders.yaml': ORDERS, 'trial.yaml': TRIAL, 'by-host.yaml': BY_HOST, 'roles.yaml': ROLES },
    });
    ({ token } = await gateway.issue());
  });

  afterAll(async () => {
    await gateway?.close();
    await upstream?.close();
  });

  it('let a request through by a role, and by a role in a role', async () => {
    const lead = await gateway.issue({ scopes: [], roles: ['lead'] });
    expect((await gateway.call('/orders/1', { method: 'DELETE', token: lead.token })).status).toBe(200);
    expect(upstream.seen.at(-1)?.headers['portcullis-scopes']).toBe('orders:delete');
    expect((await gateway.call('/orders/1', { method: 'DELETE', token })).status).toBe(403);
  });

  it('that only report let a valid token through, and say what they would have done', async () => {
    for (const path of ['/trial', '/trial/undeclared']) {
      const answer = await gateway.call(path, { token });
      expect(answer.status).toBe(200);
      expect(await gateway.eventOf(answer)).toMatchObject({
        type: 'access.would_deny',
        reason: path === '/trial' ? 'scope_insufficient' : 'route_not_declared',
        api: 'trial',
        status: 200,
      });
    }
    expect((await gateway.call('/trial')).status).toBe(401);
    expect(await gateway.metric(/^portcullis_requests_total\{.*api="trial".*decision="would_deny"/)).toBe(2);
  });

  it('hand a preflight on for a declared route only, and nothing else without a token', async () => {
    const preflight = { origin: 'https://app.example', 'access-control-request-method': 'GET' };
    const before = upstream.seen.length;
    expect((await gateway.call('/orders/1', { method: 'OPTIONS', headers: preflight })).status).toBe(200);
    expect(upstream.seen.length).toBe(before + 1);
    for (const headers of [
      { ...preflight, 'access-control-request-method': 'PUT' },
      { origin: 'https://app.example' },
      {},
    ] as Record<string, string>[]) {
      expect((await gateway.call('/orders/1', { method: 'OPTIONS', headers })).status).toBe(401);
    }
    expect((await gateway.call('/trial', { method: 'OPTIONS', headers: preflight })).status).toBe(401);
    expect(upstream.seen.length).toBe(before + 1);
  });

  it('belong to a host, in any case and with any port', async () => {
    const allowed = await gateway.call('/anything', { token, headers: { host: 'SHOP.example:8080' } });
    expect(allowed.status).toBe(200);
    expect((await gateway.call('/anything', { token, headers: { host: 'other.example' } })).status).toBe(403);
  });

  it('never hand out the gateway’s own paths', async () => {
    const before = upstream.seen.length;
    for (const path of [
      '/.portcullis/authz',
      '/.portcullis',
      '/%2eportcullis/x',
      '/.well-known/oauth-protected-resource',
    ]) {
      expect((await gateway.call(path, { token, headers: { host: 'shop.example' } })).status).toBe(403);
      expect((await gateway.call(path, { headers: { host: 'shop.example' } })).status).toBe(401);
    }
    expect(upstream.seen.length).toBe(before);
  });

  it('see an encoded spelling as what it is, and refuse what two readings part', async () => {
    expect((await gateway.call('/orders/%31', { token })).status).toBe(200);
    expect(upstream.seen.at(-1)?.url).toBe('/orders/1');
    expect((await gateway.call('/orders/1;v=2', { token })).status).toBe(200);
    const parted = await gateway.call('/trial;v=2', { token });
    expect(parted.problem?.reason).toBe('path_ambiguous');
  });
});

describe('what a token’s holder is told', () => {
  it('that it ends soon, and that it has been replaced', async () => {
    const upstream = await TestUpstream.start();
    const gateway = await TestGateway.start({
      upstreams: { orders: upstream.url },
      policies: { 'orders.yaml': ORDERS },
    });
    const ends = Date.now() + 2 * DAY_MS;
    const soon = await plantToken(gateway.folder, { expires_at: ends });
    const later = await gateway.issue();
    expect((await gateway.call('/orders', { token: soon.token })).headers['portcullis-token-expires']).toBe(
      new Date(ends).toISOString(),
    );
    expect((await gateway.call('/orders', { token: later.token })).headers['portcullis-token-expires']).toBeUndefined();

    const rotated = await gateway.admin('POST', `/v1/tokens/${later.id}/rotate`, { grace: '1h' });
    const { token, grace_until } = JSON.parse(rotated.text) as { token: string; grace_until: string };
    const old = await gateway.call('/orders', { token: later.token });
    expect(old.status).toBe(200);
    expect(old.headers['portcullis-token-superseded']).toBe(grace_until);
    const renewed = await gateway.call('/orders', { token });
    expect(renewed.status).toBe(200);
    expect(renewed.headers['portcullis-token-superseded']).toBeUndefined();
    await gateway.close();
    await upstream.close();
  });

  it('and its owner sees when and from where it was last used', async () => {
    const upstream = await TestUpstream.start();
    const options = { upstreams: { orders: upstream.url }, policies: { 'orders.yaml': ORDERS } };
    const gateway = await TestGateway.start(options);
    const { id, token } = await gateway.issue();
    const before = Date.now();
    for (let i = 0; i < 3; i += 1) await gateway.call('/orders', { token });
    const record = await eventually(async () => {
      const { text } = await gateway.admin('GET', `/v1/tokens/${id}`);
      const found = JSON.parse(text) as { use_count: number; last_used_at: string; last_used_ip: string };
      return found.use_count === 3 ? found : null;
    });
    expect(record.last_used_ip).toBe('127.0.0.1');
    expect(Date.parse(record.last_used_at)).toBeGreaterThanOrEqual(before);
    await gateway.close();
    await upstream.close();
  });
});

describe('a reload', () => {
  const CLOSED = ORDERS.replace('[orders:read]', '[orders:other]');

  it('through the API or a signal or a changed file swaps the policy; a bad file changes nothing', async () => {
    const upstream = await TestUpstream.start();
    const gateway = await TestGateway.start({
      upstreams: { orders: upstream.url },
      policies: { 'orders.yaml': ORDERS },
    });
    const { token } = await gateway.issue();
    const file = join(gateway.folder, 'policies/orders.yaml');
    expect((await gateway.call('/orders', { token })).status).toBe(200);

    await replace(file, CLOSED);
    expect((await gateway.admin('POST', '/v1/policies/reload')).status).toBe(200);
    expect((await gateway.call('/orders', { token })).status).toBe(403);

    await replace(file, `${ORDERS}\nrulez: []\n`);
    const bad = await gateway.admin('POST', '/v1/policies/reload');
    expect(bad.status).toBeGreaterThanOrEqual(400);
    expect(bad.text).toContain('rulez');
    expect((await gateway.call('/orders', { token })).status).toBe(403);
    expect(await gateway.event((line) => line.type === 'policy.rejected')).toMatchObject({ outcome: 'failure' });
    expect((await gateway.admin('GET', '/v1/policies')).text).toContain('rulez');

    await replace(file, ORDERS);
    const loads = (await gateway.auditLines()).filter(({ type }) => type === 'policy.loaded').length;
    await eventually(async () =>
      (await gateway.auditLines()).filter(({ type }) => type === 'policy.loaded').length > loads ? true : null,
    );
    expect((await gateway.call('/orders', { token })).status).toBe(200);

    const program = await GatewayProgram.start(await gateway.secondConfig());
    await replace(file, CLOSED);
    program.child.kill('SIGHUP');
    await eventually(async () => {
      const { statusCode } = await fetchStatus(`${program.trafficUrl}/orders`, token);
      return statusCode === 403 ? true : null;
    });
    expect((await program.signal('SIGTERM')).code).toBe(0);
    await gateway.close();
    await upstream.close();
  }, 60_000);
});

async function fetchStatus(url: string, token: string): Promise<{ readonly statusCode: number }> {
  const response = await fetch(url, { headers: { authorization: `Bearer ${token}` } });
  await response.arrayBuffer();
  return { statusCode: response.status };
}

/** As editors and deployments do it: a whole file in one step. */
async function replace(file: string, text: string): Promise<void> {
  await writeFile(`${file}.new`, text);
  await rename(`${file}.new`, file);
}

/** Asks again until there is an answer; for what happens in the background and announces itself to nobody. */
async function eventually<T>(ask: () => Promise<T | null>, timeoutMs = 15_000): Promise<T> {
  const end = Date.now() + timeoutMs;
  for (;;) {
    const answer = await ask();
    if (answer !== null) return answer;
    if (Date.now() > end) throw new Error(`nothing came of it in ${timeoutMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}
