import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Harness, startAdmin } from './harness.ts';

const TOKEN = /^pct_test_[0-9A-Za-z]{61}$/;
const BODY = { name: 'billing', owner: 'team-b', class: 'service', scopes: ['orders:read'] };

let admin: Harness;
beforeEach(async () => {
  admin = await startAdmin();
});
afterEach(() => admin.close());

describe('POST /v1/tokens', () => {
  it('answers 201 with the record and the token, which works from then on', async () => {
    const issued = await admin.call('POST', '/v1/tokens', {
      json: {
        ...BODY,
        subject: 'svc',
        claims: { tenant: 'x', nested: { n: [1, null] } },
        ip: ['127.0.0.0/8'],
        ttl: '2d',
      },
    });
    expect(issued.status).toBe(201);
    const { token, ...record } = issued.json;
    expect(token).toMatch(TOKEN);
    expect(record).toMatchObject({
      ...BODY,
      subject: 'svc',
      claims: { tenant: 'x', nested: { n: [1, null] } },
      ip: ['127.0.0.0/8'],
      environment: 'test',
      status: 'active',
      generation: 1,
      created_by: admin.rootId,
    });
    expect(Date.parse(record.expires_at) - Date.parse(record.created_at)).toBe(2 * 86_400_000);
    expect((await admin.call('GET', `/v1/tokens/${record.id}`)).json).toEqual(record);
    const introspected = await admin.call('POST', '/v1/introspect', { form: { token } });
    expect(introspected.json).toMatchObject({ active: true, jti: record.id });
  });

  it('names everything that is wrong with the shape of a body at once, with the nearest valid thing', async () => {
    const refused = await admin.call('POST', '/v1/tokens', {
      json: { nam: 'x', owner: 3, scopes: ['a', 5], roles: 'support', 'scopes ': 1 },
    });
    expect(refused.status).toBe(400);
    expect(refused.json).toMatchObject({
      reason: 'request_invalid',
      errors: [
        { path: 'name', message: 'is required' },
        { path: 'owner', message: 'expected string, received number' },
        { path: 'class', message: 'is required' },
        { path: 'scopes[1]', message: 'expected string, received number' },
        { path: 'roles', message: 'expected array, received string' },
        { path: 'nam', message: 'unknown key "nam"; did you mean "name"?' },
        { path: 'scopes ', message: 'unknown key "scopes "; did you mean "scopes"?' },
      ],
    });
  });

  it('names what is wrong with the meaning of the members that can be read in the same go', async () => {
    const refused = await admin.call('POST', '/v1/tokens', {
      json: { nam: 'x', owner: 'me', class: 'servce', scopes: ['*'], ttl: 'forever', ip: ['300.1.1.1'] },
    });
    expect(refused.status).toBe(400);
    expect(refused.json.errors.map(({ path }: { path: string }) => path)).toEqual([
      'name',
      'nam',
      'class',
      'ip[0]',
      'ttl',
    ]);
    const known = await admin.call('POST', '/v1/tokens', {
      json: { class: 'service', scopes: ['nobody:has'], rolls: [] },
    });
    expect(known.json.errors.map(({ path }: { path: string }) => path)).toEqual([
      'name',
      'owner',
      'rolls',
      'scopes[0]',
    ]);
  });

  it('names everything that is wrong with its meaning at once', async () => {
    const refused = await admin.call('POST', '/v1/tokens', {
      json: { ...BODY, class: 'servce', name: '', ttl: '3 days' },
    });
    expect(refused.status).toBe(400);
    expect(refused.json.errors).toEqual([
      { path: 'class', message: 'there is no class "servce"; did you mean "service"?' },
      { path: 'name', message: 'must not be empty' },
      { path: 'ttl', message: expect.stringContaining('expected a duration') },
    ]);
    expect((await admin.call('GET', '/v1/tokens')).json.tokens).toHaveLength(1);
  });

  it('refuses what lies outside of the class with 400, and more than the caller holds with 403 and an audit event', async () => {
    const outside = await admin.call('POST', '/v1/tokens', { json: { ...BODY, scopes: ['billing:read'] } });
    expect(outside.status).toBe(400);
    expect(outside.json.errors[0].path).toBe('scopes[0]');

    const issuer = await admin.issue({ scopes: ['portcullis:tokens:issue', 'orders:read'] });
    const beyond = await admin.call('POST', '/v1/tokens', {
      token: issuer.token,
      json: { ...BODY, scopes: ['orders:*'] },
    });
    expect(beyond.status).toBe(403);
    expect(beyond.json).toMatchObject({
      reason: 'scope_insufficient',
      errors: [{ path: 'scopes[0]', message: expect.stringContaining('"orders:*" is more than you hold') }],
    });
    expect(beyond.headers.get('www-authenticate')).toMatch(
      /^Bearer realm="portcullis-admin", error="insufficient_scope"/,
    );
    expect((await admin.call('POST', '/v1/tokens', { token: issuer.token, json: BODY })).status).toBe(201);

    const denied = (await admin.auditEvents()).filter(({ type }) => type === 'admin.denied');
    expect(denied).toMatchObject([
      { reason: 'scope_insufficient', token_id: issuer.id, path: '/v1/tokens', status: 403 },
    ]);
  });

  it('refuses a body that is nested beyond reason', async () => {
    const claims = `${'{"a":'.repeat(5000)}1${'}'.repeat(5000)}`;
    const refused = await admin.call('POST', '/v1/tokens', {
      body: `{"name":"n","owner":"o","class":"service","scopes":[],"claims":${claims}}`,
      headers: { 'content-type': 'application/json' },
    });
    expect(refused.status).toBe(400);
    expect(refused.json.errors).toEqual([{ path: '', message: 'nested deeper than 32 levels' }]);
  });
});

