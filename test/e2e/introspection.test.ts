import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exportJWK, generateKeyPair, type JWK } from 'jose';
import Provider from 'oidc-provider';
import {
  allowInsecureRequests,
  type Configuration,
  clientCredentialsGrant,
  discovery,
  tokenRevocation,
} from 'openid-client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestGateway } from '../support/gateway.ts';
import { TestUpstream } from '../support/upstream.ts';

const POLICY = `api: orders
upstream: orders
rules:
  - { name: open, path: /public, public: true }
  - { name: read, methods: [GET], path: ["/", "/{rest...}"], scopes: [orders:read], when: { token_type: [introspected] } }
  - { name: write, methods: [POST], path: ["/", "/{rest...}"], scopes: [orders:write] }
  - { name: mine, methods: [GET], path: "/of/{client}", scopes: [orders:read], when: { claims: { client_id: "{client}" } } }
`;

/** An authorization server that its clients get opaque access tokens from; a real one, in this process. */
class AuthorizationServer {
  readonly #server: Server;
  readonly url: string;
  client: Configuration | null = null;

  private constructor(server: Server) {
    this.#server = server;
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  static async start(): Promise<AuthorizationServer> {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const started = new AuthorizationServer(server);
    const { privateKey } = await generateKeyPair('RS256', { extractable: true });
    const clients = ['app', 'gateway'].map((client_id) => ({
      client_id,
      client_secret: `${client_id} s3cret: +%`,
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
      scope: 'orders:read orders:write',
    }));
    const provider = new Provider(started.url, {
      clients,
      scopes: ['orders:read', 'orders:write'],
      jwks: { keys: [{ ...((await exportJWK(privateKey)) as JWK), alg: 'RS256', use: 'sig' }] },
      ttl: { ClientCredentials: 600 },
      features: {
        clientCredentials: { enabled: true },
        introspection: { enabled: true, allowedPolicy: () => true },
        revocation: { enabled: true, allowedPolicy: () => true },
        devInteractions: { enabled: false },
      },
    });
    server.on('request', provider.callback());
    started.client = await discovery(new URL(started.url), 'app', 'app s3cret: +%', undefined, {
      execute: [allowInsecureRequests],
    });
    return started;
  }

  get #client(): Configuration {
    if (this.client === null) throw new Error('not started');
    return this.client;
  }

