import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ExpiryWatch } from '../../src/lifecycle/expire.ts';
import { type IssueRequest, issueToken } from '../../src/lifecycle/issue.ts';
import { narrowToken } from '../../src/lifecycle/narrow.ts';
import { revokeToken } from '../../src/lifecycle/revoke.ts';
import { rotateToken } from '../../src/lifecycle/rotate.ts';
import { statusAt } from '../../src/model/token-record.ts';
import { type AuditLine, aRequest, DAY, good, HOUR, MINUTE, openRig, operator, policyOf, type Rig, T0 } from './rig.ts';

const IDLE = `classes:
  service: { max_ttl: 90d, default_ttl: 30d, scopes: [orders:*], idle_expiry: 10d, grace: 24h }
`;

describe('watching the ends of tokens', () => {
  let rig: Rig;
  let watch: ExpiryWatch;
  const { signal } = new AbortController();
  beforeEach(async () => {
    rig = await openRig(null);
    watch = anotherWatch();
  });
  afterEach(() => rig.close());

  const anotherWatch = (): ExpiryWatch => new ExpiryWatch(rig.context, [7 * DAY, DAY, HOUR]);
  const walk = (): Promise<void> => watch.walk(MINUTE, signal);

  async function issue(fields: Partial<IssueRequest> = {}): Promise<string> {
    return good(await issueToken(rig.context, operator, { ...aRequest, ...fields })).stored.record.id;
  }

  /** `expiring 7d`, `expired` … as they were announced for one token. */
  async function announced(id: string): Promise<string[]> {
    const lines = await auditedOf(id);
    return lines.map(({ type, ...line }) => {
      const within = (line['details'] as { within?: string }).within;
      return within === undefined ? type.slice(6) : `${type.slice(6)} ${within}`;
    });
  }

  async function auditedOf(id: string): Promise<AuditLine[]> {
    // What was recorded before is written before.
    await rig.context.audit.recordDurably({ type: 'config.loaded', outcome: 'success' });
    const lines = await rig.audited();
    return lines.filter((line) => line['token_id'] === id && /expir/.test(line.type));
  }

  it('announces each threshold once, also to another process and after a restart', async () => {
    const id = await issue({ ttl: '30d' });
    const expected: string[] = [];
    for (const [after, more] of [
      [0, []],
      [22 * DAY, []],
      [23 * DAY, ['expiring 7d']],
      [24 * DAY, []],
      [29 * DAY, ['expiring 1d']],
      [30 * DAY - MINUTE, ['expiring 1h']],
      [30 * DAY, ['expired']],
      [30 * DAY + HOUR, []],
    ] as const) {
      rig.now = T0 + after;
      await Promise.all([walk(), anotherWatch().walk(MINUTE, signal)]);
      await walk();
      expected.push(...more);
      expect([after / DAY, await announced(id)]).toEqual([after / DAY, expected]);
    }
    expect(rig.metrics.filter((event) => event !== 'issued')).toEqual(['expiring', 'expiring', 'expiring', 'expired']);
    expect((await auditedOf(id))[0]).toMatchObject({
      owner: aRequest.owner,
      actor: 'expiry',
      details: { name: aRequest.name, class: 'service', expires_at: new Date(T0 + 30 * DAY).toISOString() },
    });
  });

  it('announces the tightest where several were missed, and none that a short life never had', async () => {
    const [long, short] = [await issue({ ttl: '30d' }), await issue({ ttl: '1h' })];
    rig.now = T0 + HOUR - MINUTE;
    await walk();
    expect(await announced(short)).toEqual([]);
    rig.now = T0 + 30 * DAY - MINUTE;
    await walk();
    await walk();
    expect(await announced(long)).toEqual(['expiring 1h']);
    expect(await announced(short)).toEqual([]);
  });

  it('says nothing of a revoked one, and begins anew after a rotation or a nearer end', async () => {
    const [revoked, rotated, narrowed] = [await issue(), await issue(), await issue()];
    rig.now = T0 + 24 * DAY;
    good(await revokeToken(rig.context, operator, revoked, { reason: 'x' }));
    await walk();
    expect([await announced(revoked), await announced(rotated)]).toEqual([[], ['expiring 7d']]);
    good(await rotateToken(rig.context, operator, rotated, {}));
    const end = new Date(rig.now + 5 * HOUR).toISOString();
    good(await narrowToken(rig.context, operator, narrowed, { expires_at: end }));
    await walk();
    expect(await announced(narrowed)).toEqual(['expiring 7d', 'expiring 1d']);
    rig.now += 24 * DAY;
    await walk();
    expect(await announced(rotated)).toEqual(['expiring 7d', 'expiring 7d']);
  });

  it('tells of an end of the last day after a restart, and of none before', async () => {
    const [recent, old] = [await issue({ ttl: '10d' }), await issue({ ttl: '8d' })];
    rig.now = T0 + 10 * DAY + HOUR;
    await anotherWatch().walk(MINUTE, signal);
    expect([await announced(recent), await announced(old)]).toEqual([['expired'], []]);
  });

  it('glances at what is new and what comes due, without a walk', async () => {
    const early = await issue({ ttl: '2m' });
    await watch.walk(5 * MINUTE, signal);
    rig.now = T0 + MINUTE;
    const late = await issue({ ttl: '10m' });
    await watch.glance(20 * MINUTE, signal);
    rig.now = T0 + 2 * MINUTE;
    await watch.glance(20 * MINUTE, signal);
    expect([await announced(early), await announced(late)]).toEqual([['expired'], []]);
    rig.now = T0 + 11 * MINUTE;
    await watch.glance(20 * MINUTE, signal);
    expect(await announced(late)).toEqual(['expired']);
  });

  it('looks at every page', async () => {
    const ids = await Promise.all(Array.from({ length: 450 }, () => issue({ ttl: '1d' })));
    rig.now = T0 + DAY;
    await walk();
    await rig.context.audit.recordDurably({ type: 'config.loaded', outcome: 'success' });
    const told = (await rig.audited()).filter(({ type }) => type === 'token.expired').map((line) => line['token_id']);
    expect(told.toSorted()).toEqual(ids.toSorted());
  }, 60_000);

  describe('idle_expiry', () => {
    beforeEach(() => {
      rig.policy = policyOf({ 'classes.yaml': IDLE, 'roles.yaml': 'roles: {}\n' });
    });

    const state = async (id: string) => {
      const record = (await rig.store.load(id))?.record;
      return record === undefined ? null : [statusAt(record, rig.now), record.expired_by ?? null];
    };
    const use = (id: string): Promise<void> =>
      rig.store.recordUses([{ id, at: rig.now, ip: '192.0.2.1', count: 1, generation: 1 }]);

    it('ends a token that nobody has used for that long', async () => {
      const [used, unused, fresh] = [await issue(), await issue(), await issue({ not_before: '2030-01-05T00:00:00Z' })];
      rig.now = T0 + 9 * DAY;
      await use(used);
      await walk();
      expect(await state(unused)).toEqual(['active', null]);
      rig.now = T0 + 10 * DAY + MINUTE;
      await walk();
      expect([await state(used), await state(unused), await state(fresh)]).toEqual([
        ['active', null],
        ['expired', 'idle_expiry'],
        ['active', null],
      ]);
      await walk();
      expect(await auditedOf(unused)).toMatchObject([
        { type: 'token.expired', actor: 'idle_expiry', details: { by: 'idle_expiry', last_used_at: null } },
      ]);
      expect(await rotateToken(rig.context, operator, unused, {})).toMatchObject({ ok: false });
    });

    it('counts a rotation as a sign of life', async () => {
      const id = await issue();
      rig.now = T0 + 9 * DAY;
      good(await rotateToken(rig.context, operator, id, {}));
      rig.now = T0 + 18 * DAY;
      await walk();
      expect((await state(id))?.[0]).toBe('active');
    });

    it('lets a token be that was used while the walk went on', async () => {
      const id = await issue();
      rig.now = T0 + 11 * DAY;
      const { list } = rig.interfere;
      rig.interfere.list = async (filter, page) => {
        const found = await rig.store.list(filter, page);
        await use(id);
        return found;
      };
      await walk();
      rig.interfere.list = list;
      expect(await state(id)).toEqual(['active', null]);
    });

    it('leaves the token as it is where the audit trail cannot tell of it', async () => {
      const id = await issue();
      rig.now = T0 + 11 * DAY;
      await rig.breakAudit();
      await expect(walk()).rejects.toMatchObject({ code: 'audit_unavailable' });
      await rig.mendAudit();
      expect(await state(id)).toEqual(['active', null]);
      await walk();
      expect(await state(id)).toEqual(['expired', 'idle_expiry']);
    });
  });
});
