import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { issueToken } from '../../src/lifecycle/issue.ts';
import { narrowToken } from '../../src/lifecycle/narrow.ts';
import { revokeToken } from '../../src/lifecycle/revoke.ts';
import { Fault } from '../../src/model/fault.ts';
import { createAuthenticator } from '../../src/token/authenticate.ts';
import { aRequest, clerk, DAY, good, openRig, operator, type Rig, T0 } from './rig.ts';

let rig: Rig;
let id: string;
let token: string;

beforeEach(async () => {
  rig = await openRig(null);
  const issued = good(await issueToken(rig.context, operator, aRequest));
  token = issued.token;
  id = issued.stored.record.id;
  rig.metrics.length = 0;
});
afterEach(() => rig.close());

const revoke = (reason: string | null = 'leaked') => revokeToken(rig.context, clerk, id, { reason });
const revocations = async () => (await rig.audited()).filter((line) => line.type === 'token.revoked');

async function verdict(): Promise<string> {
  const authenticator = createAuthenticator({ ...rig.context.tokens, store: rig.store });
  const outcome = await authenticator.authenticate(token, rig.now);
  return outcome.ok ? 'ok' : outcome.reason;
}

const alone = { replicas: 1, acknowledged: 1, streams_closed: 0, elapsed_ms: 0 };

describe('revoking a token', () => {
  it('ends it, and records by whom and why', async () => {
    rig.now = T0 + 5;
    expect(good(await revoke())).toEqual({ id, revoked_at: T0 + 5, propagation: alone });
    expect(await verdict()).toBe('token_revoked');
    expect((await rig.store.load(id))?.record).toMatchObject({
      revoked_at: T0 + 5,
      revoked_by: 'clerkclerk00',
      revoke_reason: 'leaked',
    });
    expect(await revocations()).toEqual([
      expect.objectContaining({
        outcome: 'success',
        token_id: id,
        actor: 'clerkclerk00',
        request_id: 'req-1',
        ip: '192.0.2.1',
        details: { reason: 'leaked', revoked_at: '2030-01-01T00:00:00.005Z', repeated: false },
      }),
    ]);
    expect(rig.metrics).toEqual(['revoked', 'propagation']);
  });

  it('again gives the same answer and changes nothing but the trail', async () => {
    const first = good(await revoke());
    const before = await rig.store.load(id);
    rig.now = T0 + DAY;
    expect(good(await revoke('another reason'))).toEqual(first);
    expect(await rig.store.load(id)).toEqual(before);
    expect((await revocations()).map((line) => line['details'])).toEqual([
      expect.objectContaining({ repeated: false }),
      { reason: 'another reason', revoked_at: '2030-01-01T00:00:00.000Z', repeated: true },
    ]);
    expect(rig.metrics.filter((name) => name === 'revoked')).toEqual(['revoked']);
  });

  it('works on an expired token, and under any policy', async () => {
    rig.now = T0 + 31 * DAY;
    rig.policy = null;
    expect((await revoke(null)).ok).toBe(true);
    rig.now = T0;
    expect(await verdict()).toBe('token_revoked');
  });

  it('says what it does not know and what it does not take', async () => {
    expect(await revokeToken(rig.context, operator, 'nosuchtoken0', { reason: null })).toEqual({
      ok: false,
      error: { kind: 'not_found' },
    });
    expect(await revoke('x\r\ny')).toMatchObject({
      ok: false,
      error: { kind: 'invalid', errors: [{ path: 'reason' }] },
    });
    expect(await verdict()).toBe('ok');
  });

  it('carries the revocation on before it returns, each time', async () => {
    const seen: string[] = [];
    const far = { replicas: 3, acknowledged: 3, streams_closed: 2, elapsed_ms: 17 };
    rig.propagate = async (revoked) => {
      // Whoever is told asks the store, so the store has to know already.
      seen.push(`${revoked.join()} ${await verdict()}`);
      return far;
    };
    expect(good(await revoke()).propagation).toEqual(far);
    expect(good(await revoke()).propagation).toEqual(far);
    expect(seen).toEqual([`${id} token_revoked`, `${id} token_revoked`]);
  });

  it('counts itself as the one replica where there is nobody to tell', async () => {
    const { propagate: _, ...context } = rig.context;
    const { propagation } = good(await revokeToken(context, operator, id, { reason: null }));
    expect(propagation).toEqual({ ...alone, elapsed_ms: expect.any(Number) });
  });
});

describe('a revocation that cannot be finished', () => {
  it('stands without its event, says so, and is completed by a repeat', async () => {
    await rig.breakAudit();
    const failure = await revoke().catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(Fault);
    expect(failure).toMatchObject({ code: 'audit_unavailable', message: expect.stringMatching(/is revoked.*repeat/) });
    expect(await verdict()).toBe('token_revoked');
    expect(await revocations()).toEqual([]);
    await rig.mendAudit();
    expect(good(await revoke()).revoked_at).toBe(T0);
    expect(await revocations()).toEqual([expect.objectContaining({ outcome: 'success', token_id: id })]);
  });

  it('stands and is recorded when it could not be carried on, and fails', async () => {
    rig.propagate = () => Promise.reject(new Fault('store_unavailable', 'the log cannot be written'));
    await expect(revoke()).rejects.toMatchObject({ code: 'store_unavailable' });
    expect(await verdict()).toBe('token_revoked');
    expect(await revocations()).toHaveLength(1);
  });

  it('fails when the store did not take it', async () => {
    rig.interfere = { replace: () => Promise.reject(new Fault('store_unavailable', 'no answer in time')) };
    await expect(revoke()).rejects.toMatchObject({ code: 'store_unavailable' });
    rig.interfere = { replace: () => Promise.resolve(false) };
    await expect(revoke()).rejects.toMatchObject({ code: 'conflict' });
    expect(await revocations()).toEqual([]);
    expect(await verdict()).toBe('ok');
  });

  it('goes on through changes by others', async () => {
    let changes = 0;
    rig.interfere = {
      replace: async (version, record) => {
        if (record.revoked_at !== null && changes < 30) {
          changes += 1;
          good(await narrowToken(rig.context, operator, id, { name: `name ${changes}` }));
        }
        return rig.store.replace(version, record);
      },
    };
    expect((await revoke()).ok).toBe(true);
    expect((await rig.store.load(id))?.record).toMatchObject({ name: 'name 30', revoked_at: T0 });
  });
});
