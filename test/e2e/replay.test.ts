import { execFile } from 'node:child_process';
import { appendFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CONDITION_NAMES } from '../../src/model/condition.ts';
import type { TokenRecord } from '../../src/model/token-record.ts';
import { loadPolicyFolder } from '../../src/policy/load.ts';
import type { RecordedEvent } from '../../src/policy/recorded-request.ts';
import { Replay, type ReplayReport } from '../../src/policy/replay-report.ts';
import { PORTCULLIS } from '../cli/portcullis.ts';
import { type Answer, TestGateway } from '../support/gateway.ts';
import { madeUpToken, plantToken } from '../support/planted-token.ts';
import { TestUpstream } from '../support/upstream.ts';

const DAY_MS = 86_400_000;

/** An hour that is far from now, whatever the time: this test must not hang on when it is run. */
const elsewhen = new Date(Date.now() + DAY_MS / 2).getUTCHours();
const two = (hour: number): string => String(hour).padStart(2, '0');
const NEVER_NOW = `${two(elsewhen)}:00-${two(elsewhen)}:30`;

const ORDERS = `api: orders
upstream: up
base: /orders
preflight: forward
rules:
  - { name: read, methods: [GET], path: [/, "/{id}"], scopes: [orders:read] }
  - { name: write, methods: [POST], path: /, any_of: [orders:write, orders:admin] }
  - { name: from inside, path: /inside, when: { ip: [10.0.0.0/8] } }
  - { name: tenant, path: "/of/{tenant}/{rest...}", scopes: [orders:read], when: { claims: { tenant: "{tenant}", level: 3 } } }
  - { name: mine, path: "/mine/{who}", when: { claims: { sub: "{who}" } } }
  - { name: always open, path: /always, when: { time: { days: mon-sun } } }
  - { name: never now, path: /never, when: { time: { hours: "${NEVER_NOW}" } } }
  - { name: opaque, path: /opaque, when: { token_type: opaque } }
  - { name: jwt, path: /jwt, when: { token_type: jwt } }
  - { name: fresh, path: /fresh, when: { max_token_age: 30d } }
  - { name: limited, path: /limited, rate_limit: { requests: 1, per: 1d } }
  - { name: health, path: /health, public: true }
`;
const TRIAL = `api: trial
upstream: up
base: /trial
mode: report
rules:
  - { name: reported, methods: [GET], path: /, scopes: [orders:audit] }
  - { name: enforced, methods: [GET], path: /enforced, scopes: [orders:audit], mode: enforce }
`;
const HOSTED = `api: hosted
upstream: up
hosts: [shop.example]
rules:
  - { name: all, path: [/, "/{rest...}"], scopes: [orders:read] }
  - { name: trial of one rule, path: /try, scopes: [orders:audit], mode: report }
`;
const POLICIES = {
  'orders.yaml': ORDERS,
  'trial.yaml': TRIAL,
  'hosted.yaml': HOSTED,
  'roles.yaml': 'roles: { writer: { scopes: [orders:write] }, lead: { includes: [writer] } }\n',
};