describe('GET /v1/tokens', () => {
  it('pages through all tokens, the newest first, each once', async () => {
    const ids = [admin.rootId];
    for (let i = 0; i < 7; i += 1) {
      admin.advance(1000);
      ids.unshift((await admin.issue({ name: `t${i}` })).id);
    }
    const seen: string[] = [];
    let cursor: string | null = '';
    while (cursor !== null) {
      const page = await admin.call('GET', `/v1/tokens?limit=3${cursor === '' ? '' : `&cursor=${cursor}`}`);
      expect(page.json.tokens.length).toBeLessThanOrEqual(3);
      seen.push(...page.json.tokens.map(({ id }: { id: string }) => id));
      cursor = page.json.cursor;
    }
    expect(seen).toEqual(ids);
  });

  it('filters by owner, class, subject, status and end', async () => {
    const a = await admin.issue({ owner: 'team-x', subject: 's1', ttl: '1h' });
    const b = await admin.issue({ owner: 'team-x', ttl: '2h' });
    await admin.call('POST', `/v1/tokens/${b.id}/revoke`, { json: { reason: 'test' } });
    const ids = async (query: string): Promise<string[]> =>
      (await admin.call('GET', `/v1/tokens?${query}`)).json.tokens.map(({ id }: { id: string }) => id).toSorted();
    expect(await ids('owner=team-x')).toEqual([a.id, b.id].toSorted());
    expect(await ids('owner=team-x&status=active')).toEqual([a.id]);
    expect(await ids('status=revoked')).toEqual([b.id]);
    expect(await ids('subject=s1')).toEqual([a.id]);
    expect(await ids('class=admin')).toEqual([admin.rootId]);
    const soon = new Date(admin.options.clock.now() + 90 * 60_000).toISOString();
    expect(await ids(`expires_before=${soon}`)).toEqual([a.id]);
    expect(await ids(`expires_before=${soon.replace('Z', '+00:00')}`)).toEqual([a.id]);
  });

  it('refuses a query that it does not understand, all of it at once', async () => {
    const refused = await admin.call(
      'GET',
      '/v1/tokens?owners=x&limit=0&status=activ&expires_before=soon&class=a&class=b',
    );
    expect(refused.status).toBe(400);
    expect(refused.json.errors).toEqual([
      { path: 'class', message: 'expected one text, received several' },
      { path: 'status', message: 'expected one of active, revoked, expired, rotating; did you mean "active"?' },
      { path: 'expires_before', message: expect.stringContaining('expected a time such as') },
      { path: 'limit', message: 'expected a whole number from 1 to 1000' },
      { path: 'owners', message: 'unknown key "owners"; did you mean "owner"?' },
    ]);
    for (const limit of ['1001', '-1', '1.5', '1e2', 'x', '']) {
      expect((await admin.call('GET', `/v1/tokens?limit=${limit}`)).json.errors[0].path, limit).toBe('limit');
    }
    for (const cursor of ['x', 'eyJhIjoxfQ', '%00']) {
      const bad = await admin.call('GET', `/v1/tokens?cursor=${cursor}`);
      expect(bad.status, cursor).toBe(400);
      expect(bad.json.errors[0].path).toBe('cursor');
    }
  });
});

