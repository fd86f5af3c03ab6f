import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createRemoteJWKSet, decodeJwt, type JWTPayload, jwtVerify } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config/load.ts';
import { type RunningGateway, startGateway } from '../../src/main/gateway-process.ts';
import { createLogger } from '../../src/metrics/log.ts';
import { TestGateway } from '../support/gateway.ts';
import { openSocket } from '../support/raw-client.ts';
import { Listener } from '../support/single-api.ts';
import { TestUpstream } from '../support/upstream.ts';

const POLICIES = {
  'orders.yaml': `api: orders
upstream: orders
base: /orders
rules:
  - { name: open, path: /public, public: true }
  - { name: read, path: ["/", "/{rest...}"], scopes: [orders:read] }
`,
  'plain.yaml': `api: plain
upstream: plain
base: /plain
rules: [ { name: read, path: ["/", "/{rest...}"], scopes: [orders:read] } ]
`,
  'roles.yaml': 'roles: { support: { scopes: ["items:read"] } }\n',
  'classes.yaml':
    'classes: { service: { max_ttl: 90d, default_ttl: 30d, scopes: ["orders:*", "items:*"], roles: [support] } }\n',
};

const newKey = (): string => String(generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }));

const KEYS = '/.portcullis/jwks.json';

/** How long a new key is published before it signs; the upstream below keeps the keys for a tenth of it. */
const LEAD_MS = 2000;

