import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Harness, startAdmin } from './harness.ts';

const ID = '000000000000';
/** Every call that needs a token, and the scope that it needs; the status when it has it. */
const CALLS = [
  ['GET', '/v1/tokens', 'portcullis:tokens:read', 200],
  ['GET', `/v1/tokens/${ID}`, 'portcullis:tokens:read', 404],
  ['POST', '/v1/introspect', 'portcullis:tokens:read', 400],
  ['POST', '/v1/tokens', 'portcullis:tokens:issue', 400],
  ['PATCH', `/v1/tokens/${ID}`, 'portcullis:tokens:issue', 400],
  ['POST', `/v1/tokens/${ID}/rotate`, 'portcullis:tokens:rotate', 404],
  ['POST', `/v1/tokens/${ID}/revoke`, 'portcullis:tokens:revoke', 400],
  ['POST', '/v1/revoke', 'portcullis:tokens:revoke', 400],
  ['GET', '/v1/policies', 'portcullis:policy:read', 200],
  ['POST', '/v1/explain', 'portcullis:policy:read', 400],
  ['POST', '/v1/policies/reload', 'portcullis:policy:reload', 200],
  ['GET', '/v1/audit', 'portcullis:audit:read', 200],
  ['GET', '/v1/status', 'portcullis:status:read', 200],
] as const;
const SCOPES = [...new Set(CALLS.map(([, , scope]) => scope))];

let admin: Harness;
beforeAll(async () => {
  admin = await startAdmin();
});
afterAll(() => admin.close());

describe.each(CALLS)('%s %s', (method, path, scope, allowed) => {
  it('without a token is 401 with a challenge that names no error', async () => {
    const refused = await admin.call(method, path, { token: null });
    expect(refused.status).toBe(401);
    expect(refused.json.reason).toBe('token_missing');
    expect(refused.headers.get('www-authenticate')).toBe(`Bearer realm="portcullis-admin", scope="${scope}"`);
  });

  it(`with every scope but ${scope} is 403 and leaves an audit event`, async () => {
    const others = await admin.issue({ scopes: ['orders:*', ...SCOPES.filter((other) => other !== scope)] });
    const refused = await admin.call(method, path, { token: others.token });
    expect(refused.status).toBe(403);
    expect(refused.json).toMatchObject({ reason: 'scope_insufficient', detail: `The call needs the scope ${scope}.` });
    expect(refused.headers.get('www-authenticate')).toBe(
      `Bearer realm="portcullis-admin", error="insufficient_scope", error_description="The call needs the scope ${scope}.", scope="${scope}"`,
    );
    const events = (await admin.auditEvents()).filter(({ token_id }) => token_id === others.id);
    expect(events.at(-1)).toMatchObject({
      type: 'admin.denied',
      outcome: 'failure',
      reason: 'scope_insufficient',
      status: 403,
      method,
      path,
      ip: '127.0.0.1',
      request_id: refused.json.request_id,
      details: { required_scope: scope },
    });
  });

  it(`with ${scope} alone is let in`, async () => {
    const holder = await admin.issue({ scopes: [scope] });
    expect((await admin.call(method, path, { token: holder.token })).status).toBe(allowed);
    expect(admin.uses.at(-1)).toMatchObject({ id: holder.id, ip: '127.0.0.1', count: 1, generation: 1 });
  });
});

