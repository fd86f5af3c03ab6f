import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { TestGateway } from '../support/gateway.ts';
import { TestUpstream } from '../support/upstream.ts';
import { jwks, jwt, type Members, type SigningKey, signingKey } from '../token/jwt-fixture.ts';

const POLICY = `
api: orders
upstream: orders
rules: [{ name: read, path: "/{rest...}", scopes: [orders:read] }]
`;

/** Tokens of others that are refused today and would be let in later: a revocation that answers 200 must hold then. */
describe('a revocation of a JWT that is not let in yet', () => {
  const published = signingKey('EdDSA', 'published');
  let upstream: TestUpstream;
  let gateway: TestGateway;
  let keys: SigningKey[] = [];
  let answer: RequestListener;
  const issuer = createServer((request, response) => answer(request, response));
  let name = '';
  let made = 0;

  beforeAll(async () => {
    await new Promise<void>((listening) => issuer.listen(0, '127.0.0.1', listening));
    name = `http://127.0.0.1:${(issuer.address() as AddressInfo).port}`;
    serveKeys();
    keys = [published];
    upstream = await TestUpstream.start();
    gateway = await TestGateway.start({
      upstreams: { orders: upstream.url },
      policies: { 'orders.yaml': POLICY },
      config: {
        issuers: `[{ issuer: "${name}", audience: api, jwks_uri: "${name}/jwks", algorithms: [EdDSA], max_lifetime: 1h, clock_skew: 0s }]`,
      },
    });
    await vi.waitFor(
      async () => expect((await gateway.call('/x', { token: token(published) })).status).toBe(200),
      10_000,
    );
    // Somebody has used up the look for new keys: whatever is signed with newer ones is refused from here on.
    expect(await refusedFor(token(signingKey('EdDSA', 'stranger')))).toBe('token_untrusted');
  });
  afterAll(async () => {
    await gateway?.close();
    await upstream?.close();
    issuer.closeAllConnections();
    issuer.close();
  });
  beforeEach(serveKeys);

  function serveKeys(): void {
    answer = (_request, response) => response.end(jwks(...keys));
  }
  const now = (): number => Math.floor(Date.now() / 1000);
  function token(key: SigningKey, claims: Members = {}, header: Members = {}): string {
    made += 1;
    const own = { iss: name, aud: 'api', sub: 'alice', jti: `id-${made}`, scope: 'orders:read', iat: now() };
    return jwt(key, { ...own, exp: now() + 600, ...claims }, header);
  }
  const refusedFor = async (text: string) => (await gateway.call('/x', { token: text })).problem?.reason;
  /** The two calls that take the token itself. */
  async function revoke(text: string): Promise<unknown> {
    const response = await fetch(`${gateway.adminUrl}/v1/revoke`, {
      method: 'POST',
      headers: { authorization: `Bearer ${gateway.adminToken}` },
      body: new URLSearchParams({ token: text }),
    });
    const body = (await response.json()) as Members;
    return response.status === 200 ? 200 : [response.status, body['reason'], body['detail']];
  }
  async function marked(text: string): Promise<unknown> {
    const { status, text: body } = await gateway.admin('POST', '/v1/revocations', { token: text, reason: 'leaked' });
    const marks = (JSON.parse(body) as Members)['marks'] as
      | { jti: string; repeated: boolean; keep_until: string }[]
      | undefined;
    return marks?.map(({ jti, repeated }) => `${jti} ${repeated ? 'again' : 'new'}`) ?? status;
  }

  it('holds for one that a new key has signed, though the look for new keys is used up', async () => {
    const fresh = signingKey('EdDSA', 'fresh');
    keys.push(fresh);
    const leaked = token(fresh);
    const jti = `id-${made}`;
    expect(await refusedFor(leaked)).toBe('token_untrusted');
    expect(await revoke(leaked)).toBe(200);
    expect(await refusedFor(leaked)).toBe('token_revoked');
    expect(await marked(leaked)).toEqual([`${jti} again`]);
    const second = signingKey('EdDSA', 'second');
    keys.push(second);
    const other = token(second);
    expect(await marked(other)).toEqual([`id-${made} new`]);
    expect(await refusedFor(other)).toBe('token_revoked');
    expect((await gateway.call('/x', { token: token(fresh) })).status).toBe(200);
  });

  it('holds for one whose key stands under a name that was another key before', async () => {
    keys[0] = signingKey('EdDSA', published.kid);
    const leaked = token(keys[0]);
    expect(await refusedFor(leaked)).toBe('token_untrusted');
    expect(await revoke(leaked)).toBe(200);
    expect(await refusedFor(leaked)).toBe('token_revoked');
    keys[0] = published;
    expect(await marked(token(published))).toEqual([`id-${made} new`]);
  });

  it('holds for one whose time has not come, of a new key', async () => {
    const fresh = signingKey('EdDSA', 'of the next day');
    keys.push(fresh);
    const leaked = token(fresh, { nbf: now() + 300 });
    const jti = `id-${made}`;
    expect(await refusedFor(leaked)).toBe('token_not_yet_valid');
    expect(await revoke(leaked)).toBe(200);
    expect(await refusedFor(token(fresh, { jti }))).toBe('token_revoked');
  });

  it.each<[string, () => Members, Members]>([
    ['it was made in the future', () => ({ iat: now() + 300 }), {}],
    [
      'it does not say when it was made, and ends beyond max_lifetime',
      () => ({ iat: undefined, exp: now() + 3700 }),
      {},
    ],
    ['it lives too long', () => ({ exp: now() + 7200 }), {}],
    ['it is for somebody else', () => ({ aud: 'elsewhere' }), {}],
    ['its scopes are too many', () => ({ scope: Array.from({ length: 300 }, (_, i) => `s${i}`) }), {}],
    ['its type is another', () => ({}), { typ: 'logout+jwt' }],
  ])('holds for one that is refused because %s', async (_why, claims, header) => {
    const leaked = token(published, claims(), header);
    const jti = `id-${made}`;
    expect(await refusedFor(leaked)).toMatch(/^token_(?:not_yet_valid|untrusted)$/);
    expect(await revoke(leaked)).toBe(200);
    expect(await marked(leaked)).toEqual([`${jti} again`]);
    // The mark stands under what its issuer calls the token: with the claims of a good one it is refused.
    expect(await refusedFor(token(published, { jti }))).toBe('token_revoked');
  });

  it('is kept until the end that the token names', async () => {
    const end = now() + 90 * 86_400;
    const request = { token: token(published, { exp: end }), reason: 'leaked' };
    const { text } = await gateway.admin('POST', '/v1/revocations', request);
    const [mark] = (JSON.parse(text) as { marks: { keep_until: string }[] }).marks;
    expect(Date.parse(mark?.keep_until ?? '')).toBe((end + 3600) * 1000);
  });

  it('is 503 while nobody can say whether the token is one, and 200 for what surely is none', async () => {
    const unheard = signingKey('EdDSA', 'unheard');
    const stranger = token(unheard, { jti: 'stolen' });
    const forged = token({ ...unheard, kid: published.kid }, { jti: 'stolen' });
    const asked = () => Promise.all([stranger, forged].flatMap((text) => [revoke(text), marked(text)]));
    expect(await asked()).toEqual([200, [], 200, []]);
    answer = (_request, response) => response.writeHead(500).end();
    const unsettled = [503, 'store_unavailable', expect.stringMatching(/^Nothing was revoked: /)];
    expect(await asked()).toEqual([unsettled, 503, unsettled, 503]);
    // Nobody need be asked about these.
    const known = token(published);
    expect(await marked(known)).toEqual([`id-${made} new`]);
    expect(await revoke(token(unheard, { exp: now() - 60 }))).toBe(200);
    expect(await revoke(token(unheard, { iss: 'https://elsewhere.example' }))).toBe(200);
    serveKeys();
    keys.push(unheard);
    // Of unverified claims nothing has come.
    expect(await revoke(token(unheard))).toBe(200);
    expect((await gateway.call('/x', { token: stranger })).status).toBe(200);
  });
});
