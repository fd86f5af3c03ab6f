import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Actor } from '../../src/lifecycle/context.ts';
import { type IssueRequest, issueToken } from '../../src/lifecycle/issue.ts';
import { Fault } from '../../src/model/fault.ts';
import { createAuthenticator } from '../../src/token/authenticate.ts';
import { digestToken } from '../../src/token/opaque-format.ts';
import { aRequest, clerk, DAY, good, HOUR, MINUTE, openRig, operator, policyOf, type Rig, T0 } from './rig.ts';

let rig: Rig;
beforeEach(async () => {
  rig = await openRig(null);
});
afterEach(() => rig.close());

const issue = (changes: Partial<IssueRequest> = {}, actor: Actor = operator) =>
  issueToken(rig.context, actor, { ...aRequest, ...changes });

/** How many records there are: a refused issue leaves none. */
async function records(): Promise<number> {
  return (await rig.store.list({}, { limit: 100, cursor: null, now: rig.now })).tokens.length;
}

async function errorsOf(changes: Partial<IssueRequest>, actor: Actor = operator): Promise<unknown> {
  const result = await issue(changes, actor);
  expect(result.ok).toBe(false);
  expect(await records()).toBe(0);
  expect(await rig.audited()).toEqual([]);
  return result.ok ? null : result.error;
}

