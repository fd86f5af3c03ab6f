import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import type { Actor, LifecycleContext } from '../../src/lifecycle/context.ts';
import { issueToken } from '../../src/lifecycle/issue.ts';
import { type ForeignLifecycle, plannedMark, requestForToken, revokeForeign } from '../../src/lifecycle/mark.ts';
import { revokeMany } from '../../src/lifecycle/revoke-many.ts';
import type { RevokeManyReport } from '../../src/lifecycle/revoke-run.ts';
import type { RevocationSelector } from '../../src/lifecycle/revoke-selector.ts';
import type { Principal } from '../../src/model/principal.ts';
import { markCovers } from '../../src/store/revocation-marks.ts';
import { aRequest, DAY, good, HOUR, openRig, operator, type Rig, T0 } from './rig.ts';

const SKEW = 30_000;
const SECOND = 1000;
const WHY = { reason: 'incident 7' };

function jwt(changes: Partial<NonNullable<Principal['foreign']>> = {}, id = 'jwt:0123456789abcdefghijkl'): Principal {
  const foreign = { issuer: 'https://issuer.example', jti: 'j1', subject: 'alice', issuedAt: T0 - SECOND, ...changes };
  return {
    tokenType: 'jwt',
    tokenId: id,
    subject: foreign.subject,
    owner: null,
    class: null,
    scopes: [],
    roles: [],
    claims: {},
    ip: [],
    issuedAt: foreign.issuedAt ?? T0,
    expiresAt: T0 + HOUR,
    supersededUntil: null,
    foreign,
    confirmation: null,
  };
}

