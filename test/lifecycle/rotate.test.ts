import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import type { Actor } from '../../src/lifecycle/context.ts';
import { issueToken } from '../../src/lifecycle/issue.ts';
import { narrowToken } from '../../src/lifecycle/narrow.ts';
import { revokeToken } from '../../src/lifecycle/revoke.ts';
import { type RotateRequest, rotateToken } from '../../src/lifecycle/rotate.ts';
import { Fault } from '../../src/model/fault.ts';
import type { TokenRecord } from '../../src/model/token-record.ts';
import { createAuthenticator } from '../../src/token/authenticate.ts';
import { digestToken } from '../../src/token/opaque-format.ts';
import { aRequest, clerk, DAY, good, HOUR, openRig, operator, policyOf, type Rig, T0 } from './rig.ts';

let rig: Rig;
let id: string;
let first: string;

beforeEach(async () => {
  rig = await openRig(null);
  const issued = good(await issueToken(rig.context, operator, aRequest));
  first = issued.token;
  id = issued.stored.record.id;
});
afterEach(() => rig.close());

const rotate = (request: RotateRequest = {}, actor: Actor = operator) => rotateToken(rig.context, actor, id, request);

async function record(): Promise<TokenRecord> {
  const stored = await rig.store.load(id);
  if (stored === null) throw new Error('the token is gone');
  return stored.record;
}

async function verdict(token: string): Promise<string> {
  const authenticator = createAuthenticator({ ...rig.context.tokens, store: rig.store });
  const outcome = await authenticator.authenticate(token, rig.now);
  return outcome.ok ? `generation ${outcome.generation}` : outcome.reason;
}

const rotations = async () => (await rig.audited()).filter((line) => line.type === 'token.rotated');

