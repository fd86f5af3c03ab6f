import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { issueToken } from '../../src/lifecycle/issue.ts';
import { narrowToken } from '../../src/lifecycle/narrow.ts';
import { revokeToken } from '../../src/lifecycle/revoke.ts';
import { rotateToken } from '../../src/lifecycle/rotate.ts';
import { createAuthenticator } from '../../src/token/authenticate.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { aRequest, good, openRig, operator, type Rig } from './rig.ts';

/* The same changes at the same time, on both stores: no update is lost, and nothing lifts a revocation. */
describe.each(['embedded', 'redis'])('simultaneous changes on the %s store', (kind) => {
  let redis: RedisServer | null = null;
  let rig: Rig;
  let id: string;
  let first: string;

  beforeAll(async () => {
    if (kind === 'redis') redis = await startRedis();
  });
  afterAll(() => redis?.stop());
  beforeEach(async () => {
    rig = await openRig(redis?.url ?? null);
    const issued = good(await issueToken(rig.context, operator, aRequest));
    first = issued.token;
    id = issued.stored.record.id;
  });
  afterEach(() => rig.close());

  const verdict = async (token: string): Promise<string> => {
    const authenticator = createAuthenticator({ ...rig.context.tokens, store: rig.store });
    const outcome = await authenticator.authenticate(token, rig.now);
    return outcome.ok ? `generation ${outcome.generation}` : outcome.reason;
  };

  it('give every rotation that succeeds a generation of its own', async () => {
    const results = await Promise.all(Array.from({ length: 8 }, () => rotateToken(rig.context, operator, id, {})));
    const rotated = results.filter((result) => result.ok).map(good);
    const generations = rotated.map(({ stored }) => stored.record.generation).toSorted((a, b) => a - b);
    expect(generations).toEqual(Array.from({ length: rotated.length }, (_, i) => i + 2));
    for (const { stored, token } of rotated)
      expect(await verdict(token)).toBe(`generation ${stored.record.generation}`);
    const events = (await rig.audited()).filter((line) => line.type === 'token.rotated');
    expect(events).toHaveLength(rotated.length);
    for (const result of results) if (!result.ok) expect(result.error.kind).toBe('conflict');
  });

  it('never lift a revocation', async () => {
    const rotations = Array.from({ length: 4 }, () => rotateToken(rig.context, operator, id, {}));
    const names = Array.from({ length: 4 }, (_, i) => narrowToken(rig.context, operator, id, { name: `name ${i}` }));
    const revocations = Array.from({ length: 3 }, () => revokeToken(rig.context, operator, id, { reason: 'leaked' }));
    const revoked = (await Promise.all(revocations)).map(good);
    expect(new Set(revoked.map(({ revoked_at }) => revoked_at)).size).toBe(1);
    const tokens = (await Promise.all(rotations)).filter((result) => result.ok).map((result) => good(result).token);
    await Promise.all(names);
    for (const token of [first, ...tokens]) expect(await verdict(token)).toBe('token_revoked');
    const events = (await rig.audited()).filter((line) => line.type === 'token.revoked');
    expect(events.map((line) => line['details'])).toHaveLength(3);
  });

  it('undo a rotation without its event only where nobody built on it', async () => {
    const before = (await rig.store.load(id))?.record;
    await rig.breakAudit();
    const failures = await Promise.allSettled([
      rotateToken(rig.context, operator, id, {}),
      narrowToken(rig.context, operator, id, { scopes: [] }),
      revokeToken(rig.context, operator, id, { reason: null }),
    ]);
    for (const failure of failures) {
      if (failure.status === 'rejected') expect(failure.reason).toMatchObject({ code: 'audit_unavailable' });
    }
    expect(failures[2]?.status).toBe('rejected');
    expect(await verdict(first)).toBe('token_revoked');
    expect((await rig.store.load(id))?.record.id).toBe(before?.id);
    await rig.mendAudit();
  });

  it('take the whole life of a token', async () => {
    const second = good(await rotateToken(rig.context, operator, id, { grace: '1h' })).token;
    expect([await verdict(first), await verdict(second)]).toEqual(['generation 1', 'generation 2']);
    good(await narrowToken(rig.context, operator, id, { scopes: ['orders:read'], name: 'less' }));
    rig.now += 3_600_000;
    expect([await verdict(first), await verdict(second)]).toEqual(['token_superseded', 'generation 2']);
    good(await revokeToken(rig.context, operator, id, { reason: 'done' }));
    expect([await verdict(first), await verdict(second)]).toEqual(['token_revoked', 'token_revoked']);
    expect((await rig.audited()).map(({ type, outcome }) => `${type} ${outcome}`)).toEqual([
      'token.issued success',
      'token.rotated success',
      'token.narrowed success',
      'token.revoked success',
    ]);
  });
});