describe('an upstream with assertion: true', () => {
  let folder = '';
  let gateway: TestGateway;
  let second: RunningGateway | null = null;
  let upstream: TestUpstream;
  let plain: TestUpstream;
  const upgrades: (string | undefined)[] = [];
  const outcomes: (JWTPayload | string)[] = [];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'portcullis-assertion-'));
    await writeFile(join(folder, 'keys.pem'), newKey());
    let keys: ReturnType<typeof createRemoteJWKSet> | null = null;
    upstream = await TestUpstream.start(
      (request, response) => {
        keys ??= createRemoteJWKSet(new URL(`${gateway.url}${KEYS}`), { cacheMaxAge: LEAD_MS / 10 });
        const assertion = String(request.headers['portcullis-assertion'] ?? '');
        const wanted = {
          issuer: 'https://gateway.example',
          audience: 'orders',
          typ: 'portcullis-assertion+jwt',
          algorithms: ['EdDSA'],
          requiredClaims: ['exp', 'iat', 'jti', 'token_id'],
        };
        const verified = assertion === '' ? Promise.resolve('none') : jwtVerify(assertion, keys, wanted);
        verified
          .then(
            (result) => outcomes.push(typeof result === 'string' ? result : result.payload),
            (error: unknown) => outcomes.push(`bad: ${String(error)}`),
          )
          .finally(() => response.end('seen'));
      },
      {
        onUpgrade: (request, socket) => {
          upgrades.push(request.headers['portcullis-assertion'] as string | undefined);
          socket.end('HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n');
        },
      },
    );
    plain = await TestUpstream.start();
    gateway = await TestGateway.start({
      folder,
      upstreams: { orders: upstream.url, plain: plain.url },
      upstreamOptions: { orders: 'assertion: true' },
      policies: POLICIES,
      config: { assertion: `{ issuer: "https://gateway.example", keys: { file: keys.pem }, lead: ${LEAD_MS}ms }` },
    });
  });

  afterAll(async () => {
    await second?.close();
    await gateway?.close();
    await Promise.all([upstream?.close(), plain?.close()]);
    await rm(folder, { recursive: true, force: true });
  });

  const lastOutcome = (): JWTPayload => {
    const outcome = outcomes.at(-1);
    if (outcome === undefined || typeof outcome === 'string') throw new Error(`no assertion: ${outcome}`);
    return outcome;
  };

  it('can verify who a request is for, and reads the same in the plain headers', async () => {
    const { id, token } = await gateway.issue({ subject: 'jo 100%', roles: ['support'] });
    expect((await gateway.call('/orders/1', { token })).status).toBe(200);
    const seen = upstream.seen.at(-1);
    expect(lastOutcome()).toMatchObject({
      aud: 'orders',
      sub: 'jo 100%',
      token_id: id,
      token_type: 'opaque',
      scope: 'orders:read items:read',
      roles: ['support'],
    });
    expect(lastOutcome()).toMatchObject({
      sub: decodeURIComponent(String(seen?.headers['portcullis-subject'])),
      token_id: seen?.headers['portcullis-token-id'],
      scope: seen?.headers['portcullis-scopes'],
    });
    const { exp = 0, iat = 0, jti } = lastOutcome();
    expect(exp - iat).toBe(60);
    await gateway.call('/orders/2', { token });
    expect(lastOutcome().jti).toBe(jti);
  });

  it('never gets one that a client made, in whatever spelling; others get none at all', async () => {
    const { id, token } = await gateway.issue();
    const forged = { 'Portcullis-Assertion': 'forged', Portcullis_Assertion: 'forged', 'X-Jwt-Assertion': 'forged' };
    await gateway.call('/orders/1', { token, headers: forged });
    expect(lastOutcome().token_id).toBe(id);
    expect(JSON.stringify(upstream.seen.at(-1)?.rawHeaders)).not.toContain('forged');
    const other = await gateway.call('/plain/1', { token, headers: forged });
    expect([other.status, plain.seen.at(-1)?.headers['portcullis-assertion']]).toEqual([200, undefined]);
    expect(JSON.stringify(plain.seen.at(-1)?.rawHeaders)).not.toContain('forged');
  });

  it('gets none for a public request: nobody was asked for, so nobody is vouched for', async () => {
    const { token } = await gateway.issue();
    for (const options of [{}, { token }, { headers: { 'portcullis-assertion': 'forged' } }]) {
      expect((await gateway.call('/orders/public', options)).status).toBe(200);
      expect(outcomes.at(-1)).toBe('none');
    }
  });

  it('gets it with the handshake of a WebSocket', async () => {
    const { id, token } = await gateway.issue();
    const socket = await openSocket(gateway.port);
    const answer = new Listener(socket);
    socket.write(
      `GET /orders/live HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\nPortcullis-Assertion: forged\r\n` +
        'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n',
    );
    await answer.until((text) => text.startsWith('HTTP/1.1 403'));
    socket.destroy();
    expect(upgrades.map((text) => text && decodeJwt(text)['token_id'])).toEqual([id]);
  });

  it('finds the keys without a token, to keep for a while, and never their private half', async () => {
    const answer = await gateway.call(KEYS);
    expect([answer.status, answer.headers['content-type'], answer.headers['cache-control']]).toEqual([
      200,
      'application/jwk-set+json',
      'public, max-age=1',
    ]);
    expect(JSON.parse(answer.text)).toEqual({
      keys: [{ kty: 'OKP', crv: 'Ed25519', x: expect.any(String), kid: expect.any(String), alg: 'EdDSA', use: 'sig' }],
    });
    expect(await gateway.eventOf(answer)).toMatchObject({
      type: 'access.allowed',
      outcome: 'success',
      path: KEYS,
      status: 200,
    });
    const withToken = await gateway.call(KEYS, { token: 'not a token at all' });
    expect(withToken.text).toBe(answer.text);
    const head = await gateway.call(KEYS, { method: 'HEAD' });
    expect([head.status, head.text, head.headers['content-length']]).toEqual([200, '', String(answer.text.length)]);
    const post = await gateway.call(KEYS, { method: 'POST', body: 'x' });
    expect([post.status, post.headers['allow'], post.problem?.reason]).toEqual([
      405,
      'GET, HEAD',
      'method_not_allowed',
    ]);
    for (const near of [`${KEYS}/`, `${KEYS}/x`, '/.portcullis/jwks', '/.portcullis/JWKS.json', '/.portcullis']) {
      expect([near, (await gateway.call(near)).problem?.reason]).toEqual([near, 'token_missing']);
    }
  });

  /*
   * An operator who only puts a new key into the place of the old one. A gateway that signs with it at once would be
   * refused by every upstream that keeps the keys for a while; one that drops the old one at once, by those that do not.
   */
  it('verifies every one of two gateways while their key is replaced under load', { timeout: 60_000 }, async () => {
    // Upstream and operator see one of the two; the other one reads the file in its own time.
    const { config } = await loadConfig(await gateway.secondConfig(), {});
    if (config === null) throw new Error('the configuration of this test is wrong');
    second = await startGateway(config, createLogger({ level: 'silent' }));
    const urls = [gateway.url, second.trafficUrl];
    const kids = async (): Promise<string[]> => {
      const { keys } = JSON.parse((await gateway.call(KEYS)).text) as { keys: { kid: string }[] };
      return keys.map(({ kid }) => kid);
    };
    const before = outcomes.length;
    const signers = new Set<string>();
    let stopped = false;
    const load = Array.from({ length: 4 }, async (_, index) => {
      const url = urls[index % 2];
      while (!stopped) {
        // A new token each time: what is remembered of another one would hide the change.
        const { token } = await gateway.issue();
        const answer = await fetch(`${url}/orders/load/${index % 2}`, {
          headers: { authorization: `Bearer ${token}` },
        });
        expect([answer.status, await answer.text()]).toEqual([200, 'seen']);
      }
    });
    const signed = (): void => {
      for (const { url, headers } of upstream.seen) {
        if (!url.startsWith('/orders/load/')) continue;
        const header = String(headers['portcullis-assertion']).split('.')[0] ?? '';
        signers.add(`${url} ${Buffer.from(header, 'base64url').toString()}`);
      }
    };
    const [first] = await kids();
    await writeFile(join(folder, 'next.pem'), newKey());
    await rename(join(folder, 'next.pem'), join(folder, 'keys.pem'));
    // Until each of the two has signed with either key.
    while (signers.size < 4) {
      await Promise.race([once(upstream.server, 'request'), ...load]);
      signed();
    }
    stopped = true;
    await Promise.all(load);
    const both = await kids();
    expect(both).toContain(first);
    expect(both.length).toBe(2);
    const results = outcomes.slice(before);
    expect(results.length).toBeGreaterThan(20);
    expect(results.filter((outcome) => typeof outcome === 'string')).toEqual([]);
  });

  it('is served with the last good key when the new one is none', async () => {
    const { token } = await gateway.issue();
    const good = (await gateway.call(KEYS)).text;
    await writeFile(join(folder, 'keys.pem'), 'not a key\n');
    await gateway.running.reload();
    await gateway.call('/orders/1', { token });
    expect(lastOutcome().aud).toBe('orders');
    expect((await gateway.call(KEYS)).text).toBe(good);
  });
});

describe('a gateway without keys', () => {
  it('has nothing to publish, and refuses as for any path', async () => {
    const upstream = await TestUpstream.start();
    const gateway = await TestGateway.start({
      upstreams: { plain: upstream.url },
      policies: { 'plain.yaml': POLICIES['plain.yaml'] },
    });
    try {
      const { token } = await gateway.issue();
      expect((await gateway.call(KEYS)).problem?.reason).toBe('token_missing');
      expect((await gateway.call(KEYS, { token })).problem?.reason).toBe('route_not_declared');
    } finally {
      await gateway.close();
      await upstream.close();
    }
  });
});
