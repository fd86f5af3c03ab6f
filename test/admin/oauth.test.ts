import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Answer, type Harness, startAdmin } from './harness.ts';

let admin: Harness;
beforeEach(async () => {
  admin = await startAdmin();
});
afterEach(() => admin.close());

const introspect = (token: string, more: Record<string, string> = {}): Promise<Answer> =>
  admin.call('POST', '/v1/introspect', { form: { token, ...more } });

describe('POST /v1/introspect (RFC 7662)', () => {
  it('describes a valid token in the terms of the RFC', async () => {
    const notBefore = new Date(admin.options.clock.now() - 1000).toISOString();
    const { token, id } = await admin.issue({
      owner: 'team-q',
      subject: 'svc-1',
      scopes: ['orders:write'],
      roles: ['support'],
      not_before: notBefore,
      ttl: '1h',
    });
    const record = (await admin.call('GET', `/v1/tokens/${id}`)).json;
    const answer = await introspect(token, { token_type_hint: 'refresh_token', client_id: 'ignored' });
    expect(answer.status).toBe(200);
    expect(answer.headers.get('cache-control')).toBe('no-store');
    expect(answer.json).toEqual({
      active: true,
      token_type: 'Bearer',
      scope: 'orders:write orders:read',
      sub: 'svc-1',
      client_id: 'team-q',
      jti: id,
      iat: Math.floor(Date.parse(record.created_at) / 1000),
      nbf: Math.floor(Date.parse(notBefore) / 1000),
      exp: Math.floor(Date.parse(record.expires_at) / 1000),
    });
  });

  it('says of an old secret within its grace that it ends with the grace', async () => {
    const { token, id } = await admin.issue();
    const rotated = await admin.call('POST', `/v1/tokens/${id}/rotate`, { json: { grace: '1h' } });
    expect((await introspect(token)).json.exp).toBe(Math.floor(Date.parse(rotated.json.grace_until) / 1000));
    expect((await introspect(rotated.json.token)).json.exp).toBe(
      Math.floor(Date.parse(rotated.json.expires_at) / 1000),
    );
  });

  it('says nothing but {"active":false} of whatever is not valid now', async () => {
    const early = await admin.issue({ not_before: new Date(admin.options.clock.now() + 60_000).toISOString() });
    const revoked = await admin.issue();
    await admin.call('POST', `/v1/tokens/${revoked.id}/revoke`, { json: { reason: 'x' } });
    const short = await admin.issue({ ttl: '1s' });
    const { token } = await admin.issue();
    const otherSecret = `${token.slice(0, 30)}${token.at(30) === 'a' ? 'b' : 'a'}${token.slice(31)}`;
    admin.advance(1000);
    for (const inactive of [early.token, revoked.token, short.token, otherSecret, 'x', 'eyJhbGciOiJub25lIn0.e30.']) {
      const answer = await introspect(inactive);
      expect(answer.status).toBe(200);
      expect(answer.text).toBe('{"active":false}');
    }
  });

  it('wants exactly one token, in a form', async () => {
    const missing = await admin.call('POST', '/v1/introspect', { form: {} });
    expect(missing.status).toBe(400);
    expect(missing.json).toMatchObject({
      error: 'invalid_request',
      errors: [{ path: 'token', message: 'is required' }],
    });
    const twice = await admin.call('POST', '/v1/introspect', { form: 'token=a&token=b' });
    expect(twice.json).toMatchObject({
      error: 'invalid_request',
      errors: [{ path: 'token', message: 'expected one text, received several' }],
    });
    expect((await admin.call('POST', '/v1/introspect')).status).toBe(400);
    const json = await admin.call('POST', '/v1/introspect', { json: { token: 'a' } });
    expect(json.status).toBe(415);
    expect(json.json.reason).toBe('media_type_unsupported');
  });
});

describe('POST /v1/revoke (RFC 7009)', () => {
  const revoke = (token: string): Promise<Answer> => admin.call('POST', '/v1/revoke', { form: { token } });
  const status = async (id: string): Promise<string> => (await admin.call('GET', `/v1/tokens/${id}`)).json.status;

  it('revokes the token that is presented, again and again with the same answer', async () => {
    const { token, id } = await admin.issue();
    for (let i = 0; i < 2; i += 1) {
      const answer = await revoke(token);
      expect([answer.status, answer.text]).toEqual([200, '{}']);
      expect(await status(id)).toBe('revoked');
    }
    const events = (await admin.auditEvents()).filter(({ token_id }) => token_id === id);
    expect(events.map(({ type }) => type)).toEqual(['token.issued', 'token.revoked', 'token.revoked']);
    expect(events[1]).toMatchObject({ actor: admin.rootId, details: { repeated: false } });
  });

  it('takes a token out of a file, with its line end', async () => {
    const { token, id } = await admin.issue();
    expect((await introspect(`${token}\r\n`)).json.active).toBe(true);
    expect((await revoke(` ${token}\n`)).status).toBe(200);
    expect(await status(id)).toBe('revoked');
    expect((await revoke(' \n')).json.error).toBe('invalid_request');
  });

  it('is 200 for tokens that nobody knows, and revokes nothing for an id with a wrong secret', async () => {
    const { token, id } = await admin.issue();
    const wrong = `${token.slice(0, 30)}${token.at(30) === 'a' ? 'b' : 'a'}${token.slice(31)}`;
    for (const unknown of ['x', wrong, `${wrong.slice(0, -6)}000000`]) expect((await revoke(unknown)).status).toBe(200);
    expect(await status(id)).toBe('active');
  });

  it('ends every generation when one that works is presented, and none for one that is over', async () => {
    const old = await admin.issue();
    await admin.call('POST', `/v1/tokens/${old.id}/rotate`, { json: { grace: '1m' } });
    admin.advance(60_000);
    expect((await revoke(old.token)).status).toBe(200);
    expect(await status(old.id)).toBe('active');
    const fresh = await admin.issue();
    await admin.call('POST', `/v1/tokens/${fresh.id}/rotate`, { json: { grace: '1m' } });
    expect((await revoke(fresh.token)).status).toBe(200);
    expect(await status(fresh.id)).toBe('revoked');
  });

  it('revokes a token whose time has not come', async () => {
    const { token, id } = await admin.issue({ not_before: new Date(admin.options.clock.now() + 60_000).toISOString() });
    await revoke(token);
    expect(await status(id)).toBe('revoked');
  });

  it('does not pretend to revoke a JWT', async () => {
    const refused = await revoke('eyJhbGciOiJub25lIn0.e30.');
    expect(refused.status).toBe(400);
    expect(refused.json.error).toBe('unsupported_token_type');
  });
});
