import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { afterAll, describe, expect, it } from 'vitest';
import { portcullis, ROOT, temporaryFolder } from './portcullis.ts';

const folder = temporaryFolder();
afterAll(() => folder.remove());
const cwd = folder.path;

mkdirSync(join(cwd, 'policies'));
const POLICY = [
  'api: orders',
  'upstream: orders',
  'base: /orders',
  'rules:',
  '  - name: read',
  '    methods: [GET]',
  '    path: [/, "/{id}"]',
  '    scopes: [orders:read]',
  '    when: { ip: [10.0.0.0/8] }',
].join('\n');
folder.write('policies/orders.yaml', POLICY);
folder.write('good.yaml', 'upstreams: { orders: { url: "http://127.0.0.1:9000" } }\n');

describe('portcullis config check', { timeout: 60_000 }, () => {
  it('accepts the shipped example', async () => {
    const { status, stdout, stderr } = await portcullis(['config', 'check', '--config', 'config.example.yaml']);
    expect([status, stdout, stderr]).toEqual([
      0,
      expect.stringMatching(/^config\.example\.yaml: ok, with \d+ rules in \d+ policy files\n$/),
      '',
    ]);
  });

  it('prints every error of the configuration and of its policies as file:line:col, and starts nothing', async () => {
    mkdirSync(join(cwd, 'broken'));
    folder.write('broken/orders.yaml', `${POLICY}\n    scope: [x]\n`);
    folder.write('bad.yaml', 'policies: broken\nlisten: { prot: 1 }\ntokens: { pepper: hunter2 }\n');
    const { status, stdout, stderr } = await portcullis(['config', 'check', '--config', 'bad.yaml'], { cwd });
    expect([status, stderr]).toEqual([1, 'portcullis: bad.yaml is not a valid configuration (3 errors)\n']);
    expect(stdout.split('\n')).toEqual([
      'bad.yaml:2:11: unknown key "prot" in listen; did you mean "port"?',
      'bad.yaml:3:19: tokens.pepper: a secret cannot stand in the configuration itself; write { env: NAME } or { file: PATH } in its place',
      'broken/orders.yaml:10:5: unknown key "scope" in rules[0]; did you mean "scopes"?',
      '',
    ]);
  });

  it('checks the test files beside the policies too, without running them', async () => {
    mkdirSync(join(cwd, 'tested'));
    folder.write('tested/orders.yaml', POLICY);
    const wrong = 'cases:\n  - { name: one, request: { path: /orders }, expct: { decision: allow } }\n';
    folder.write('tested/orders.test.yaml', wrong);
    const { status, stdout } = await portcullis(['policy', 'check', 'tested'], { cwd });
    expect([status, stdout]).toEqual([
      1,
      expect.stringMatching(/^tested\/orders\.test\.yaml:2:\d+: .*unknown key "expct".*did you mean "expect"/m),
    ]);
    // A case that would fail is for `policy test` to say.
    folder.write('tested/orders.test.yaml', wrong.replace('expct', 'expect').replace('{ path', '{ method: GET, path'));
    expect((await portcullis(['policy', 'check', 'tested'], { cwd })).status).toBe(0);
  });

  it('says that "Bearer" is no part of a token', async () => {
    const env = { PORTCULLIS_ADMIN_TOKEN: 'Bearer pct_test_x' };
    const { status, stderr } = await portcullis(['token', 'list'], { cwd, env });
    expect([status, stderr]).toEqual([
      1,
      'portcullis: PORTCULLIS_ADMIN_TOKEN holds more than the token: leave out the "Bearer" in front of it\n',
    ]);
  });

  it('names the nearest file where there is none, and the nearest folder', async () => {
    const { stdout } = await portcullis(['config', 'check', '--config', 'god.yaml'], { cwd });
    expect(stdout).toBe('god.yaml:1:1: cannot be read (ENOENT); did you mean "good.yaml"?\n');
    const policies = await portcullis(['policy', 'check', 'polices'], { cwd });
    expect([policies.status, policies.stdout]).toEqual([1, expect.stringContaining('; did you mean "policies"?')]);
    const nowhere = await portcullis(['config', 'check', '--config', 'no/where.yaml'], { cwd });
    expect(nowhere.stdout).toContain('; there is no folder "no" either');
  });

  it('knows which upstreams the policies may name', async () => {
    folder.write('other.yaml', 'upstreams: { odrers: { url: "http://127.0.0.1:9000" } }\n');
    const { status, stdout } = await portcullis(['config', 'check', '--config', 'other.yaml', '--json'], { cwd });
    expect(status).toBe(1);
    expect(JSON.parse(stdout)).toEqual({
      valid: false,
      diagnostics: [
        {
          severity: 'error',
          file: 'policies/orders.yaml',
          line: 2,
          col: 11,
          message: expect.stringContaining('did you mean "odrers"?'),
        },
      ],
    });
  });

  it('takes secrets from the environment, and only there', async () => {
    folder.write('secret.yaml', 'upstreams: { orders: { url: "http://h" } }\ntokens: { pepper: { env: PEPPER } }\n');
    const args = ['config', 'check', '--config', 'secret.yaml'];
    const without = await portcullis(args, { cwd });
    expect([without.status, without.stdout]).toEqual([
      1,
      'secret.yaml:2:19: tokens.pepper: environment variable PEPPER is not set\n',
    ]);
    const withSecret = await portcullis(args, { cwd, env: { PEPPER: 'salt' } });
    expect([withSecret.status, withSecret.stderr]).toEqual([0, '']);
  });
});

