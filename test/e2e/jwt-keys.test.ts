import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestGateway } from '../support/gateway.ts';
import { TestUpstream } from '../support/upstream.ts';
import { claimsOf, encode, jwks, jwt, type Members, secretKey, signatureOf, signingKey } from '../token/jwt-fixture.ts';

const POLICY = `api: orders
upstream: orders
rules: [ { name: read, path: "/{rest...}", scopes: [orders:read] } ]
`;
const SECRET = 'a secret that is shared with one issuer';

/** Claims that are good now. */
const claims = (issuer: string, more: Members = {}): Members => {
  const seconds = Math.floor(Date.now() / 1000);
  return claimsOf({ iss: issuer, iat: seconds, exp: seconds + 300, scope: 'orders:read', ...more });
};

describe('a gateway with the keys of two issuers', () => {
  const [first, second] = [signingKey('EdDSA', 'first'), signingKey('EdDSA', 'second')];
  let upstream: TestUpstream;
  let gateway: TestGateway;

  beforeAll(async () => {
    upstream = await TestUpstream.start();
    const folder = await mkdtemp(join(tmpdir(), 'portcullis-jwt-'));
    await writeFile(join(folder, 'jwks.json'), jwks(first));
    gateway = await TestGateway.start({
      folder,
      env: { SHARED: SECRET },
      upstreams: { orders: upstream.url },
      policies: { 'orders.yaml': POLICY },
      config: {
        issuers: `
  - { issuer: file, audience: "https://api.test", jwks_file: jwks.json }
  - { issuer: shared, audience: "https://api.test", secret: { env: SHARED } }`,
      },
    });
  });

  afterAll(async () => {
    await gateway?.close();
    await upstream?.close();
    if (gateway !== undefined) await rm(gateway.folder, { recursive: true });
  });

  const told = async (token: string): Promise<string> => {
    const { status, problem } = await gateway.call('/x', { token });
    return status === 200 ? 'ok' : `${status} ${problem?.reason}`;
  };

  const shared = (header: Members, body: Members): string => {
    const input = `${encode({ alg: 'HS256', ...header })}.${encode(body)}`;
    return `${input}.${signatureOf('HS256', secretKey(Buffer.from(SECRET)), input).toString('base64url')}`;
  };

  it('keeps them apart', async () => {
    expect(await told(jwt(first, claims('file')))).toBe('ok');
    expect(await told(shared({}, claims('shared')))).toBe('ok');
    expect(await told(shared({ kid: 'first' }, claims('file')))).toBe('401 token_untrusted');
    expect(await told(jwt(first, claims('shared')))).toBe('401 token_untrusted');
  });

  it('takes up a changed file by itself', { timeout: 30_000 }, async () => {
    const old = jwt(first, claims('file', { jti: 'old' }));
    const fresh = jwt(second, claims('file', { jti: 'fresh' }));
    expect(await told(old)).toBe('ok');
    await writeFile(join(gateway.folder, 'jwks.json'), jwks(second));
    await expect.poll(() => told(old), { timeout: 20_000, interval: 50 }).toBe('401 token_untrusted');
    expect(await told(fresh)).toBe('ok');
    expect(await gateway.metric(/^portcullis_jwks_refresh_total\{.*issuer="file".*result="success"/)).toBe(2);
  });
});