describe('a token that is not there', () => {
  it.each([
    ['GET', '', undefined],
    ['PATCH', '', {}],
    ['POST', '/rotate', {}],
    ['POST', '/revoke', { reason: 'x' }],
  ])('%s /v1/tokens/{id}%s is 404 for unknown and impossible ids', async (method, action, json) => {
    for (const id of ['000000000000', 'short', '..%2f..', 'x'.repeat(500), encodeURIComponent(admin.root)]) {
      const refused = await admin.call(method, `/v1/tokens/${id}${action}`, { json });
      expect(refused.status, id).toBe(404);
      expect(refused.json.reason).toBe('not_found');
      expect(refused.text).not.toContain(admin.root.slice(-40));
    }
  });
});

describe('PATCH /v1/tokens/{id}', () => {
  it('takes away, renames, and says what would widen', async () => {
    const { id } = await admin.issue({ scopes: ['orders:*'] });
    const narrowed = await admin.call('PATCH', `/v1/tokens/${id}`, {
      json: { scopes: ['orders:read'], name: 'less', owner: 'team-z', ip: ['10.0.0.0/8'] },
    });
    expect(narrowed.status).toBe(200);
    expect(narrowed.json).toMatchObject({ scopes: ['orders:read'], name: 'less', owner: 'team-z', ip: ['10.0.0.0/8'] });
    const widened = await admin.call('PATCH', `/v1/tokens/${id}`, {
      json: { scopes: ['orders:write'], ip: ['0.0.0.0/0'], expires_at: '2100-01-01T00:00:00Z' },
    });
    expect(widened.status).toBe(400);
    expect(widened.json.errors.map(({ path }: { path: string }) => path)).toEqual(['scopes[0]', 'ip[0]', 'expires_at']);
    expect((await admin.call('GET', `/v1/tokens/${id}`)).json).toEqual(narrowed.json);
    expect((await admin.call('PATCH', `/v1/tokens/${id}`, { json: { status: 'active' } })).json.errors).toEqual([
      { path: 'status', message: 'unknown key "status"' },
    ]);
    expect((await admin.call('PATCH', `/v1/tokens/${id}`)).json.errors).toEqual([
      { path: '', message: 'a body is required' },
    ]);
  });

  it('is 409 for a revoked token', async () => {
    const { id } = await admin.issue();
    await admin.call('POST', `/v1/tokens/${id}/revoke`, { json: { reason: 'over' } });
    const refused = await admin.call('PATCH', `/v1/tokens/${id}`, { json: { name: 'x' } });
    expect(refused.status).toBe(409);
    expect(refused.json).toMatchObject({ reason: 'conflict', detail: 'The token has been revoked.' });
  });

  it('names what is wrong with the shape and with the meaning of a body in one go, and changes nothing', async () => {
    const { id } = await admin.issue({ scopes: ['orders:read'], ttl: '2d' });
    const record = (await admin.call('GET', `/v1/tokens/${id}`)).json;
    const json = { name: 3, owner: ' x', scopes: ['orders:write'], expires_at: 'soon', ip: ['no address'], rols: [] };
    const refused = await admin.call('PATCH', `/v1/tokens/${id}`, { json });
    expect(refused.status).toBe(400);
    expect(refused.json.errors.map(({ path }: { path: string }) => path).toSorted()).toEqual(
      ['name', 'owner', 'scopes[0]', 'expires_at', 'ip[0]', 'rols'].toSorted(),
    );
    expect((await admin.call('GET', `/v1/tokens/${id}`)).json).toEqual(record);
    const unknown = await admin.call('PATCH', '/v1/tokens/nobodyknows1', { json });
    expect(unknown.json.errors.map(({ path }: { path: string }) => path)).toEqual(['name', 'rols']);
  });
});