describe('issuing a token', () => {
  it('stores a record, records an event, and hands out a secret that works', async () => {
    const { stored, token } = good(
      await issue(
        {
          roles: ['lead', 'lead'],
          scopes: ['orders:read', 'orders:read'],
          subject: 'svc-1',
          claims: { tenant: 'acme', level: 3 },
          ip: ['10.0.0.0/8', '2001:db8::/32'],
          not_before: '2030-01-02T00:00:00+01:00',
          ttl: '2d',
        },
        { ...operator, requestId: 'req-9', ip: '192.0.2.9' },
      ),
    );
    const { id } = stored.record;
    expect(stored.record).toEqual({
      id,
      name: 'orders reader',
      owner: 'team-a',
      class: 'service',
      environment: 'prod',
      subject: 'svc-1',
      scopes: ['orders:read'],
      roles: ['lead'],
      claims: { tenant: 'acme', level: 3 },
      ip: ['10.0.0.0/8', '2001:db8::/32'],
      created_at: T0,
      created_by: 'break-glass',
      not_before: T0 + 23 * HOUR,
      expires_at: T0 + 2 * DAY,
      generation: 1,
      rotated_at: null,
      grace_until: null,
      rotate_after: T0 + 30 * DAY,
      revoked_at: null,
      revoked_by: null,
      revoke_reason: null,
      digest: digestToken(token, null),
      superseded: [],
    });
    expect((await rig.store.load(id))?.record).toEqual(stored.record);
    const authenticator = createAuthenticator({ ...rig.context.tokens, store: rig.store });
    expect(await authenticator.authenticate(token, T0 + DAY)).toMatchObject({ ok: true, generation: 1 });
    expect(await rig.audited()).toEqual([
      expect.objectContaining({
        type: 'token.issued',
        outcome: 'success',
        token_id: id,
        subject: 'svc-1',
        owner: 'team-a',
        actor: 'break-glass',
        request_id: 'req-9',
        ip: '192.0.2.9',
        details: {
          name: 'orders reader',
          class: 'service',
          scopes: ['orders:read'],
          roles: ['lead'],
          expires_at: '2030-01-03T00:00:00.000Z',
        },
      }),
    ]);
    expect(JSON.stringify(await rig.audited())).not.toContain(token.slice(21));
    expect(rig.metrics).toEqual(['issued']);
  });

  it.each([
    [{}, T0 + 30 * DAY],
    [{ ttl: '90d' }, T0 + 90 * DAY],
    [{ ttl: '1ms' }, T0 + 1],
    [{ expires_at: '2030-04-01T00:00:00Z' }, T0 + 90 * DAY],
    [{ expires_at: '2030-01-01T00:00:00.001Z' }, T0 + 1],
  ])('with %j ends at %d', async (changes, end) => {
    expect(good(await issue(changes)).stored.record.expires_at).toBe(end);
  });

  it('names everything that is wrong at once, with the nearest valid thing', async () => {
    const error = await errorsOf({
      name: 'two\r\nlines',
      owner: ' ',
      class: 'ci',
      scopes: ['orders:read', 'orders:write', 'no scope', '*'],
      roles: ['suport', 'lead'],
      subject: 'x'.repeat(201),
      claims: { a: { b: { c: { d: { e: {} } } } } },
      ip: ['10.0.0.1/8', 'localhost'],
      ttl: '2h',
      not_before: '2029-02-30T00:00:00Z',
    });
    expect(error).toEqual({
      kind: 'invalid',
      errors: [
        { path: 'name', message: expect.stringContaining('one printable line') },
        { path: 'owner', message: expect.stringContaining('one printable line') },
        { path: 'subject', message: expect.stringContaining('201 characters') },
        { path: 'claims', message: expect.stringContaining('deeper than 5 levels') },
        { path: 'ip[0]', message: expect.stringContaining('bits set behind its prefix') },
        { path: 'ip[1]', message: expect.stringContaining('"localhost"') },
        { path: 'not_before', message: expect.stringContaining('no such time') },
        { path: 'ttl', message: expect.stringContaining('max_ttl of class "ci", which is 1h') },
        { path: 'scopes[1]', message: expect.stringContaining('orders:read') },
        { path: 'scopes[2]', message: expect.stringContaining('not a scope') },
        { path: 'scopes[3]', message: expect.stringContaining('admin') },
        { path: 'roles[0]', message: expect.stringContaining('did you mean "support"') },
        { path: 'roles[1]', message: expect.stringContaining('"lead"') },
      ],
    });
  });

  it.each([
    ['an unknown class', { class: 'servise' }, 'class', 'did you mean "service"'],
    ['a class unlike any', { class: 'x' }, 'class', '"ci"'],
    ['both ways to say the end', { ttl: '1d', expires_at: '2030-01-02T00:00:00Z' }, 'expires_at', 'one of them'],
    ['an end in the past', { expires_at: '2029-12-31T00:00:00Z' }, 'expires_at', 'in the future'],
    ['an end beyond the class', { expires_at: '2030-04-01T00:00:00.001Z' }, 'expires_at', 'which is 90d'],
    ['a ttl of nothing', { ttl: '0s' }, 'ttl', 'in the future'],
    ['a ttl without unit', { ttl: '30' }, 'ttl', '30d'],
    ['a time without zone', { expires_at: '2030-01-02T00:00:00' }, 'expires_at', '2030-01-31T12:00:00Z'],
    ['a beginning after the end', { ttl: '1h', not_before: '2030-01-01T01:00:00Z' }, 'not_before', 'before the end'],
    ['a missing address', { class: 'ci', scopes: [] }, 'ip', 'ip'],
    ['a subject outside of ASCII', { subject: 'd\u00fcsseldorf' }, 'subject', 'ASCII'],
    ['a control character in the subject', { subject: 'a\u0000b' }, 'subject', 'printable'],
    ['an empty name', { name: '' }, 'name', 'empty'],
    ['an invisible name', { name: 'a\u202eb' }, 'name', 'printable'],
    ['too many scopes', { scopes: Array.from({ length: 101 }, (_, i) => `orders:${i}`) }, 'scopes', 'at most 100'],
    ['too long a scope', { scopes: [`orders:${'x'.repeat(200)}`] }, 'scopes[0]', '128 characters'],
    ['too many roles', { roles: Array<string>(21).fill('lead') }, 'roles', 'at most 20'],
    ['too many addresses', { ip: Array<string>(101).fill('10.0.0.1') }, 'ip', 'at most 100'],
    ['too many claims', { claims: { a: 'x'.repeat(8200) } }, 'claims', 'at most 8192'],
    ['a claim that vanishes', { claims: JSON.parse('{"__proto__":1}') }, 'claims', '__proto__'],
    ['a number that JSON lacks', { claims: { a: Number.POSITIVE_INFINITY } }, 'claims.a', 'number'],
  ])('refuses %s', async (_name, changes, path, message) => {
    expect(await errorsOf(changes)).toEqual({
      kind: 'invalid',
      errors: [{ path, message: expect.stringContaining(message) }],
    });
  });

  it('takes the bounds themselves', async () => {
    const edge = await issue({
      name: 'n'.repeat(200),
      subject: 's'.repeat(200),
      scopes: Array.from({ length: 100 }, (_, i) => `orders:${i}`),
      ip: Array.from({ length: 100 }, (_, i) => `10.0.0.${i}`),
      claims: { a: { b: { c: { d: 1 } } } },
    });
    expect(edge.ok).toBe(true);
  });

  it('gives nothing while no policy is loaded', async () => {
    rig.policy = null;
    expect(await errorsOf({})).toEqual({ kind: 'conflict', message: expect.stringContaining('no policy') });
  });
});