describe('portcullis policy', { timeout: 60_000 }, () => {
  it('check accepts the shipped policies', async () => {
    const { status, stdout } = await portcullis(['policy', 'check'], { cwd: ROOT });
    expect([status, stdout]).toEqual([0, expect.stringMatching(/^\.\/policies: ok, version [0-9a-f]{12}: /)]);
  });

  it('check says what looks like a mistake', async () => {
    folder.write('policies/roles.yaml', 'roles: { ghost: { scopes: [invoices:read] } }\n');
    const { status, stdout } = await portcullis(['policy', 'check'], { cwd });
    expect(status).toBe(0);
    expect(stdout).toMatch(/roles\.yaml:1:\d+: warning: /);
  });

  it('test runs the shipped cases, and fails with the place of a case that does', async () => {
    const shipped = await portcullis(['policy', 'test'], { cwd: ROOT });
    expect([shipped.status, shipped.stdout.split('\n').at(-2)]).toEqual([
      0,
      expect.stringMatching(/^\d+ passed, 0 failed$/),
    ]);
    folder.write(
      'policies/orders.test.yaml',
      [
        'cases:',
        '  - { name: from inside, request: { method: GET, path: /orders, ip: 10.1.1.1 }, token: { scopes: [orders:read] }, expect: { decision: allow, rule: read } }',
        '  - { name: from outside, request: { method: GET, path: /orders, ip: 192.0.2.1 }, token: { scopes: [orders:read] }, expect: { decision: allow } }',
      ].join('\n'),
    );
    const { status, stdout } = await portcullis(['policy', 'test', 'policies'], { cwd });
    expect([status, stdout]).toEqual([
      1,
      [
        '✓ from inside',
        '✗ from outside  policies/orders.test.yaml:3:5',
        '    expected decision allow, got deny',
        '1 passed, 1 failed',
        '',
      ].join('\n'),
    ]);
  });

  it('test fails where there is nothing to run', async () => {
    mkdirSync(join(cwd, 'untested'));
    folder.write('untested/orders.yaml', POLICY);
    const { status, stderr } = await portcullis(['policy', 'test', 'untested'], { cwd });
    expect([status, stderr]).toEqual([1, 'portcullis: no *.test.yaml with cases in untested\n']);
  });

  it('explain tells the rule with its place, and how each condition came out', async () => {
    const args = ['policy', 'explain', '--method', 'GET', '--path', '/orders/%37', '--scopes', 'orders:read'];
    const denied = await portcullis([...args, '--ip', '192.0.2.1'], { cwd });
    expect([denied.status, denied.stdout]).toEqual([
      0,
      [
        'deny condition_failed',
        'rule: read (./policies/orders.yaml:5)',
        '  ✓ route: rule "read" (/orders, /orders/{id}) at ./policies/orders.yaml:5',
        '  ✓ token: a valid token, as described',
        '  ✓ scopes: all of orders:read; the token holds orders:read',
        '  ✗ ip: ip in 10.0.0.0/8',
        'condition ip is not met',
        '',
      ].join('\n'),
    ]);
    const allowed = await portcullis([...args, '--ip', '10.1.2.3', '--config', 'good.yaml', '--json'], { cwd });
    expect(JSON.parse(allowed.stdout)).toMatchObject({
      decision: 'allow',
      reason: null,
      rule: { name: 'read', line: 5 },
    });
  });

  it.each([
    [['--method', 'GET', '--path', '/orders'], 'deny', 'token_missing'],
    [['--method', 'PUT', '--path', '/orders', '--scopes', 'orders:*'], 'deny', 'route_not_declared'],
    [['--method', 'GET', '--path', '/orders%2f7', '--scopes', 'orders:*'], 'deny', 'path_ambiguous'],
  ])('explain %j: %s %s', async (args, decision, reason) => {
    const { status, stdout } = await portcullis(['policy', 'explain', ...args, '--json'], { cwd });
    expect([status, JSON.parse(stdout)]).toEqual([0, expect.objectContaining({ decision, reason })]);
  });
});