describe('the token', () => {
  const status = async (token: string): Promise<[number, string | undefined]> => {
    const answer = await admin.call('GET', '/v1/tokens?limit=1', { token });
    return [answer.status, answer.json.reason];
  };

  it('may hold the scope through a wildcard or a role of the policy', async () => {
    expect(await status((await admin.issue({ scopes: ['portcullis:*'] })).token)).toEqual([200, undefined]);
    expect(await status((await admin.issue({ scopes: ['portcullis:tokens:*'] })).token)).toEqual([200, undefined]);
    expect(await status((await admin.issue({ scopes: [], roles: ['operator'] })).token)).toEqual([200, undefined]);
    expect(await status((await admin.issue({ scopes: [], roles: ['support'] })).token)).toEqual([
      403,
      'scope_insufficient',
    ]);
    expect(await status((await admin.issue({ scopes: ['portcullis:policy:*'] })).token)).toEqual([
      403,
      'scope_insufficient',
    ]);
  });

  it('counts only from its own addresses', async () => {
    const scopes = ['portcullis:tokens:read'];
    expect(await status((await admin.issue({ scopes, ip: ['127.0.0.0/8'] })).token)).toEqual([200, undefined]);
    const elsewhere = await admin.issue({ scopes, ip: ['10.0.0.0/8'] });
    expect(await status(elsewhere.token)).toEqual([403, 'condition_failed']);
  });

  it('is refused when it is malformed, unknown, of another environment, a JWT, expired or not yet valid', async () => {
    const { token, id } = await admin.issue({ scopes: ['portcullis:tokens:read'], ttl: '1h' });
    expect(await status('nonsense')).toEqual([401, 'token_malformed']);
    expect(await status(`${token.slice(0, -1)}${token.endsWith('0') ? '1' : '0'}`)).toEqual([401, 'token_malformed']);
    expect(await status(token.repeat(200))).toEqual([401, 'token_malformed']);
    expect(await status('eyJhbGciOiJub25lIn0.e30.')).toEqual([401, 'token_untrusted']);
    const later = new Date(admin.options.clock.now() + 60_000).toISOString();
    const early = await admin.issue({ scopes: ['portcullis:tokens:read'], not_before: later });
    expect(await status(early.token)).toEqual([401, 'token_not_yet_valid']);
    await admin.call('POST', `/v1/tokens/${early.id}/revoke`, { json: { reason: 'x' } });
    expect(await status(early.token)).toEqual([401, 'token_revoked']);
    expect(await status(token)).toEqual([200, undefined]);
    admin.advance(3_600_000);
    expect(await status(token)).toEqual([401, 'token_expired']);
    expect((await admin.call('GET', `/v1/tokens/${id}`)).json.status).toBe('expired');
  });

  it('is reported as reused when an old secret comes back after its grace', async () => {
    const { token, id } = await admin.issue({ scopes: ['portcullis:tokens:read'] });
    await admin.call('POST', `/v1/tokens/${id}/rotate`, { json: { grace: '1m' } });
    expect(await status(token)).toEqual([200, undefined]);
    admin.advance(60_000);
    expect(await status(token)).toEqual([401, 'token_superseded']);
    const types = (await admin.auditEvents()).filter(({ token_id }) => token_id === id).map(({ type }) => type);
    expect(types).toEqual(['token.issued', 'token.rotated', 'admin.denied', 'token.reuse']);
  });

  it('is looked for in one Authorization field alone', async () => {
    const { token } = await admin.issue({ scopes: ['portcullis:tokens:read'] });
    const reason = async (headers: Record<string, string>, path = '/v1/tokens'): Promise<string> =>
      (await admin.call('GET', path, { token: null, headers })).json.reason;
    expect(await reason({ 'x-api-key': token })).toBe('token_missing');
    expect(await reason({ authorization: `Basic ${btoa(`x:${token}`)}` })).toBe('token_missing');
    expect(await reason({ authorization: 'Bearer' })).toBe('token_malformed');
    expect(await reason({ authorization: `Bearer ${token} ${token}` })).toBe('token_malformed');
    expect(await reason({ cookie: `token=${token}` }, `/v1/tokens?access_token=${token}`)).toBe('token_missing');
    expect(
      (await admin.call('GET', '/v1/tokens', { token: null, headers: { authorization: `bearer  ${token}` } })).status,
    ).toBe(200);
    expect(await sendTwice(admin.port, token)).toMatch(/^HTTP\/1\.1 400 [\s\S]*"reason":"token_ambiguous"/);
  });

  it('is not asked for where probes and scrapers come by', async () => {
    for (const path of ['/healthz', '/readyz', '/metrics', '/v1/openapi.json']) {
      expect((await admin.call('GET', path, { token: null })).status, path).toBe(200);
      expect((await admin.call('GET', path, { token: 'nonsense' })).status, path).toBe(200);
    }
  });
});

/** Node's own client cannot repeat the field. */
async function sendTwice(port: number, token: string): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  const line = `authorization: Bearer ${token}\r\n`;
  socket.end(`GET /v1/tokens HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n${line}${line}\r\n`);
  return (await socket.setEncoding('latin1').toArray()).join('');
}