describe('rotating a token', () => {
  it('keeps the id, makes a new generation, and lets the old one work until its grace is over', async () => {
    const before = await record();
    rig.now = T0 + 10 * DAY;
    const { stored, token } = good(await rotate());
    const expected = {
      ...before,
      generation: 2,
      digest: digestToken(token, null),
      rotated_at: rig.now,
      grace_until: rig.now + 24 * HOUR,
      expires_at: rig.now + 30 * DAY,
      rotate_after: rig.now + 30 * DAY,
      superseded: [
        { generation: 1, digest: before.digest, grace_until: rig.now + DAY, last_used_at: null, last_used_ip: null },
      ],
    };
    expect(stored.record).toEqual(expected);
    expect(await record()).toEqual(expected);
    expect([await verdict(first), await verdict(token)]).toEqual(['generation 1', 'generation 2']);
    rig.now += DAY;
    expect([await verdict(first), await verdict(token)]).toEqual(['token_superseded', 'generation 2']);
    expect(await rotations()).toEqual([
      expect.objectContaining({
        outcome: 'success',
        token_id: id,
        actor: 'break-glass',
        details: { generation: 2, grace_until: '2030-01-12T00:00:00.000Z', expires_at: '2030-02-10T00:00:00.000Z' },
      }),
    ]);
    expect(rig.metrics).toEqual(['issued', 'rotated']);
  });

  it.each([
    [{ grace: '0s' }, T0, T0 + 30 * DAY],
    [{ grace: '24h', ttl: '90d' }, T0 + DAY, T0 + 90 * DAY],
    [{ ttl: '1m' }, T0 + DAY, T0 + 60_000],
  ])('with %j bounds grace and life', async (request, grace, end) => {
    expect(good(await rotate(request)).stored.record).toMatchObject({ grace_until: grace, expires_at: end });
  });

  it('ends the old secret at once without grace', async () => {
    good(await rotate({ grace: '0s' }));
    expect(await verdict(first)).toBe('token_superseded');
  });

  it('never lets the old secret live longer than it would have', async () => {
    rig.now = T0 + 30 * DAY - HOUR;
    expect(good(await rotate()).stored.record).toMatchObject({ grace_until: T0 + 30 * DAY });
    rig.now = T0 + 30 * DAY;
    expect(await verdict(first)).toBe('token_superseded');
  });

  it('gives the new secret no longer life than the old one was made for', async () => {
    const short = good(await issueToken(rig.context, operator, { ...aRequest, ttl: '1h' }));
    rig.now = T0 + HOUR / 2;
    const rotated = good(await rotateToken(rig.context, operator, short.stored.record.id, {}));
    expect(rotated.stored.record.expires_at).toBe(rig.now + HOUR);
    const long = good(await issueToken(rig.context, operator, { ...aRequest, ttl: '90d' }));
    rig.policy = policyOf({ 'classes.yaml': 'classes: { service: { max_ttl: 2d, scopes: [orders:*] } }\n' });
    const bounded = good(await rotateToken(rig.context, operator, long.stored.record.id, {}));
    expect(bounded.stored.record.expires_at).toBe(rig.now + 2 * DAY);
  });

  it('remembers a bounded number of old generations, the newest', async () => {
    for (let turn = 0; turn < LIMITS.supersededGenerations + 3; turn += 1) good(await rotate());
    const { generation, superseded } = await record();
    expect(generation).toBe(LIMITS.supersededGenerations + 4);
    expect(superseded.map((entry) => entry.generation)).toEqual(
      Array.from({ length: LIMITS.supersededGenerations }, (_, i) => generation - 1 - i),
    );
    expect(await verdict(first)).toBe('token_unknown');
  });

  it('keeps the grace that an earlier generation was given, when the next one is longer', async () => {
    const second = good(await rotate({ grace: '1h' })).token;
    good(await rotate());
    rig.now = T0 + 2 * HOUR;
    expect([await verdict(first), await verdict(second)]).toEqual(['token_superseded', 'generation 2']);
  });

  it('lets no older generation outlive the grace of the newest', async () => {
    const second = good(await rotate()).token;
    const third = good(await rotate({ grace: '1h' })).token;
    expect([await verdict(first), await verdict(second)]).toEqual(['generation 1', 'generation 2']);
    good(await rotate({ grace: '0s' }));
    expect([await verdict(first), await verdict(second), await verdict(third)]).toEqual(
      Array.from({ length: 3 }, () => 'token_superseded'),
    );
    expect((await record()).superseded.map((entry) => entry.grace_until)).toEqual([T0, T0, T0]);
  });

  it('works with a pepper', async () => {
    await rig.close();
    rig = await openRig(null, Buffer.from('pepper'));
    const issued = good(await issueToken(rig.context, operator, aRequest));
    id = issued.stored.record.id;
    const { token } = good(await rotate());
    expect([await verdict(issued.token), await verdict(token)]).toEqual(['generation 1', 'generation 2']);
    expect((await record()).digest).toBe(digestToken(token, Buffer.from('pepper')));
  });
});

describe('a rotation that is refused', () => {
  afterEach(async () => {
    expect(await rotations()).toEqual([]);
  });

  it.each([
    [{ grace: '25h' }, ['grace'], 'which is 1d'],
    [{ ttl: '91d' }, ['ttl'], 'which is 90d'],
    [{ ttl: '0s' }, ['ttl'], 'longer than nothing'],
    [{ ttl: 'x', grace: '-1h' }, ['ttl', 'grace'], 'expected a duration'],
  ])('for %j names the fields and their bounds', async (request, paths, message) => {
    const before = await record();
    const result = await rotate(request);
    expect(result).toMatchObject({ ok: false, error: { kind: 'invalid' } });
    if (result.ok || result.error.kind !== 'invalid') throw new Error('not reached');
    expect(result.error.errors.map(({ path }) => path).toSorted()).toEqual(paths.toSorted());
    expect(result.error.errors[0]?.message).toContain(message);
    expect(await record()).toEqual(before);
  });

  it('for a token that is not there, revoked, expired, of another environment or of a class that is gone', async () => {
    expect(await rotateToken(rig.context, operator, 'nosuchtoken0', {})).toEqual({
      ok: false,
      error: { kind: 'not_found' },
    });
    const conflict = (message: string) => ({
      ok: false,
      error: { kind: 'conflict', message: expect.stringContaining(message) },
    });
    const elsewhere = { ...rig.context, tokens: { ...rig.context.tokens, environment: 'staging' } };
    expect(await rotateToken(elsewhere, operator, id, {})).toEqual(conflict('environment "prod"'));
    rig.policy = policyOf({ 'classes.yaml': 'classes: {}\n' });
    expect(await rotate()).toEqual(conflict('class "service"'));
    rig.policy = null;
    expect(await rotate()).toEqual(conflict('no policy'));
    rig.policy = policyOf();
    rig.now = T0 + 30 * DAY;
    expect(await rotate()).toEqual(conflict('expired'));
    rig.now = T0;
    good(await revokeToken(rig.context, operator, id, { reason: null }));
    expect(await rotate()).toEqual(conflict('revoked'));
  });

  it('for an actor who would gain from the new secret', async () => {
    expect(await rotate({}, clerk)).toEqual({
      ok: false,
      error: { kind: 'forbidden', errors: [{ path: 'id', message: expect.stringContaining('"orders:write"') }] },
    });
    expect(await verdict(first)).toBe('generation 1');
  });
});