describe('a recorded run', () => {
  let upstream: TestUpstream;
  let gateway: TestGateway;
  const answers: Answer[] = [];
  let events: RecordedEvent[] = [];

  async function call(
    path: string,
    options: { method?: string; token?: string; from?: string; headers?: Record<string, string> } = {},
  ): Promise<void> {
    const { from, headers, ...rest } = options;
    const forwarded: Record<string, string> = from === undefined ? {} : { 'x-forwarded-for': from };
    answers.push(await gateway.call(path, { ...rest, headers: { ...forwarded, ...headers } }));
  }

  async function everyPath(token: string | undefined): Promise<void> {
    for (const path of ['/orders', '/orders/7', '/orders/of/acme/x/y', '/orders/of/globex/x', '/orders/mine/ann']) {
      await call(path, { token });
    }
    for (const name of ['always', 'never', 'opaque', 'jwt', 'fresh', 'health', 'no/such/path']) {
      await call(`/orders/${name}`, { token });
    }
    await call('/orders', { method: 'POST', token });
    await call('/orders/inside', { token, from: '10.1.2.3' });
    await call('/orders/inside', { token, from: '192.0.2.7' });
    for (const path of ['/trial', '/trial/undeclared', '/trial/enforced']) await call(path, { token });
    for (const path of ['/anything', '/try']) await call(path, { token, headers: { host: 'shop.example' } });
    await call('/elsewhere', { token });
    await call('/trial;v=2', { token });
    await call('/orders/%2f', { token });
  }

  beforeAll(async () => {
    upstream = await TestUpstream.start();
    gateway = await TestGateway.start({
      upstreams: { up: upstream.url },
      policies: POLICIES,
      config: { listen: '{ host: 127.0.0.1, port: 0, trusted_proxies: [127.0.0.1] }' },
    });
    const planted: Partial<TokenRecord>[] = [
      {},
      { scopes: [], roles: ['lead', 'gone'] },
      {
        scopes: ['orders:*'],
        claims: { tenant: 'acme', level: 3, notes: { any: ['thing'] }, '9': 'x', '10': ['y', null] },
      },
      { claims: { tenant: ['globex', 'acme'], level: 3 }, subject: 'ann' },
      { claims: { tenant: 'acme', level: '3' }, ip: ['10.0.0.0/8'] },
      { class: 'admin', scopes: ['*'] },
      { created_at: Date.now() - 60 * DAY_MS, expires_at: Date.now() + DAY_MS },
      { claims: { tenant: 'acme', level: 3, long: 'x'.repeat(5000) } },
    ];
    const tokens: string[] = [];
    for (const fields of planted) tokens.push((await plantToken(gateway.folder, fields)).token);
    for (const token of [...tokens, undefined]) await everyPath(token);
    await call('/orders/inside', { token: tokens[4], from: '10.9.9.9' });
    for (let i = 0; i < 3; i += 1) await call('/orders/limited', { token: tokens[0] });
    await call('/orders', { token: madeUpToken() });
    await call('/orders', { token: (await plantToken(gateway.folder, { expires_at: Date.now() - 1000 })).token });
    await call('/.portcullis/token', { token: tokens[0] });
    for (const method of ['GET', 'DELETE']) {
      const preflight = { origin: 'https://app.example', 'access-control-request-method': method };
      await call('/orders/7', { method: 'OPTIONS', headers: preflight });
      await call('/trial', { method: 'OPTIONS', headers: preflight });
    }
    await call('/orders/7', { method: 'OPTIONS' });
    for (const answer of answers.slice(-1)) await gateway.eventOf(answer);
    const ids = new Set(answers.map(({ headers }) => headers['portcullis-request-id']));
    const lines = (await readFile(gateway.auditFile, 'utf8')).split('\n').filter((line) => line !== '');
    events = lines.map((line): RecordedEvent => JSON.parse(line)).filter(({ request_id: id }) => ids.has(id));
  }, 120_000);

  afterAll(async () => {
    await gateway?.close();
    await upstream?.close();
  });

  async function replayed(
    change: Readonly<Record<string, string>> = {},
    options: { readonly enforce?: boolean; readonly events?: readonly RecordedEvent[] } = {},
  ): Promise<ReplayReport> {
    const folder = await folderOf(change);
    const { policy, diagnostics } = await loadPolicyFolder(folder, { upstreams: null });
    if (policy === null) throw new Error(JSON.stringify(diagnostics));
    const replay = new Replay(policy, { enforce: options.enforce === true });
    for (const event of options.events ?? events) replay.add(event);
    return replay.report();
  }

  let folders = 0;
  async function folderOf(change: Readonly<Record<string, string>>): Promise<string> {
    folders += 1;
    const folder = join(gateway.folder, `policies-${folders}`);
    await mkdir(folder);
    const classes = await readFile(join(gateway.folder, 'policies/classes.yaml'), 'utf8');
    const files = { 'classes.yaml': classes, ...POLICIES, ...change };
    for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
    return folder;
  }

  /** `read POST 3`: what flips, told by rule and number of requests. */
  const flipsOf = (report: ReplayReport, change: string): string[] =>
    report.flips
      .filter((flip) => flip.change === change)
      .map(({ to, requests }) => `${to.rule ?? 'no rule'} ${to.reason ?? 'allow'} ${requests}`)
      .toSorted();

  it('has met every condition, held and not held, and every kind of answer', async () => {
    const reasons = new Set(events.map(({ reason }) => reason));
    expect([...reasons]).toEqual(
      expect.arrayContaining(['condition_failed', 'scope_insufficient', 'route_not_declared', 'token_missing']),
    );
    expect([...reasons]).toEqual(
      expect.arrayContaining(['path_ambiguous', 'token_unknown', 'token_expired', 'rate_limited']),
    );
    const types = (rule: string): string[] => [
      ...new Set(events.filter((event) => event.rule === rule).map(({ type }) => type)),
    ];
    for (const rule of ['from inside', 'tenant', 'mine', 'fresh']) {
      expect([rule, ...types(rule).toSorted()]).toEqual([rule, 'access.allowed', 'access.denied']);
    }
    expect(types('reported')).toContain('access.would_deny');
    expect(types('trial of one rule')).toContain('access.would_deny');
    const reported = events.filter(({ rule, type }) => rule === 'trial of one rule' && type === 'access.would_deny');
    const metric = /^portcullis_requests_total\{.*rule="trial of one rule".*decision="would_deny"/;
    expect(await gateway.metric(metric)).toBe(reported.length);
    expect(types('enforced')).not.toContain('access.would_deny');
    // Messages are replayed by mcp.test.ts.
    expect(CONDITION_NAMES).toEqual(['ip', 'time', 'claims', 'token_type', 'max_token_age', 'mcp']);
  });

  it('comes out the same under the same policies', async () => {
    const report = await replayed();
    expect(report).toMatchObject({ requests: answers.length, reason_changed: 0, undecidable: 0, flips: [] });
    expect(report.unchanged + report.outside).toBe(answers.length);
    expect(report.unchanged).toBeGreaterThan(150);
  });

  it('flips exactly where a scope was changed', async () => {
    const report = await replayed({
      'orders.yaml': ORDERS.replace(
        'path: [/, "/{id}"], scopes: [orders:read]',
        'path: [/, "/{id}"], scopes: [orders:list]',
      ),
    });
    const were = events.filter(
      ({ rule, type, method }) => rule === 'read' && type === 'access.allowed' && method !== 'OPTIONS',
    );
    // Only the wildcard and the administrator cover the new scope.
    const classes = (event: RecordedEvent): readonly string[] => scopesOf(event);
    const flipping = were.filter((event) => !classes(event).some((scope) => scope === 'orders:*' || scope === '*'));
    expect(flipping.length).toBeGreaterThan(5);
    expect(report.flips).toHaveLength(1);
    expect(report.totals).toEqual({
      'allow-to-deny': { requests: flipping.length, tokens: new Set(flipping.map(({ token_id: id }) => id)).size },
      'deny-to-allow': { requests: 0, tokens: 0 },
      'allow-to-would-deny': { requests: 0, tokens: 0 },
      'would-deny-to-allow': { requests: 0, tokens: 0 },
    });
    expect(report.undecidable).toBe(0);
    expect(report.flips[0]?.to).toMatchObject({ rule: 'read', reason: 'scope_insufficient' });
  });

  it('flips the other way where a rule asks for less', async () => {
    const report = await replayed({
      'orders.yaml': ORDERS.replace(
        'hours: "',
        'days: mon-sun, hours: "00:00-24:00" } } }\n  - { name: other, path: /other, when: { time: { hours: "',
      ),
    });
    const denied = events.filter(
      ({ rule, type, reason }) => rule === 'never now' && type === 'access.denied' && reason === 'condition_failed',
    );
    const outside = denied.filter((event) => !blocksOf(event).includes('10.0.0.0/8'));
    expect(flipsOf(report, 'deny-to-allow')).toEqual([`never now allow ${outside.length}`]);
    expect(report.flips).toHaveLength(1);
  });

  it('says what enforcing would refuse', async () => {
    const report = await replayed({}, { enforce: true });
    const reported = events.filter(({ type }) => type === 'access.would_deny');
    expect(report.totals['allow-to-deny'].requests).toBe(reported.length);
    expect(flipsOf(report, 'allow-to-deny').map((text) => text.replace(/ \d+$/, ''))).toEqual([
      'no rule route_not_declared',
      'reported scope_insufficient',
      'trial of one rule scope_insufficient',
    ]);
    expect(report.totals['deny-to-allow'].requests).toBe(0);
  });

  it('is undecidable where nobody looked at the token, and where a claim was too long to be recorded', async () => {
    const closed = await replayed({ 'orders.yaml': ORDERS.replace('path: /health, public: true', 'path: /health') });
    const health = events.filter(({ rule }) => rule === 'health');
    const without = health.filter((event) => event.details?.['credential'] === 'none');
    expect(without).toHaveLength(1);
    expect(flipsOf(closed, 'allow-to-deny')).toEqual(['health token_missing 1']);
    expect(closed.undecidable_by).toEqual([
      { cause: 'credential_unread', type: 'access.allowed', requests: health.length - 1 },
    ]);
    const long = await replayed({ 'orders.yaml': ORDERS.replace('level: 3', 'long: abc') });
    expect(long.undecidable_by.map(({ cause }) => cause)).toEqual(['claim_not_recorded', 'claim_not_recorded']);
  });

  it('of an older version is undecidable under other policies, and known under the same', async () => {
    const old = events.map(({ details: _, ...event }): RecordedEvent => event);
    const same = await replayed({}, { events: old });
    expect([same.flips, same.undecidable]).toEqual([[], 0]);
    const other = await replayed({ 'trial.yaml': TRIAL.replace('name: reported', 'name: renamed') }, { events: old });
    expect(other.flips).toEqual([]);
    expect(other.undecidable).toBeGreaterThan(100);
    expect(new Set(other.undecidable_by.map(({ cause }) => cause))).toEqual(new Set(['not_recorded']));
  });

  it('is judged by the command line, from files, packed ones and stdin, for CI', async () => {
    const other = await folderOf({
      'orders.yaml': ORDERS.replace(
        'name: fresh, path: /fresh, when: { max_token_age: 30d }',
        'name: fresh, path: /fresh, when: { max_token_age: 90d }',
      ),
    });
    const lines = events.map((event) => JSON.stringify(event));
    const half = Math.floor(lines.length / 2);
    const packed = join(gateway.folder, 'audit.jsonl.1.gz');
    const rest = join(gateway.folder, 'audit.jsonl.2');
    await writeFile(packed, gzipSync(`${lines.slice(0, half).join('\n')}\n`));
    await writeFile(rest, `${lines.slice(half).join('\n')}\n`);
    await appendFile(rest, 'no event\n{"seq":1,"ti');
    const fromFiles = await portcullis([
      '--policies',
      other,
      '--audit',
      packed,
      rest,
      '--fail-on',
      'allow-to-deny,undecidable',
    ]);
    expect(fromFiles.stdout).toContain(
      'deny-to-allow: 1 token, 1 request would be let in\n  allowed by rule "fresh" of orders (',
    );
    expect(fromFiles.stderr).toContain('2 lines passed over');
    expect(fromFiles.status).toBe(0);
    const fromStdin = await portcullis(
      ['--policies', other, '--audit', '-', '--json', '--fail-on', 'deny-to-allow'],
      lines.join('\n'),
    );
    expect(fromStdin.status).toBe(1);
    expect(JSON.parse(fromStdin.stdout)).toMatchObject({
      ok: false,
      requests: answers.length,
      totals: { 'deny-to-allow': { requests: 1, tokens: 1 } },
    });
    const nothing = await portcullis(['--policies', other, '--audit', '-'], 'no event\n');
    expect([nothing.status, nothing.stderr]).toEqual([1, expect.stringContaining('there is no audit event in stdin')]);
    const config = join(gateway.folder, 'portcullis.yaml');
    const configured = await portcullis([
      '--config',
      config,
      '--fail-on',
      'allow-to-deny',
      '--fail-on',
      'deny-to-allow',
    ]);
    expect([configured.status, configured.stdout]).toEqual([0, expect.stringContaining('nothing flips')]);
  }, 120_000);
});

async function portcullis(
  args: readonly string[],
  input = '',
): Promise<{ readonly status: number; readonly stdout: string; readonly stderr: string }> {
  const running = promisify(execFile)(PORTCULLIS, ['policy', 'replay', ...args]);
  running.child.stdin?.on('error', () => undefined);
  running.child.stdin?.end(input);
  return await running.then(
    ({ stdout, stderr }) => ({ status: 0, stdout, stderr }),
    (error: { code: number; stdout: string; stderr: string }) => ({
      status: error.code,
      stdout: error.stdout,
      stderr: error.stderr,
    }),
  );
}

function scopesOf(event: RecordedEvent): readonly string[] {
  return tokenOf(event)?.scopes ?? [];
}

function blocksOf(event: RecordedEvent): readonly string[] {
  return tokenOf(event)?.ip ?? [];
}

function tokenOf(
  event: RecordedEvent,
): { readonly scopes?: readonly string[]; readonly ip?: readonly string[] } | undefined {
  return event.details?.['token'] as
    | { readonly scopes?: readonly string[]; readonly ip?: readonly string[] }
    | undefined;
}
