import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Answer, type Harness, POLICIES, startAdmin } from './harness.ts';

let admin: Harness;
beforeEach(async () => {
  admin = await startAdmin();
});
afterEach(() => admin.close());

describe('GET /v1/policies and POST /v1/policies/reload', () => {
  it('show what is in force, with the hits of each rule', async () => {
    const { json } = await admin.call('GET', '/v1/policies');
    expect(json).toMatchObject({
      version: expect.stringMatching(/^[0-9a-f]{12}$/),
      files: ['classes.yaml', 'orders.yaml', 'roles.yaml'].map((name) => join(admin.policyFolder, name)),
      apis: [{ name: 'orders', base: '/orders', mode: 'enforce' }],
      last_error: null,
    });
    expect(json.apis[0].rules.map(({ id, hits }: { id: string; hits: number }) => [id, hits])).toEqual([
      ['orders/read orders', 7],
      ['orders/write orders', 0],
      ['orders/health', 0],
    ]);
  });

  it('a reload takes the new files; one that fails changes nothing and says every error with its place', async () => {
    const before = (await admin.call('GET', '/v1/policies')).json;
    const file = join(admin.policyFolder, 'orders.yaml');
    await writeFile(file, POLICIES['orders.yaml'].replaceAll('methods:', 'method:'));
    const rejected = await admin.call('POST', '/v1/policies/reload');
    expect(rejected.status).toBe(422);
    expect(rejected.json).toMatchObject({ reason: 'policy_rejected' });
    expect(rejected.json.errors).toHaveLength(2);
    expect(rejected.json.errors[0]).toEqual({
      path: `${file}:7:5`,
      message: expect.stringContaining('did you mean "methods"?'),
    });
    const after = (await admin.call('GET', '/v1/policies')).json;
    expect(after.version).toBe(before.version);
    expect(after.last_error).toHaveLength(2);
    expect((await admin.call('GET', '/v1/status')).json.policy.last_reload_failed).toBe(true);

    await writeFile(file, POLICIES['orders.yaml'].replace('read orders', 'see orders'));
    const reloaded = await admin.call('POST', '/v1/policies/reload', { json: {} });
    expect(reloaded.status).toBe(200);
    expect(reloaded.json.version).not.toBe(before.version);
    expect(reloaded.json).toMatchObject({ last_error: null, apis: [{ rules: [{ name: 'see orders' }, {}, {}] }] });
    expect((await admin.call('POST', '/v1/policies/reload', { json: { force: true } })).status).toBe(400);
  });
});

describe('POST /v1/explain', () => {
  const explain = async (json: unknown): Promise<Answer['json']> =>
    (await admin.call('POST', '/v1/explain', { json })).json;

  it('shows the decision, the rule with its place, and each step', async () => {
    const denied = await explain({ method: 'GET', path: '//orders/?x=1', scopes: ['orders:read'] });
    expect(denied).toMatchObject({
      decision: 'deny',
      reason: 'condition_failed',
      status: 403,
      condition: 'ip',
      api: 'orders',
      rule: { id: 'orders/read orders', line: 6, col: 5 },
      request: { method: 'GET', host: 'localhost', path: '/orders/', ip: '127.0.0.1' },
      token_id: null,
    });
    expect(denied.steps.map(({ step, outcome }: { step: string; outcome: string }) => [step, outcome])).toEqual([
      ['route', 'pass'],
      ['token', 'pass'],
      ['scopes', 'pass'],
      ['ip', 'fail'],
    ]);
    const allowed = await explain({ method: 'GET', path: '/orders', ip: '10.1.1.1', token: { roles: ['support'] } });
    expect(allowed).toMatchObject({ decision: 'allow', reason: null, status: null, rule: { name: 'read orders' } });
  });

  it('verifies a whole token, and refuses as the gateway would', async () => {
    const { token, id } = await admin.issue();
    const question = { method: 'GET', path: '/orders', ip: '10.1.1.1', token };
    expect(await explain(question)).toMatchObject({ decision: 'allow', token_id: id });
    await admin.call('POST', `/v1/tokens/${id}/revoke`, { json: { reason: 'x' } });
    const refused = await explain(question);
    expect(refused).toMatchObject({ decision: 'deny', reason: 'token_revoked', status: 401, token_id: id });
    expect(refused.steps[1]).toEqual({
      step: 'token',
      outcome: 'fail',
      text: 'the token is not accepted: token_revoked',
    });
    expect(await explain({ ...question, path: '/orders/health' })).toMatchObject({ decision: 'allow' });
    expect(await explain({ ...question, token: 'nonsense' })).toMatchObject({
      reason: 'token_malformed',
      token_id: null,
    });
  });

  it('denies what no rule declares, what carries no token, and what has two readings', async () => {
    expect(await explain({ method: 'GET', path: '/none' })).toMatchObject({ reason: 'token_missing', status: 401 });
    expect(await explain({ method: 'GET', path: '/none', scopes: [] })).toMatchObject({ reason: 'route_not_declared' });
    expect(await explain({ method: 'GET', path: '/orders' })).toMatchObject({ reason: 'token_missing' });
    expect(await explain({ method: 'GET', path: '/a%2fb' })).toMatchObject({ reason: 'path_ambiguous', status: 400 });
    expect(await explain({ method: 'GET', path: 'nothing' })).toMatchObject({ reason: 'request_malformed' });
  });

  it('names everything that is wrong with a question', async () => {
    const refused = await admin.call('POST', '/v1/explain', {
      json: { methd: 'GET', path: '', ip: 'x', time: 'now', token: { scope: [], age: 'x', type: 'opaqe' } },
    });
    expect(refused.status).toBe(400);
    expect(refused.json.errors).toEqual([
      { path: 'method', message: 'is required' },
      { path: 'path', message: 'must not be empty' },
      { path: 'ip', message: 'expected an IP address' },
      { path: 'time', message: expect.stringContaining('expected a time such as') },
      { path: 'token.type', message: 'expected one of opaque, jwt, introspected; did you mean "opaque"?' },
      { path: 'token.age', message: expect.stringContaining('expected a duration') },
      { path: 'token.scope', message: 'unknown key "scope"; did you mean "scopes"?' },
      { path: 'methd', message: 'unknown key "methd"; did you mean "method"?' },
    ]);
    const both = await admin.call('POST', '/v1/explain', {
      json: { method: 'GET', path: '/', token: 'x', scopes: [] },
    });
    expect(both.json.errors).toMatchObject([{ path: 'token' }]);
  });

  it('leaves no trace', async () => {
    const before = await admin.auditEvents();
    await explain({ method: 'GET', path: '/orders', token: 'nonsense' });
    expect(await admin.auditEvents()).toEqual(before);
  });
});
