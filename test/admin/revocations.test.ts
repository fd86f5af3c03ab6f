import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Fault } from '../../src/model/fault.ts';
import { type Harness, startAdmin } from './harness.ts';

const PATH = '/v1/revocations';

describe('POST /v1/revocations', () => {
  let admin: Harness;
  let failFor: string | null = null;
  beforeAll(async () => {
    admin = await startAdmin((options) => ({
      ...options,
      lifecycle: {
        ...options.lifecycle,
        propagate: async (ids) => {
          if (ids.some((id) => id === failFor))
            throw new Fault('store_unavailable', 'a replica could not be waited for');
          return { replicas: 2, acknowledged: 2, streams_closed: ids.length, elapsed_ms: 3 };
        },
      },
    }));
  });
  afterAll(() => admin.close());

  it('counts without changing, then revokes, then finds nothing left to do', async () => {
    const { id } = await admin.issue({ owner: 'team-1', name: 'checkout' });
    const { id: second } = await admin.issue({ owner: 'team-1' });
    const dry = await admin.call('POST', PATH, { json: { owner: 'team-1', dry_run: true } });
    expect([dry.status, dry.json]).toMatchObject([200, { dry_run: true, matched: 2, revoked: 0, failed: 0 }]);
    expect(dry.json.tokens).toContainEqual({ id, name: 'checkout', owner: 'team-1', class: 'service' });
    expect((await admin.call('GET', `/v1/tokens/${id}`)).json.status).toBe('active');

    const done = await admin.call('POST', PATH, { json: { owner: 'team-1', reason: 'INC-7' } });
    expect([done.status, done.json]).toMatchObject([
      200,
      {
        dry_run: false,
        matched: 2,
        revoked: 2,
        already_revoked: 0,
        expired: 0,
        failed: 0,
        notes: [],
        propagation: { replicas: 2, acknowledged: 2, streams_closed: 2 },
      },
    ]);
    for (const each of [id, second]) {
      expect((await admin.call('GET', `/v1/tokens/${each}`)).json).toMatchObject({
        status: 'revoked',
        revoke_reason: 'INC-7',
        revoked_by: admin.rootId,
      });
    }
    const requestId = done.headers.get('portcullis-request-id');
    const events = (await admin.auditEvents()).filter((event) => event['request_id'] === requestId);
    expect(events.map((event) => event['type'])).toEqual(['token.revoked', 'token.revoked']);
    const again = await admin.call('POST', PATH, { json: { owner: 'team-1', reason: 'INC-7' } });
    expect(again.json).toMatchObject({ matched: 2, revoked: 0, already_revoked: 2 });
  });

  it('takes the text of a token, with white space around it, and writes it nowhere', async () => {
    const { id, token } = await admin.issue();
    const answer = await admin.call('POST', PATH, { json: { token: `${token}\n`, reason: 'found on a pastebin' } });
    expect([answer.status, answer.json.tokens[0].id]).toEqual([200, id]);
    const secret = token.slice(-40);
    const written = [...admin.logged, answer.text, JSON.stringify(await admin.auditEvents())];
    expect(written.filter((text) => text.includes(secret))).toEqual([]);
  });

  it('says that no token has an issuer', async () => {
    const answer = await admin.call('POST', PATH, { json: { issuer: 'https://login.example.com', reason: 'x' } });
    expect([answer.status, answer.json.matched, answer.json.notes.length]).toEqual([200, 0, 1]);
  });

  it.each([
    [{ reason: 'x' }, ['']],
    [{ owner: 'team-2' }, ['reason']],
    [{ ownr: 'team-2', reason: 'x' }, ['ownr']],
    [{ seen_from: '10.0.0.7/8', issued_before: 'x', reason: 'x' }, ['issued_before', 'seen_from']],
  ])('refuses %j', async (json, paths) => {
    const answer = await admin.call('POST', PATH, { json });
    expect([answer.status, answer.json.reason]).toEqual([400, 'request_invalid']);
    expect(answer.json.errors.map(({ path }: { path: string }) => path)).toEqual(paths);
  });

  it('is no success while a single token is not revoked everywhere', async () => {
    const { id } = await admin.issue({ owner: 'team-3' });
    failFor = id;
    const answer = await admin.call('POST', PATH, { json: { owner: 'team-3', reason: 'x' } });
    expect([answer.status, answer.json]).toMatchObject([
      503,
      {
        reason: 'store_unavailable',
        matched: 1,
        revoked: 0,
        failed: 1,
        failures: [{ id, reason: 'store_unavailable' }],
      },
    ]);
    failFor = null;
    const again = await admin.call('POST', PATH, { json: { owner: 'team-3', reason: 'x' } });
    expect([again.status, again.json]).toMatchObject([200, { matched: 1, already_revoked: 1, failed: 0 }]);
  });

  it('needs the scope, and revokes with it whatever fits, the own token last', async () => {
    const reader = await admin.issue({ scopes: ['portcullis:tokens:read'] });
    const refused = await admin.call('POST', PATH, { token: reader.token, json: { owner: 'team-4', reason: 'x' } });
    expect([refused.status, refused.json.reason]).toEqual([403, 'scope_insufficient']);
    const responder = await admin.issue({ owner: 'team-4', scopes: ['portcullis:tokens:revoke'] });
    await admin.issue({ owner: 'team-4', class: 'admin', scopes: ['*'] });
    const answer = await admin.call('POST', PATH, { token: responder.token, json: { owner: 'team-4', reason: 'x' } });
    expect([answer.status, answer.json]).toMatchObject([200, { matched: 2, revoked: 2 }]);
    const after = await admin.call('POST', PATH, { token: responder.token, json: { owner: 'team-4', reason: 'x' } });
    expect([after.status, after.json.reason]).toEqual([401, 'token_revoked']);
  });
});
