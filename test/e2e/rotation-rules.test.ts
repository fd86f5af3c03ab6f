import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestGateway } from '../support/gateway.ts';
import { TestUpstream } from '../support/upstream.ts';

const POLICIES = {
  'orders.yaml': 'api: orders\nupstream: orders\nrules: [ { name: read, path: /orders, scopes: [orders:read] } ]\n',
  'classes.yaml': `classes:
  service: { max_ttl: 90d, default_ttl: 30d, scopes: ["orders:*", "portcullis:*"], grace: 24h }
  strict: { max_ttl: 90d, default_ttl: 30d, scopes: ["orders:*", "portcullis:*"], grace: 24h, retire: on_first_use, on_reuse: revoke }
  guarded: { max_ttl: 90d, default_ttl: 30d, scopes: ["orders:*", "portcullis:*"], grace: 24h, on_reuse: revoke }
`,
};

describe('the rules of a class about old secrets', () => {
  let upstream: TestUpstream;
  let gateway: TestGateway;

  beforeAll(async () => {
    upstream = await TestUpstream.start();
    gateway = await TestGateway.start({ upstreams: { orders: upstream.url }, policies: POLICIES });
  });
  afterAll(async () => {
    await gateway?.close();
    await upstream?.close();
  });

  const verdict = async (token: string): Promise<string> => {
    const answer = await gateway.call('/orders', { token });
    return answer.status === 200 ? 'ok' : String(answer.problem?.reason);
  };
  const rotate = async (id: string, body: unknown = {}): Promise<string> => {
    const answer = await gateway.admin('POST', `/v1/tokens/${id}/rotate`, body);
    if (answer.status !== 200) throw new Error(answer.text);
    return (JSON.parse(answer.text) as { token: string }).token;
  };
  const record = async (id: string): Promise<Record<string, unknown>> =>
    JSON.parse((await gateway.admin('GET', `/v1/tokens/${id}`)).text) as Record<string, unknown>;

  it('on_first_use ends the old secret when the new one has been used, and not before', async () => {
    const { id, token: first } = await gateway.issue();
    const second = await rotate(id, { retire: 'on_first_use' });
    expect([await verdict(first), await verdict(first)]).toEqual(['ok', 'ok']);
    expect(await record(id)).toMatchObject({ status: 'rotating', superseded: [{ retire: 'on_first_use' }] });
    expect(await verdict(second)).toBe('ok');
    expect([await verdict(first), await verdict(second)]).toEqual(['token_superseded', 'ok']);
    expect(await record(id)).toMatchObject({ status: 'active', generation: 2 });
    const event = await gateway.event((line) => line['token_id'] === id && line['actor'] === 'retire: on_first_use');
    expect(event).toMatchObject({ type: 'token.rotated', details: { generation: 2, retired: [1] } });
  });

  it('ends every older one with it, once, however many use the new one at the same time', async () => {
    const { id, token: first } = await gateway.issue();
    const second = await rotate(id);
    const third = await rotate(id, { retire: 'on_first_use' });
    expect([await verdict(first), await verdict(second)]).toEqual(['ok', 'ok']);
    const used = await Promise.all(Array.from({ length: 20 }, () => verdict(third)));
    expect(new Set(used)).toEqual(new Set(['ok']));
    expect([await verdict(first), await verdict(second)]).toEqual(['token_superseded', 'token_superseded']);
    await gateway.event((line) => line['token_id'] === id && line['actor'] === 'retire: on_first_use');
    const events = (await gateway.auditLines()).filter((line) => line['actor'] === 'retire: on_first_use');
    expect(events.filter((line) => line['token_id'] === id)).toHaveLength(1);
  });

  it('comes from the class, also for a token that rotates itself, and no call overrules it', async () => {
    const { id, token } = await gateway.issue({ class: 'strict' });
    const overruled = await gateway.admin('POST', `/v1/tokens/${id}/rotate`, { retire: 'at_grace_end' });
    expect([overruled.status, overruled.problem?.reason]).toEqual([400, 'request_invalid']);
    const rotated = await gateway.call('/.portcullis/token/rotate', { method: 'POST', token });
    const { token: second } = JSON.parse(rotated.text) as { token: string };
    expect(await verdict(token)).toBe('ok');
    // To look at itself is a use.
    expect((await gateway.call('/.portcullis/token', { token: second })).status).toBe(200);
    expect(await verdict(token)).toBe('token_superseded');
    // Just retired: another process of the same client may not have the new secret yet.
    expect([await verdict(second), (await record(id))['status']]).toEqual(['ok', 'active']);
  });

  it('counts a use on the admin listener', async () => {
    const { id, token: first } = await gateway.issue({ scopes: ['portcullis:status:read', 'orders:read'] });
    const second = await rotate(id, { retire: 'on_first_use' });
    expect((await gateway.admin('GET', '/v1/status', undefined, second)).status).toBe(200);
    expect(await verdict(first)).toBe('token_superseded');
  });

  it('on_reuse: revoke ends the token where an old secret comes back after its grace', async () => {
    const { id, token: first } = await gateway.issue({ class: 'guarded' });
    const second = await rotate(id, { grace: '1h' });
    expect([await verdict(first), await verdict(second)]).toEqual(['ok', 'ok']);
    const third = await rotate(id, { grace: '0s' });
    expect(await verdict(third)).toBe('ok');
    const reused = await Promise.all(Array.from({ length: 10 }, () => verdict(first)));
    expect(reused.every((reason) => ['token_superseded', 'token_revoked'].includes(reason))).toBe(true);
    expect([await verdict(third), await verdict(second)]).toEqual(['token_revoked', 'token_revoked']);
    expect(await record(id)).toMatchObject({ status: 'revoked', revoked_by: 'on_reuse: revoke' });
    const revoked = (await gateway.auditLines()).filter(
      (line) => line.type === 'token.revoked' && line['token_id'] === id,
    );
    expect(revoked).toMatchObject([{ actor: 'on_reuse: revoke', details: { repeated: false } }]);
    await gateway.event((line) => line.type === 'token.reuse' && line['token_id'] === id);
  });

  it('sees a reuse on the admin listener too', async () => {
    const { id, token: first } = await gateway.issue({ class: 'guarded' });
    const second = await rotate(id, { grace: '0s' });
    expect((await gateway.admin('GET', '/v1/status', undefined, first)).problem?.reason).toBe('token_superseded');
    expect(await verdict(second)).toBe('token_revoked');
  });

  it('alert, the default, only reports', async () => {
    const { id, token: first } = await gateway.issue();
    const second = await rotate(id, { grace: '0s' });
    expect([await verdict(first), await verdict(second)]).toEqual(['token_superseded', 'ok']);
    await gateway.event((line) => line.type === 'token.reuse' && line['token_id'] === id);
  });

  it('announces an end, a moment after it has come', async () => {
    const { id } = await gateway.issue({ ttl: '1s' });
    const event = await gateway.event((line) => line.type === 'token.expired' && line['token_id'] === id);
    expect(event).toMatchObject({ outcome: 'success', actor: 'expiry', owner: 'tests' });
    expect(await gateway.metric(/^portcullis_token_events_total\{event="expired"\}/)).toBeGreaterThan(0);
  });
});