describe('an issuer', () => {
  const admin = (scopes: readonly string[], roles: readonly string[] = []): Actor => ({ ...clerk, scopes, roles });

  it.each([
    ['its own scope', ['orders:read'], [], clerk],
    ['what its wildcard covers', ['orders:read', 'orders:a:b', 'orders:x:*'], ['lead'], admin(['orders:*'])],
    ['what its role holds', ['orders:read', 'orders:write'], ['lead', 'support'], admin([], ['lead'])],
    ['nothing at all', [], [], admin([])],
  ])('may grant %s', async (_name, scopes, roles, actor) => {
    const { record } = good(await issue({ scopes, roles }, actor)).stored;
    expect({ scopes: record.scopes, by: record.created_by }).toEqual({ scopes, by: actor.name });
  });

  it.each([
    ['a scope it lacks', { scopes: ['orders:read', 'orders:write'] }, clerk, 'scopes[1]'],
    ['a wildcard over its scope', { scopes: ['orders:*'] }, clerk, 'scopes[0]'],
    ['a role that holds more', { scopes: [], roles: ['support', 'lead'] }, clerk, 'roles[1]'],
    ['more of the admin API', { scopes: ['portcullis:tokens:*'] }, clerk, 'scopes[0]'],
    ['by a role that is gone', { scopes: ['orders:read'] }, admin([], ['gone']), 'scopes[0]'],
    ['by "*" outside of class admin', { scopes: ['orders:read'] }, admin(['*']), 'scopes[0]'],
    ['everything, without holding it', { class: 'admin', scopes: ['*'] }, { ...clerk, class: 'admin' }, 'scopes[0]'],
  ])('may not grant %s', async (_name, changes, actor, path) => {
    expect(await errorsOf(changes, actor)).toEqual({
      kind: 'forbidden',
      errors: [{ path, message: expect.stringContaining('more than you hold') }],
    });
  });

  it('of class admin with "*" may pass that on, in class admin only', async () => {
    const root: Actor = { ...clerk, class: 'admin', scopes: ['*'] };
    expect(good(await issue({ class: 'admin', scopes: ['*'] }, root)).stored.record.scopes).toEqual(['*']);
    expect(await issue({ scopes: ['*'] }, root)).toMatchObject({ ok: false, error: { kind: 'invalid' } });
  });

  it('hears what is wrong and what is too much in one answer', async () => {
    expect(await errorsOf({ ttl: 'soon', scopes: ['orders:write'] }, clerk)).toMatchObject({
      kind: 'invalid',
      errors: [{ path: 'ttl' }, { path: 'scopes[0]' }],
    });
  });

  it('is bounded by the policy of that moment', async () => {
    rig.policy = policyOf({
      'classes.yaml': 'classes: { service: { max_ttl: 1m, scopes: [billing:*], grace: 0s } }\n',
    });
    expect(await errorsOf({ ttl: '2m' })).toMatchObject({
      kind: 'invalid',
      errors: [{ path: 'ttl' }, { path: 'scopes[0]' }, { path: 'scopes[1]' }],
    });
    expect(good(await issue({ scopes: ['billing:read'] })).stored.record.expires_at).toBe(T0 + MINUTE);
  });
});

describe('an issue that cannot be finished', () => {
  it('is withdrawn when its event cannot be recorded', async () => {
    await rig.breakAudit();
    const failure = await issue().catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(Fault);
    expect(failure).toMatchObject({ code: 'audit_unavailable', message: expect.stringContaining('was not issued') });
    expect(await records()).toBe(0);
    expect(rig.metrics).toEqual([]);
    await rig.mendAudit();
    expect((await issue()).ok).toBe(true);
  });

  it('says so when it cannot even be withdrawn', async () => {
    await rig.breakAudit();
    rig.interfere = { withdraw: () => Promise.reject(new Fault('store_unavailable', 'gone')) };
    await expect(issue()).rejects.toMatchObject({
      code: 'audit_unavailable',
      message: expect.stringMatching(/could not be withdrawn; its secret was given to nobody/),
    });
    await rig.mendAudit();
  });

  it('leaves no token behind when the store took it but did not say so', async () => {
    rig.interfere = {
      create: async (record) => {
        await rig.store.create(record);
        throw new Fault('store_unavailable', 'no answer in time');
      },
    };
    await expect(issue()).rejects.toMatchObject({ code: 'store_unavailable', message: 'no answer in time' });
    expect(await records()).toBe(0);
    expect(await rig.audited()).toEqual([]);
  });

  it('tries another id where one is taken, and gives up on a store that knows them all', async () => {
    let tries = 0;
    rig.interfere = {
      create: (record) => {
        tries += 1;
        return tries < 3 ? Promise.resolve(false) : rig.store.create(record);
      },
    };
    expect((await issue()).ok).toBe(true);
    rig.interfere = { create: () => Promise.resolve(false) };
    await expect(issue()).rejects.toMatchObject({ code: 'internal' });
  });
});