describe('revoking tokens of others', () => {
  let rig: Rig;
  let context: LifecycleContext;
  let open: Principal[];
  let propagated: string[][];
  const foreignOf = (): ForeignLifecycle => ({
    putMark: (mark, most) => rig.store.putMark(mark, most),
    clockSkewMs: SKEW,
    longestLifeMs: DAY,
    countOpen: (fits) => open.filter(fits).length,
  });
  beforeEach(async () => {
    rig = await openRig(null);
    open = [];
    propagated = [];
    rig.propagate = async (ids) => {
      propagated.push([...ids]);
      return { replicas: 3, acknowledged: 2, streams_closed: 4, elapsed_ms: 5 };
    };
    context = { ...rig.context, foreign: foreignOf() };
  });
  afterEach(() => rig.close());

  async function revoke(
    selector: RevocationSelector,
    { dryRun = false, presented = null }: { dryRun?: boolean; presented?: Principal | null } = {},
  ): Promise<RevokeManyReport> {
    return good(await revokeMany(context, operator, { selector, ...WHY, dryRun, presented }));
  }

  const covered = async (token: Principal): Promise<boolean> =>
    (await rig.store.allMarks()).some((mark) => markCovers(mark, token));

  it('goes by jti, subject, issuer and time of issue, and by all of them that are given', async () => {
    const report = await revoke({ jti: 'j1', issuer: 'https://issuer.example' });
    expect(report).toMatchObject({
      matched: 0,
      failed: 0,
      failures: [],
      marks: [{ jti: 'j1', issuer: 'https://issuer.example', subject: null, issued_before: null, repeated: false }],
      propagation: { replicas: 3, acknowledged: 2, streams_closed: 4 },
    });
    expect(await covered(jwt())).toBe(true);
    expect(await covered(jwt({ jti: 'j2' }))).toBe(false);
    expect(await covered(jwt({ issuer: 'https://other.example' }))).toBe(false);
    await revoke({ subject: 'bob', issued_before: new Date(T0 - HOUR).toISOString() });
    expect(await covered(jwt({ jti: 'j2', subject: 'bob' }))).toBe(false);
    expect(await covered(jwt({ jti: 'j2', subject: 'bob', issuedAt: T0 - HOUR - SECOND }))).toBe(true);
    expect(await covered(jwt({ jti: 'j2', subject: 'bob', issuedAt: null }))).toBe(true);
    expect(propagated).toEqual((await rig.store.allMarks()).map(({ id }) => [id]).toSorted(byOrder(propagated)));
    expect(rig.metrics.filter((event) => event === 'revoked')).toHaveLength(2);
  });

  it('takes tokens of this gateway and of others in one call, and none of others where only ours can fit', async () => {
    const { stored } = good(await issueToken(context, operator, { ...aRequest, subject: 'alice' }));
    const report = await revoke({ subject: 'alice' });
    expect(report).toMatchObject({ matched: 1, revoked: 1, marks: [{ subject: 'alice' }] });
    expect((await rig.store.load(stored.record.id))?.record.revoked_at).toBe(T0);
    expect(await covered(jwt({ issuer: 'https://other.example' }))).toBe(true);
    for (const selector of [{ owner: 'team-a' }, { class: 'service', subject: 'carol' }, { seen_from: '10.0.0.0/8' }]) {
      expect(await revoke({ ...selector, issuer: 'https://issuer.example' })).toMatchObject({ marks: [] });
    }
    expect(await rig.store.allMarks()).toHaveLength(1);
  });

  it('means by subject or issuer the tokens that there are: not those of later, but all of this second and of clocks ahead', async () => {
    rig.now = T0 + 999;
    await revoke({ subject: 'alice' });
    for (const issuedAt of [T0 - DAY, T0, T0 + SECOND, T0 + SECOND + SKEW, null]) {
      expect([issuedAt, await covered(jwt({ issuedAt }))]).toEqual([issuedAt, true]);
    }
    expect(await covered(jwt({ issuedAt: T0 + 2 * SECOND + SKEW }))).toBe(false);
    rig.now += HOUR;
    await revoke({ subject: 'alice' });
    expect(await covered(jwt({ issuedAt: T0 + HOUR }))).toBe(true);
    expect(await rig.store.allMarks()).toHaveLength(1);
  });

  it.each([
    ['a whole second', T0, T0 - SECOND, T0],
    ['within a second, whose issuer may round up', T0 + 700, T0 + SECOND, T0 + 2 * SECOND],
  ])('reads issued_before as exclusive, at %s', async (_, bound, before, after) => {
    await revoke({ issued_before: new Date(bound).toISOString() });
    expect([await covered(jwt({ issuedAt: before })), await covered(jwt({ issuedAt: after }))]).toEqual([true, false]);
  });

  it('keeps a mark for as long as one of its tokens may live, or for good where nobody can say', () => {
    const by = { actor: operator, reason: null, now: T0 };
    const ends = (request: Parameters<typeof plannedMark>[1], longestLifeMs: number | null = DAY): number | null =>
      plannedMark({ ...foreignOf(), longestLifeMs }, request, by).keepUntil;
    const subject = { tokenId: null, jti: null, subject: 'alice', issuer: null, issuedBefore: null, expiresAt: null };
    // The latest token that is covered ends a lifetime after the bound.
    expect(ends(subject)).toBeGreaterThanOrEqual(T0 + SKEW + SECOND + DAY + SKEW);
    expect(ends({ ...subject, issuedBefore: T0 + 7 * DAY })).toBeGreaterThanOrEqual(T0 + 8 * DAY + SKEW);
    expect(ends({ ...subject, issuedBefore: T0 - 7 * DAY })).toBeGreaterThanOrEqual(T0 + DAY + SKEW);
    expect(ends(subject, null)).toBeNull();
    expect(ends({ ...subject, issuedBefore: Date.parse('9999-12-31T00:00:00Z') })).toBeNull();
    expect(ends(requestForToken(jwt()))).toBe(T0 + HOUR + HOUR);
    expect(ends(requestForToken({ ...jwt(), tokenType: 'introspected' }), null)).toBeNull();
  });

  it('revokes one token that was presented: by its issuer and jti, else by its public id', async () => {
    const { id, revoked_at, propagation } = good(await revokeForeign(context, operator, jwt(), WHY));
    expect({ id, revoked_at, propagation }).toMatchObject({
      id: jwt().tokenId,
      revoked_at: T0,
      propagation: { replicas: 3 },
    });
    const [first] = await rig.store.allMarks();
    expect(first).toMatchObject({ tokenId: null, jti: 'j1', issuer: 'https://issuer.example', subject: null });
    for (const token of [jwt({ jti: null }), jwt({ issuer: null }), jwt({ jti: 'x'.repeat(600) })]) {
      const [mark] = [plannedMark(foreignOf(), requestForToken(token), { actor: operator, reason: null, now: T0 })];
      expect(mark).toMatchObject({ tokenId: token.tokenId, jti: null, issuer: null });
      expect([markCovers(mark, token), markCovers(mark, jwt({}, 'jwt:another'))]).toEqual([true, false]);
    }
    rig.now += HOUR;
    expect(good(await revokeForeign(context, operator, jwt(), { reason: 'again' }))).toMatchObject({ revoked_at: T0 });
    expect(propagated).toEqual([[first?.id], [first?.id]]);
    const events = (await rig.audited()).filter(({ type }) => type === 'token.revoked');
    expect(events).toMatchObject([
      {
        token_id: jwt().tokenId,
        token_type: 'jwt',
        subject: 'alice',
        actor: 'break-glass',
        details: { reason: 'incident 7', repeated: false, mark: { id: first?.id, jti: 'j1', token_id: null } },
      },
      { details: { reason: 'again', repeated: true } },
    ]);
  });

  it('takes a token only if it fits the other selectors', async () => {
    const token = 'a.b.c';
    const presented = jwt();
    expect(await revoke({ token, subject: 'bob' }, { presented })).toMatchObject({ marks: [] });
    expect(await revoke({ token, issuer: 'https://other.example' }, { presented })).toMatchObject({ marks: [] });
    expect(await revoke({ token, jti: 'j2' }, { presented })).toMatchObject({ marks: [] });
    expect(await revoke({ token, owner: 'team-a' }, { presented })).toMatchObject({ marks: [] });
    const early = new Date(T0 - DAY).toISOString();
    expect(await revoke({ token, issued_before: early }, { presented })).toMatchObject({ marks: [] });
    expect(await revoke({ token })).toMatchObject({ marks: [] });
    expect(await rig.store.allMarks()).toEqual([]);
    expect(await revoke({ token, subject: 'alice' }, { presented })).toMatchObject({ marks: [{ jti: 'j1' }] });
  });

  it('only says what it would do in a dry run', async () => {
    open = [jwt(), jwt(), jwt({ subject: 'bob' })];
    const report = await revoke({ subject: 'alice' }, { dryRun: true });
    expect(report).toMatchObject({ streams_open: 2, marks: [{ subject: 'alice', repeated: false }] });
    expect([await rig.store.allMarks(), propagated]).toEqual([[], []]);
  });

  it('says so, and goes on with our tokens, where there is no room; holders fill half of it at most', async () => {
    context = { ...context, foreign: { ...foreignOf(), putMark: async () => null } };
    const { stored } = good(await issueToken(context, operator, { ...aRequest, subject: 'alice' }));
    const report = await revoke({ subject: 'alice' });
    expect(report).toMatchObject({ matched: 1, revoked: 1, failed: 0, marks: [], interrupted: null });
    expect(report.failures).toMatchObject([{ id: expect.stringMatching(/^mark:/), reason: 'conflict' }]);
    expect((await rig.store.load(stored.record.id))?.record.revoked_at).toBe(T0);
    expect(await revokeForeign(context, operator, jwt(), WHY)).toMatchObject({
      ok: false,
      error: { kind: 'conflict' },
    });
    const rooms: number[] = [];
    const putMark: ForeignLifecycle['putMark'] = async (_, most) => {
      rooms.push(most);
      return null;
    };
    context = { ...context, foreign: { ...foreignOf(), putMark } };
    const holder: Actor = { ...operator, tokenId: jwt().tokenId, name: jwt().tokenId };
    for (const actor of [operator, holder]) await revokeForeign(context, actor, jwt(), WHY);
    expect(rooms).toEqual([LIMITS.revocationMarks, LIMITS.revocationMarks / 2]);
  });

  it('stands where its event cannot be recorded, and says so', async () => {
    await rig.breakAudit();
    await expect(revokeForeign(context, operator, jwt(), WHY)).rejects.toMatchObject({ code: 'audit_unavailable' });
    expect(await covered(jwt())).toBe(true);
    expect((await revoke({ subject: 'alice' })).failures).toMatchObject([{ reason: 'audit_unavailable' }]);
    await rig.mendAudit();
    good(await revokeForeign(context, operator, jwt(), WHY));
    expect((await rig.audited()).map(({ details }) => details)).toMatchObject([{ repeated: true }]);
  });

  it('makes no mark where tokens of others are not taken', async () => {
    context = rig.context;
    expect(await revoke({ subject: 'alice', issuer: 'https://issuer.example' })).toMatchObject({ marks: [] });
    expect(await revokeForeign(context, operator, jwt(), WHY)).toEqual({ ok: false, error: { kind: 'not_found' } });
    expect(await rig.store.allMarks()).toEqual([]);
  });
});

/** As the calls came. */
function byOrder(order: readonly string[][]): (a: string[], b: string[]) => number {
  const at = ([id]: string[]): number => order.findIndex(([other]) => other === id);
  return (a, b) => at(a) - at(b);
}
