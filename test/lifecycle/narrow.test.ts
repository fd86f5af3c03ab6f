import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { issueToken } from '../../src/lifecycle/issue.ts';
import { type NarrowRequest, narrowToken } from '../../src/lifecycle/narrow.ts';
import { revokeToken } from '../../src/lifecycle/revoke.ts';
import type { TokenRecord } from '../../src/model/token-record.ts';
import { aRequest, clerk, DAY, good, openRig, operator, type Rig, T0 } from './rig.ts';

let rig: Rig;
let id: string;

beforeEach(async () => {
  rig = await openRig(null);
  const request = {
    ...aRequest,
    scopes: ['orders:read', 'orders:admin:*'],
    roles: ['support', 'lead'],
    ip: ['10.0.0.0/8', '2001:db8::/32'],
  };
  id = good(await issueToken(rig.context, operator, request)).stored.record.id;
});
afterEach(() => rig.close());

const narrow = (request: NarrowRequest) => narrowToken(rig.context, clerk, id, request);
const narrowings = async () => (await rig.audited()).filter((line) => line.type === 'token.narrowed');

async function record(): Promise<TokenRecord> {
  const stored = await rig.store.load(id);
  if (stored === null) throw new Error('the token is gone');
  return stored.record;
}

describe('narrowing a token', () => {
  it('takes away scopes, roles, time and places, renames, and records what changed', async () => {
    const before = await record();
    const changes = {
      name: 'orders auditor',
      owner: 'team-b',
      scopes: ['orders:admin:list', 'orders:admin:list'],
      roles: ['support'],
      ip: ['10.1.0.0/16', '10.2.3.4', '2001:db8:1::/48'],
    };
    const { record: answered } = good(await narrow({ ...changes, expires_at: '2030-01-02T00:00:00Z' }));
    const expected = { ...before, ...changes, scopes: ['orders:admin:list'], expires_at: T0 + DAY };
    expect(answered).toEqual(expected);
    expect(await record()).toEqual(expected);
    expect(await narrowings()).toEqual([
      expect.objectContaining({
        outcome: 'success',
        token_id: id,
        actor: 'clerkclerk00',
        details: {
          name: { from: 'orders reader', to: 'orders auditor' },
          owner: { from: 'team-a', to: 'team-b' },
          scopes: { from: ['orders:read', 'orders:admin:*'], to: ['orders:admin:list'] },
          roles: { from: ['support', 'lead'], to: ['support'] },
          ip: { from: ['10.0.0.0/8', '2001:db8::/32'], to: ['10.1.0.0/16', '10.2.3.4', '2001:db8:1::/48'] },
          expires_at: { from: '2030-01-31T00:00:00.000Z', to: '2030-01-02T00:00:00.000Z' },
        },
      }),
    ]);
    expect(rig.metrics).toEqual(['issued', 'narrowed']);
  });

  it('may take everything', async () => {
    expect(good(await narrow({ scopes: [], roles: [] })).record).toMatchObject({ scopes: [], roles: [] });
  });

  it('binds a token to places that was bound to none', async () => {
    id = good(await issueToken(rig.context, operator, aRequest)).stored.record.id;
    expect((await narrow({ ip: [] })).ok).toBe(true);
    expect(good(await narrow({ ip: ['192.0.2.0/24'] })).record.ip).toEqual(['192.0.2.0/24']);
    expect((await narrow({ ip: [] })).ok).toBe(false);
  });

  it('to what it is already succeeds and leaves no trace', async () => {
    const before = await rig.store.load(id);
    expect(good(await narrow({})).record).toEqual(before?.record);
    good(await narrow({ name: 'orders reader', roles: ['support', 'lead'] }));
    expect(await rig.store.load(id)).toEqual(before);
    expect(await narrowings()).toEqual([]);
  });

  it.each<[string, NarrowRequest, string[]]>([
    ['another scope', { scopes: ['orders:read', 'orders:write'] }, ['scopes[1]']],
    ['a wider wildcard', { scopes: ['orders:*'] }, ['scopes[0]']],
    ['what only a role grants', { scopes: ['orders:write'] }, ['scopes[0]']],
    ['a scope that is none', { scopes: ['orders:admin:a b'] }, ['scopes[0]']],
    ['a wildcard inside', { scopes: ['orders:admin:a*'] }, ['scopes[0]']],
    ['another role', { roles: ['billing'] }, ['roles[0]']],
    ['a later end', { expires_at: '2030-01-31T00:00:00.001Z' }, ['expires_at']],
    ['an end in the past', { expires_at: '2030-01-01T00:00:00Z' }, ['expires_at']],
    ['no end', { expires_at: 'never' }, ['expires_at']],
    ['every address', { ip: [] }, ['ip']],
    ['another block', { ip: ['10.0.0.0/9', '11.0.0.0/8'] }, ['ip[1]']],
    ['a wider block', { ip: ['10.0.0.0/7'] }, ['ip[0]']],
    ['the same bits in the other family', { ip: ['a00::/8'] }, ['ip[0]']],
    ['no address', { ip: ['somewhere'] }, ['ip[0]']],
    ['an empty name', { name: '' }, ['name']],
    ['a broken owner', { owner: 'a\nb' }, ['owner']],
    [
      'all of it at once',
      { name: '', owner: '', scopes: ['*'], roles: ['x'], ip: ['0.0.0.0/0'], expires_at: '2031-01-01T00:00:00Z' },
      ['name', 'owner', 'scopes[0]', 'roles[0]', 'ip[0]', 'expires_at'],
    ],
  ])('refuses %s and changes nothing', async (_name, request, paths) => {
    const before = await record();
    const result = await narrow(request);
    if (result.ok || result.error.kind !== 'invalid') throw new Error(JSON.stringify(result));
    expect(result.error.errors.map(({ path }) => path)).toEqual(paths);
    expect(await record()).toEqual(before);
    expect(await narrowings()).toEqual([]);
  });

  it('refuses what has ended', async () => {
    rig.now = T0 + 30 * DAY;
    expect(await narrow({ name: 'x' })).toMatchObject({ ok: false, error: { kind: 'conflict' } });
    rig.now = T0;
    good(await revokeToken(rig.context, operator, id, { reason: null }));
    expect(await narrow({ name: 'x' })).toMatchObject({ ok: false, error: { kind: 'conflict' } });
    id = 'nosuchtoken0';
    expect(await narrow({ name: 'x' })).toEqual({ ok: false, error: { kind: 'not_found' } });
  });

  it('is put back when its event cannot be recorded', async () => {
    const before = await record();
    await rig.breakAudit();
    await expect(narrow({ scopes: [] })).rejects.toMatchObject({ code: 'audit_unavailable' });
    expect(await record()).toEqual(before);
    await rig.mendAudit();
  });
});
