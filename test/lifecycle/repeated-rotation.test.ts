import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import type { Actor } from '../../src/lifecycle/context.ts';
import { issueToken } from '../../src/lifecycle/issue.ts';
import { type RotateRequest, rotateToken } from '../../src/lifecycle/rotate.ts';
import { createAuthenticator } from '../../src/token/authenticate.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { aRequest, DAY, good, HOUR, MINUTE, openRig, operator, policyOf, type Rig, T0 } from './rig.ts';

/*
 * The answer to a self-rotation is lost: nobody holds the newest secret, and the old one, alive for its grace, was refused
 * another rotation (409). So the token died with the grace.
 */
describe.each(['embedded', 'redis'])('a rotation that is asked for again with the old secret (%s)', (kind) => {
  let rig: Rig;
  let redis: RedisServer | null = null;
  let id: string;
  let first: string;
  let holder: Actor;

  beforeEach(async () => {
    redis = kind === 'redis' ? await startRedis() : null;
    rig = await openRig(redis?.url ?? null);
    const issued = good(await issueToken(rig.context, operator, aRequest));
    first = issued.token;
    id = issued.stored.record.id;
    holder = { tokenId: id, name: id, scopes: [], roles: [], class: null };
  });
  afterEach(async () => {
    await rig.close();
    await redis?.stop();
  });

  const rotateWith = (onlyGeneration: number, request: RotateRequest = {}) =>
    rotateToken(rig.context, holder, id, request, { onlyGeneration });

  const used = (generation: number) =>
    rig.store.recordUses([{ id, at: rig.now, ip: '192.0.2.1', count: 1, generation }]);

  async function verdict(token: string): Promise<string> {
    const authenticator = createAuthenticator({ ...rig.context.tokens, store: rig.store });
    const outcome = await authenticator.authenticate(token, rig.now);
    return outcome.ok ? `generation ${outcome.generation}` : outcome.reason;
  }

  const conflict = (message: RegExp) => ({
    ok: false,
    error: { kind: 'conflict', message: expect.stringMatching(message) },
  });

  it('makes a newest one, ends the one that nobody has used at once, and prolongs no grace', async () => {
    const lost = good(await rotateWith(1, { grace: '1h' })).token;
    rig.now += 10_000;
    // The application goes on with the old secret.
    await used(1);
    const { token, stored } = good(await rotateWith(1));
    expect(stored.record).toMatchObject({
      generation: 3,
      rotated_with: 1,
      grace_until: T0 + HOUR,
      superseded: [
        { generation: 2, grace_until: rig.now },
        { generation: 1, grace_until: T0 + HOUR },
      ],
    });
    expect([await verdict(first), await verdict(lost), await verdict(token)]).toEqual([
      'generation 1',
      'token_superseded',
      'generation 3',
    ]);
    const [, repeated] = (await rig.audited()).filter(({ type }) => type === 'token.rotated');
    expect(repeated).toMatchObject({
      actor: id,
      details: { generation: 3, presented: 1, unused: 2, grace_until: new Date(T0 + HOUR).toISOString() },
    });
    rig.now = T0 + HOUR;
    expect([await verdict(first), await verdict(token)]).toEqual(['token_superseded', 'generation 3']);
    expect(await rotateWith(1)).toMatchObject(conflict(/only the newest secret/));
  });

  it('may be lost again, and a grace that is asked for only shortens', async () => {
    good(await rotateWith(1, { grace: '2h' }));
    rig.now += MINUTE;
    good(await rotateWith(1));
    rig.now += MINUTE;
    const { token, stored } = good(await rotateWith(1, { grace: '1h', retire: 'on_first_use' }));
    expect(stored.record).toMatchObject({ generation: 4, grace_until: rig.now + HOUR });
    expect([await verdict(first), await verdict(token)]).toEqual(['generation 1', 'generation 4']);
  });

  it('is refused at first: several processes may rotate at the same time', async () => {
    good(await rotateWith(1));
    rig.now += 9_999;
    expect(await rotateWith(1)).toMatchObject(conflict(/repeat the call 10 seconds after/));
  });

  it('is refused once the newest secret has been used', async () => {
    const { token } = good(await rotateWith(1));
    rig.now += MINUTE;
    await used(2);
    expect(await rotateWith(1)).toMatchObject(conflict(/has been used/));
    expect(await verdict(token)).toBe('generation 2');
  });

  it('is refused where an administrator has rotated: that may have been to shut out who has the old secret', async () => {
    good(await rotateToken(rig.context, operator, id, {}));
    rig.now += HOUR;
    expect(await rotateWith(1)).toMatchObject(conflict(/only the newest secret/));
    good(await rotateWith(2));
    rig.now += HOUR;
    expect(await rotateWith(1)).toMatchObject(conflict(/only the newest secret/));
    good(await rotateToken(rig.context, operator, id, {}));
    rig.now += HOUR;
    expect(await rotateWith(2)).toMatchObject(conflict(/only the newest secret/));
  });

  it('is refused after the grace, and by a rotation without one', async () => {
    good(await rotateWith(1, { grace: '0s' }));
    rig.now += MINUTE;
    expect(await rotateWith(1)).toMatchObject(conflict(/only the newest secret/));
  });

  it('ends the old secret with the first use, where the class says so', async () => {
    const classes = `classes: { service: { max_ttl: 90d, scopes: [orders:*], grace: 24h, retire: on_first_use } }\n`;
    rig.policy = policyOf({ 'classes.yaml': classes });
    good(await rotateWith(1));
    rig.now += MINUTE;
    const { stored } = good(await rotateWith(1));
    expect(stored.record.superseded).toMatchObject([
      { generation: 2, grace_until: rig.now },
      { generation: 1, grace_until: T0 + DAY, retire: 'on_first_use' },
    ]);
  });

  it('never pushes a secret that still works out of the memory of old ones', async () => {
    good(await rotateWith(1));
    for (let made = 1; made < LIMITS.supersededGenerations; made += 1) {
      rig.now += MINUTE;
      good(await rotateWith(1));
    }
    rig.now += MINUTE;
    expect(await rotateWith(1)).toMatchObject(conflict(/too often/));
    expect(await verdict(first)).toBe('generation 1');
  });
});