describe('who may rotate', () => {
  it('the token itself, and whoever holds what it holds', async () => {
    const self: Actor = { ...clerk, tokenId: id, name: id, scopes: [], roles: [] };
    expect((await rotate({}, self)).ok).toBe(true);
    expect((await rotate({}, { ...clerk, scopes: ['orders:*'] })).ok).toBe(true);
    good(await narrowToken(rig.context, operator, id, { scopes: ['orders:read'] }));
    expect((await rotate({}, clerk)).ok).toBe(true);
  });
});

describe('a rotation that cannot be finished', () => {
  it('is put back when its event cannot be recorded', async () => {
    const before = await record();
    await rig.breakAudit();
    await expect(rotate()).rejects.toMatchObject({
      code: 'audit_unavailable',
      message: expect.stringContaining('left as it was'),
    });
    expect(await record()).toEqual(before);
    expect(await verdict(first)).toBe('generation 1');
    await rig.mendAudit();
    expect(good(await rotate()).stored.record.generation).toBe(2);
  });

  it('is put back when the store took it but did not say so', async () => {
    const before = await record();
    let replaced = 0;
    rig.interfere = {
      replace: async (version, next) => {
        const answer = await rig.store.replace(version, next);
        replaced += 1;
        if (replaced === 1) throw new Fault('store_unavailable', 'no answer in time');
        return answer;
      },
    };
    await expect(rotate()).rejects.toMatchObject({ code: 'store_unavailable' });
    expect(await record()).toEqual(before);
  });

  it.each<[string, Partial<TokenRecord>, string]>([
    ['a revocation', { revoked_at: T0 }, 'token_revoked'],
    ['a new owner', { owner: 'team-b' }, 'generation 1'],
    ['fewer scopes', { scopes: [] }, 'generation 1'],
  ])('does not undo %s that came meanwhile, and says that it could not be taken back', async (_name, change, state) => {
    await rig.breakAudit();
    const { replace } = rig.store;
    let replaced = 0;
    rig.interfere = {
      replace: async (version, next) => {
        const answer = await replace.call(rig.store, version, next);
        replaced += 1;
        if (replaced > 1) return answer;
        const stored = await rig.store.load(id);
        if (stored === null) throw new Error('not reached');
        await replace.call(rig.store, stored.version, { ...stored.record, ...change });
        return answer;
      },
    };
    await expect(rotate()).rejects.toMatchObject({
      code: 'audit_unavailable',
      message: expect.stringContaining('could not be taken back'),
    });
    expect(await record()).toMatchObject({ generation: 2, ...change });
    expect(await verdict(first)).toBe(state);
    await rig.mendAudit();
  });

  it('gives up in words when others never let it through', async () => {
    rig.interfere = { replace: () => Promise.resolve(false) };
    expect(await rotate()).toEqual({
      ok: false,
      error: { kind: 'conflict', message: expect.stringContaining('try again') },
    });
  });
});
