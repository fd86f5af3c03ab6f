import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Actor } from '../../src/lifecycle/context.ts';
import { type IssueRequest, issueToken } from '../../src/lifecycle/issue.ts';
import { revokeToken } from '../../src/lifecycle/revoke.ts';
import { revokeMany } from '../../src/lifecycle/revoke-many.ts';
import type { RevokeManyReport } from '../../src/lifecycle/revoke-run.ts';
import type { RevocationSelector } from '../../src/lifecycle/revoke-selector.ts';
import { rotateToken } from '../../src/lifecycle/rotate.ts';
import { Fault } from '../../src/model/fault.ts';
import { aRequest, clerk, DAY, good, HOUR, MINUTE, openRig, operator, type Rig, T0 } from './rig.ts';

describe('revoking in bulk', () => {
  let rig: Rig;
  beforeEach(async () => {
    rig = await openRig(null);
  });
  afterEach(() => rig.close());

  async function issue(fields: Partial<IssueRequest> = {}): Promise<{ id: string; token: string }> {
    const { stored, token } = good(await issueToken(rig.context, operator, { ...aRequest, ...fields }));
    return { id: stored.record.id, token };
  }

  async function revoke(
    selector: RevocationSelector,
    { dryRun = false, actor = operator }: { dryRun?: boolean; actor?: Actor } = {},
  ): Promise<RevokeManyReport> {
    return good(await revokeMany(rig.context, actor, { selector, reason: 'incident 7', dryRun }));
  }

  const isRevoked = async (id: string): Promise<boolean> => (await rig.store.load(id))?.record.revoked_at !== null;
  const ids = ({ tokens }: RevokeManyReport): string[] => tokens.map(({ id }) => id).toSorted();

  it('takes the tokens that fit every selector, and no other', async () => {
    const mine = await issue({ owner: 'team-b', subject: 'user-1' });
    const other = await issue({ owner: 'team-b', subject: 'user-2' });
    const ci = await issue({ owner: 'team-b', class: 'ci', scopes: ['orders:read'], ip: ['192.0.2.1'] });
    const stranger = await issue({ owner: 'team-a', subject: 'user-1' });
    const all = [mine, other, ci, stranger].map(({ id }) => id);

    const dry = await revoke({ owner: 'team-b' }, { dryRun: true });
    expect(dry).toMatchObject({ matched: 3, revoked: 0, already_revoked: 0, failed: 0, interrupted: null });
    expect(ids(dry)).toEqual([mine.id, other.id, ci.id].toSorted());
    expect(await Promise.all(all.map(isRevoked))).toEqual([false, false, false, false]);

    expect(ids(await revoke({ owner: 'team-b', subject: 'user-1' }))).toEqual([mine.id]);
    expect(await Promise.all(all.map(isRevoked))).toEqual([true, false, false, false]);
    const rest = await revoke({ owner: 'team-b' });
    expect(rest).toMatchObject({ matched: 3, revoked: 2, already_revoked: 1, failed: 0 });
    expect(await Promise.all(all.map(isRevoked))).toEqual([true, true, true, false]);
    expect(await revoke({ class: 'ci' })).toMatchObject({ matched: 1, revoked: 0, already_revoked: 1 });
    expect(await revoke({ jti: stranger.id })).toMatchObject({ matched: 1, revoked: 1 });
    const events = (await rig.audited()).filter(({ type }) => type === 'token.revoked');
    expect(new Set(events.map((event) => event['token_id']))).toEqual(new Set(all));
    expect(events[0]).toMatchObject({ actor: 'break-glass', details: { reason: 'incident 7' } });
  });

  it('goes over every page, with many at a time', async () => {
    const issued = await Promise.all(Array.from({ length: 620 }, () => issue({ owner: 'team-x' })));
    const report = await revoke({ owner: 'team-x' });
    expect(report).toMatchObject({
      matched: 620,
      revoked: 620,
      failed: 0,
      propagation: { replicas: 1, acknowledged: 1 },
    });
    expect(await Promise.all(issued.map(({ id }) => isRevoked(id)))).not.toContain(false);
  }, 60_000);

  it('reads issued_before as the time of issue, whatever has been rotated since', async () => {
    const early = await issue();
    rig.now += HOUR;
    good(await rotateToken(rig.context, operator, early.id, { grace: '0s' }));
    const late = await issue();
    const report = await revoke({ issued_before: new Date(T0 + HOUR).toISOString() });
    expect([ids(report), await isRevoked(late.id)]).toEqual([[early.id], false]);
  });

  it('finds a token by where it, or an older generation of it, was last used', async () => {
    const [a, b, c, unused] = await Promise.all([issue(), issue(), issue(), issue()]);
    good(await rotateToken(rig.context, operator, b.id, {}));
    const use = { at: T0, count: 1, generation: 1 };
    await rig.store.recordUses([
      { ...use, id: a.id, ip: '203.0.113.9' },
      { ...use, id: b.id, ip: '203.0.113.77' },
      { ...use, id: b.id, ip: '192.0.2.1', at: T0 + MINUTE, generation: 2 },
      { ...use, id: c.id, ip: '::1' },
    ]);
    expect(ids(await revoke({ seen_from: '203.0.113.0/24' }, { dryRun: true }))).toEqual([a.id, b.id].toSorted());
    expect(ids(await revoke({ seen_from: '203.0.113.9' }))).toEqual([a.id]);
    expect(ids(await revoke({ seen_from: '::/0' }))).toEqual([c.id]);
    expect(await isRevoked(unused.id)).toBe(false);
  });

  it('finds a token by its text, also an old generation, and only by a secret that is one of it', async () => {
    const { id, token } = await issue();
    const other = await issue();
    good(await rotateToken(rig.context, operator, id, { grace: '0s' }));
    const forged = other.token.replace(other.id, id);
    expect(await revoke({ token: forged })).toMatchObject({ matched: 0, revoked: 0 });
    expect(await revoke({ token: 'what is this' })).toMatchObject({ matched: 0 });
    expect(await revoke({ token, owner: 'somebody else' })).toMatchObject({ matched: 0 });
    expect(ids(await revoke({ token }))).toEqual([id]);
    expect(await isRevoked(other.id)).toBe(false);
    expect(JSON.stringify(await rig.audited())).not.toContain(token.slice(-20));
  });

  it('finds nothing by an issuer, or by an id that is none', async () => {
    await issue();
    expect(await revoke({ issuer: 'https://login.example.com' })).toMatchObject({ matched: 0 });
    expect(await revoke({ issuer: 'https://login.example.com', owner: aRequest.owner })).toMatchObject({ matched: 0 });
    expect(await revoke({ jti: '../../x' })).toMatchObject({ matched: 0 });
  });

  it('leaves expired tokens as they are', async () => {
    const { id } = await issue({ ttl: '1h' });
    rig.now += DAY;
    expect(await revoke({ owner: aRequest.owner })).toMatchObject({ matched: 0, expired: 1 });
    expect(await isRevoked(id)).toBe(false);
  });

  it.each([
    [{}, ['']],
    [{ owner: '' }, ['owner']],
    [{ issued_before: 'yesterday', seen_from: '10.0.0.7/8' }, ['issued_before', 'seen_from']],
  ])('refuses %j', async (selector, paths) => {
    const { id } = await issue();
    const result = await revokeMany(rig.context, operator, { selector, reason: 'x', dryRun: false });
    expect(result).toMatchObject({ ok: false, error: { kind: 'invalid', errors: paths.map((path) => ({ path })) } });
    expect(await isRevoked(id)).toBe(false);
  });

  it('revokes what was issued while it walked', async () => {
    const first = await issue({ owner: 'thief' });
    let late: { id: string } | null = null;
    rig.interfere.list = async (filter, page) => {
      const listed = await rig.store.list(filter, page);
      late ??= await issue({ owner: 'thief' });
      return listed;
    };
    const report = await revoke({ owner: 'thief' });
    expect([ids(report), report.revoked]).toEqual([[first.id, late?.['id']].toSorted(), 2]);
  });

  it('says which failed when the store is lost on the way, and a repeat does the rest', async () => {
    const issued = await Promise.all(Array.from({ length: 5 }, () => issue({ owner: 'team-z' })));
    let replaced = 0;
    rig.interfere.replace = async (version, record) => {
      replaced += 1;
      if (replaced > 2) throw new Fault('store_unavailable', 'the store is away');
      return await rig.store.replace(version, record);
    };
    const report = await revoke({ owner: 'team-z' });
    expect(report).toMatchObject({ revoked: 2, failed: report.matched - 2, interrupted: 'store_unavailable' });
    expect(report.failed).toBeGreaterThan(0);
    expect(report.failures[0]).toMatchObject({ reason: 'store_unavailable' });
    rig.interfere.replace = undefined;
    expect(await revoke({ owner: 'team-z' })).toMatchObject({ matched: 5, revoked: 3, already_revoked: 2, failed: 0 });
    expect(await Promise.all(issued.map(({ id }) => isRevoked(id)))).not.toContain(false);
  });

  it('waits for the replicas once for all tokens, when all of them are revoked', async () => {
    const ids: string[] = [];
    for (let count = 0; count < 40; count += 1) ids.push((await issue({ owner: 'team-once' })).id);
    const waits: string[][] = [];
    rig.propagate = async (revoked) => {
      waits.push([...revoked].sort());
      expect(await Promise.all(ids.map(isRevoked))).not.toContain(false);
      return { replicas: 3, acknowledged: 2, streams_closed: 7, elapsed_ms: 1 };
    };
    const { revoked, propagation } = await revoke({ owner: 'team-once' });
    expect(waits).toEqual([ids.sort()]);
    expect({ revoked, propagation }).toMatchObject({
      revoked: 40,
      propagation: { replicas: 3, acknowledged: 2, streams_closed: 7 },
    });
  });

  it('throws where nothing was changed yet', async () => {
    await issue();
    rig.interfere.list = () => Promise.reject(new Fault('store_unavailable', 'the store is away'));
    await expect(revoke({ owner: aRequest.owner })).rejects.toMatchObject({ code: 'store_unavailable' });
  });

  it('carries a revocation that had not reached everybody once more', async () => {
    const { id } = await issue();
    rig.propagate = () => Promise.reject(new Fault('store_unavailable', 'a replica could not be waited for'));
    expect(await revoke({ jti: id })).toMatchObject({ matched: 1, revoked: 0, failed: 1 });
    const reached: string[] = [];
    rig.propagate = async (ids) => {
      reached.push(...ids);
      return { replicas: 3, acknowledged: 3, streams_closed: 2, elapsed_ms: 1 };
    };
    const again = await revoke({ jti: id });
    expect(again).toMatchObject({ matched: 1, already_revoked: 1, failed: 0 });
    expect([reached, again.propagation]).toMatchObject([[id], { replicas: 3, acknowledged: 3, streams_closed: 2 }]);
    rig.now += DAY;
    expect(await revoke({ jti: id })).toMatchObject({ already_revoked: 1 });
    expect(reached).toEqual([id]);
  });

  it('revokes although the audit trail cannot be written, and says so', async () => {
    const { id } = await issue();
    await rig.breakAudit();
    const report = await revoke({ jti: id });
    await rig.mendAudit();
    expect(report).toMatchObject({ revoked: 0, failed: 1, failures: [{ id, reason: 'audit_unavailable' }] });
    expect(await isRevoked(id)).toBe(true);
  });

  it('takes the token of the caller last, and only when the others are revoked', async () => {
    const own = await issue({ owner: 'us' });
    const actor: Actor = { ...clerk, tokenId: own.id, name: own.id };
    const others = await Promise.all([issue({ owner: 'us' }), issue({ owner: 'us' })]);
    const order: string[] = [];
    let failing = true;
    rig.interfere.replace = async (version, record) => {
      if (failing) throw new Fault('conflict', 'no luck');
      order.push(record.id);
      return await rig.store.replace(version, record);
    };
    expect(await revoke({ owner: 'us' }, { actor })).toMatchObject({ matched: 3, revoked: 0, failed: 3 });
    expect(await isRevoked(own.id)).toBe(false);
    failing = false;
    expect(await revoke({ owner: 'us' }, { actor })).toMatchObject({ matched: 3, revoked: 3, failed: 0 });
    expect([order.length, order.at(-1), others.every(({ id }) => order.includes(id))]).toEqual([3, own.id, true]);
  });

  it('counts what had been revoked', async () => {
    const { id } = await issue();
    const first = good(await revokeToken(rig.context, operator, id, { reason: 'x' }));
    rig.now += DAY;
    expect(await revoke({ jti: id })).toMatchObject({ matched: 1, revoked: 0, already_revoked: 1 });
    expect((await rig.store.load(id))?.record.revoked_at).toBe(first.revoked_at);
  });
});