  async issue(scope = 'orders:read'): Promise<string> {
    return (await clientCredentialsGrant(this.#client, { scope })).access_token;
  }

  async revoke(token: string): Promise<void> {
    await tokenRevocation(this.#client, token);
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    if (this.#server.listening) await new Promise((resolve) => this.#server.close(resolve));
  }
}

describe('opaque tokens of an authorization server (oidc-provider)', () => {
  let folder = '';
  let idp: AuthorizationServer;
  let upstream: TestUpstream;
  let gateway: TestGateway;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'portcullis-introspection-'));
    await writeFile(join(folder, 'client'), 'gateway s3cret: +%\n');
    [idp, upstream] = await Promise.all([AuthorizationServer.start(), TestUpstream.start()]);
    const endpoint = `${idp.url}/token/introspection`;
    gateway = await TestGateway.start({
      folder,
      upstreams: { orders: upstream.url },
      policies: { 'orders.yaml': POLICY },
      config: {
        introspection: `[{ match: { prefix: "" }, endpoint: "${endpoint}", client_id: gateway, client_secret: { file: client }, cache: 1s, negative_cache: 1s }]`,
      },
    });
  }, 60_000);

  afterAll(async () => {
    await gateway?.close();
    await Promise.all([idp?.stop(), upstream?.close()]);
    await rm(folder, { recursive: true, force: true });
  });

  const reasonOf = async (token: string, path = '/', method = 'GET'): Promise<string> => {
    const answer = await gateway.call(path, { token, method });
    return answer.status === 200 ? 'ok' : String(answer.problem?.reason);
  };
  const soon = { timeout: 20_000, interval: 50 };

  it('are let in by what the server says of them', async () => {
    const token = await idp.issue();
    const answer = await gateway.call('/of/app', { token });
    expect(answer.status).toBe(200);
    const seen = upstream.seen.at(-1)?.headers ?? {};
    expect(seen['authorization']).toBe(undefined);
    expect([seen['portcullis-token-id'], seen['portcullis-scopes']]).toEqual([
      expect.stringMatching(/^ext:[A-Za-z0-9_-]{22}$/),
      'orders:read',
    ]);
    expect(await gateway.eventOf(answer)).toMatchObject({
      type: 'access.allowed',
      token_type: 'introspected',
      token_id: seen['portcullis-token-id'],
    });
    expect(await reasonOf(token, '/of/somebody-else')).toBe('condition_failed');
    expect(await reasonOf(token, '/', 'POST')).toBe('scope_insufficient');
    expect(await reasonOf(await idp.issue('orders:read orders:write'), '/', 'POST')).toBe('ok');
  });

  it('that it does not know are 401, those of this installation are not its business', async () => {
    expect(await reasonOf('made-up-token-of-some-length')).toBe('token_unknown');
    const { token } = await gateway.issue({ scopes: ['orders:write'] });
    expect(await reasonOf(token, '/', 'POST')).toBe('ok');
    expect(await reasonOf(token, '/')).toBe('scope_insufficient');
    expect((await gateway.call('/public', { token: 'made-up' })).status).toBe(200);
  });

  it('that are revoked there end here when what was remembered has become old', async () => {
    const token = await idp.issue();
    expect(await reasonOf(token)).toBe('ok');
    await idp.revoke(token);
    await expect.poll(() => reasonOf(token), soon).toBe('token_unknown');
  });

  it('are neither let in nor called bad while the gateway’s own secret there is wrong; a file is read again', async () => {
    await writeFile(join(folder, 'client'), 'wrong');
    await gateway.running.reload();
    const token = await idp.issue();
    const answer = await gateway.call('/', { token });
    expect([answer.status, answer.problem?.reason, answer.headers['retry-after']]).toEqual([
      503,
      'store_unavailable',
      '1',
    ]);
    expect(answer.problem?.detail).toBe("The token's server cannot be asked about it at the moment. Try again soon.");
    expect(answer.headers['www-authenticate']).toBe(undefined);
    await writeFile(join(folder, 'client'), 'gateway s3cret: +%');
    await gateway.running.reload();
    expect(await reasonOf(token)).toBe('ok');
  });

  it('leave no trace of themselves in the audit trail, and are counted', async () => {
    const token = await idp.issue();
    const answer = await gateway.call('/', { token });
    await gateway.eventOf(answer);
    const text = await readFile(gateway.auditFile, 'utf8');
    expect(text).not.toContain(token);
    expect(text).not.toContain('s3cret');
    const count = (result: string): Promise<number> =>
      gateway.metric(
        new RegExp(`^portcullis_introspection_total\\{server="${idp.url}/token/introspection",result="${result}"\\}`),
      );
    expect(await count('active')).toBeGreaterThan(3);
    expect(await count('inactive')).toBeGreaterThan(0);
    expect(await count('rejected')).toBe(1);
    expect([await count('failure'), await count('overloaded')]).toEqual([0, 0]);
  });

  it('that are revoked here end at once, though their server still calls them active and that is remembered', async () => {
    const [held, listed, other] = await Promise.all([idp.issue(), idp.issue(), idp.issue()]);
    for (const token of [held, listed, other]) expect(await reasonOf(token)).toBe('ok');
    const shown = await gateway.call('/.portcullis/token', { token: held });
    expect(JSON.parse(shown.text)).toMatchObject({
      id: expect.stringMatching(/^ext:/),
      type: 'introspected',
      issuer: idp.url,
      scopes: ['orders:read'],
    });
    expect((await gateway.call('/.portcullis/token/revoke', { token: held, method: 'POST' })).status).toBe(200);
    expect(await reasonOf(held)).toBe('token_revoked');
    const revoked = await gateway.admin('POST', '/v1/revocations', { token: listed, reason: 'leaked' });
    expect(revoked.status).toBe(200);
    expect([await reasonOf(listed), await reasonOf(other)]).toEqual(['token_revoked', 'ok']);
  });

  it('go on for as long as they are remembered when the server is down, and are 503 then', async () => {
    const token = await idp.issue();
    expect(await reasonOf(token)).toBe('ok');
    await idp.stop();
    expect(await reasonOf('never-seen-before')).toBe('store_unavailable');
    await expect.poll(() => reasonOf(token), soon).toBe('store_unavailable');
    const seen = (await gateway.auditLines()).filter(({ type }) => type.startsWith('access.')).slice(-2);
    expect(seen.map(({ reason }) => reason)).not.toContain('token_unknown');
    const { token: own } = await gateway.issue({ scopes: ['orders:write'] });
    expect(await reasonOf(own, '/', 'POST')).toBe('ok');
  });
});