describe('POST /v1/tokens/{id}/rotate', () => {
  it('names what is wrong with the shape and with the meaning of a body in one go, and changes nothing', async () => {
    const { id } = await admin.issue();
    const record = (await admin.call('GET', `/v1/tokens/${id}`)).json;
    const json = { grace: '99d', ttl: 'a while', retire: 'now', gracee: '1h' };
    const refused = await admin.call('POST', `/v1/tokens/${id}/rotate`, { json });
    expect(refused.status).toBe(400);
    expect(refused.json.errors.map(({ path }: { path: string }) => path).toSorted()).toEqual(
      ['grace', 'ttl', 'retire', 'gracee'].toSorted(),
    );
    expect((await admin.call('GET', `/v1/tokens/${id}`)).json).toEqual(record);
  });

  it('gives a new secret; the old one works until its grace is over', async () => {
    const old = await admin.issue();
    const rotated = await admin.call('POST', `/v1/tokens/${old.id}/rotate`, { json: { grace: '1h' } });
    expect(rotated.status).toBe(200);
    expect(rotated.json).toMatchObject({
      id: old.id,
      generation: 2,
      status: 'rotating',
      token: expect.stringMatching(TOKEN),
    });
    const active = async (token: string): Promise<boolean> =>
      (await admin.call('POST', '/v1/introspect', { form: { token } })).json.active;
    expect(await active(old.token)).toBe(true);
    expect(await active(rotated.json.token)).toBe(true);
    admin.advance(3_600_000);
    expect(await active(old.token)).toBe(false);
    expect(await active(rotated.json.token)).toBe(true);
  });

  it('takes no body, an empty one and an empty object, and says what is wrong with others', async () => {
    const { id } = await admin.issue();
    const path = `/v1/tokens/${id}/rotate`;
    expect((await admin.call('POST', path)).status).toBe(200);
    expect((await admin.call('POST', path, { headers: { 'content-type': 'application/json' } })).status).toBe(200);
    expect((await admin.call('POST', path, { json: {} })).status).toBe(200);
    const refused = await admin.call('POST', path, { json: { grace: '10y', tll: '1d' } });
    expect(refused.json.errors).toEqual([
      { path: 'tll', message: 'unknown key "tll"; did you mean "ttl"?' },
      { path: 'grace', message: 'expected a duration such as 500ms, 2s, 5m, 24h or 30d, got "10y"' },
    ]);
    expect((await admin.call('POST', path, { json: { grace: '99d' } })).json.errors[0].path).toBe('grace');
    expect((await admin.call('POST', path, { json: null })).status).toBe(400);
    expect((await admin.call('POST', path, { json: [] })).status).toBe(400);
  });

  it('is refused to a caller that holds less than the token', async () => {
    const rotator = await admin.issue({ scopes: ['portcullis:tokens:rotate'] });
    const victim = await admin.issue({ class: 'admin', scopes: ['*'] });
    const refused = await admin.call('POST', `/v1/tokens/${victim.id}/rotate`, { token: rotator.token });
    expect(refused.status).toBe(403);
    expect(refused.json.reason).toBe('scope_insufficient');
    expect((await admin.call('GET', `/v1/tokens/${victim.id}`)).json.generation).toBe(1);
  });
});

describe('POST /v1/tokens/{id}/revoke', () => {
  it('revokes at once and for good, and gives the same answer again', async () => {
    const { id, token } = await admin.issue();
    const revoked = await admin.call('POST', `/v1/tokens/${id}/revoke`, { json: { reason: 'leaked' } });
    expect(revoked.status).toBe(200);
    expect(revoked.json).toEqual({
      id,
      revoked_at: expect.any(String),
      propagation: { replicas: 1, acknowledged: 1, streams_closed: 0, elapsed_ms: expect.any(Number) },
    });
    expect((await admin.call('POST', '/v1/introspect', { form: { token } })).json).toEqual({ active: false });
    admin.advance(5000);
    const again = await admin.call('POST', `/v1/tokens/${id}/revoke`, { json: { reason: 'again' } });
    expect(again.json).toMatchObject({ id, revoked_at: revoked.json.revoked_at });
    expect((await admin.call('GET', `/v1/tokens/${id}`)).json).toMatchObject({
      status: 'revoked',
      revoked_at: revoked.json.revoked_at,
      revoked_by: admin.rootId,
      revoke_reason: 'leaked',
    });
    expect((await admin.call('POST', `/v1/tokens/${id}/rotate`)).status).toBe(409);
  });

  it('wants a reason', async () => {
    const { id } = await admin.issue();
    const path = `/v1/tokens/${id}/revoke`;
    expect((await admin.call('POST', path, { json: {} })).json.errors).toEqual([
      { path: 'reason', message: 'is required' },
    ]);
    expect((await admin.call('POST', path)).json.errors).toEqual([{ path: '', message: 'a body is required' }]);
    expect((await admin.call('GET', `/v1/tokens/${id}`)).json.status).toBe('active');
  });

  it('of the own token ends the caller with it', async () => {
    const self = await admin.issue({ scopes: ['portcullis:tokens:revoke'] });
    const path = `/v1/tokens/${self.id}/revoke`;
    expect((await admin.call('POST', path, { token: self.token, json: { reason: 'done' } })).status).toBe(200);
    const after = await admin.call('POST', path, { token: self.token, json: { reason: 'done' } });
    expect(after.status).toBe(401);
    expect(after.json.reason).toBe('token_revoked');
  });
});