describe('portcullis schema', { timeout: 60_000 }, () => {
  it.each(['config', 'policy', 'policy-test'])('%s prints a JSON Schema that compiles', async (name) => {
    const { status, stdout, stderr } = await portcullis(['schema', name]);
    const schema = JSON.parse(stdout);
    expect([status, stderr, schema.$schema]).toEqual([0, '', 'https://json-schema.org/draft/2020-12/schema']);
    expect(new Ajv2020({ strict: false }).compile(schema)).toBeTypeOf('function');
  });
});

describe('portcullis policy check --audit', { timeout: 60_000 }, () => {
  const event = (path: string): string =>
    JSON.stringify({
      v: 1,
      seq: 1,
      time: '2026-03-02T09:30:00.000Z',
      type: 'access.denied',
      outcome: 'failure',
      reason: 'token_missing',
      method: 'GET',
      host: 'localhost',
      ip: '10.1.2.3',
      path,
    });

  it('warns of rules that recorded requests never hit, and fails for warnings with --strict', async () => {
    mkdirSync(join(cwd, 'audited'));
    folder.write('audited/orders.yaml', POLICY);
    folder.write('hit.jsonl', `${event('/orders/7')}\n`);
    folder.write('other.jsonl', `${event('/elsewhere')}\n`);
    const hit = await portcullis(['policy', 'check', 'audited', '--audit', 'hit.jsonl', '--strict'], { cwd });
    expect([hit.status, hit.stdout]).toEqual([0, expect.stringMatching(/^audited: ok, version \w+: [^;]*$/)]);
    const never = await portcullis(['policy', 'check', 'audited', '--audit', 'other.jsonl'], { cwd });
    expect([never.status, never.stdout]).toEqual([
      0,
      expect.stringContaining('audited/orders.yaml:5:5: warning: rule "read" was hit by none of 1 recorded requests\n'),
    ]);
    const strict = await portcullis(['policy', 'check', 'audited', '--audit', '-', '--strict', '--json'], {
      cwd,
      input: event('/elsewhere'),
    });
    expect(strict.status).toBe(1);
    expect(JSON.parse(strict.stdout)).toMatchObject({
      valid: true,
      requests: 1,
      diagnostics: [{ severity: 'warning' }],
    });
    const missing = await portcullis(['policy', 'check', 'audited', '--audit', 'no-such-file'], { cwd });
    expect([missing.status, missing.stdout]).toEqual([1, '']);
  });
});
