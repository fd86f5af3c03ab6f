import { generateKeyPairSync } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type ClientMetadata, type JWK, Provider } from 'oidc-provider';
import * as client from 'openid-client';

export const API = 'https://api.test';

/** A real authorization server (oidc-provider) on this machine, whose keys can be rotated while it runs. */
export class OidcIssuer {
  readonly url: string;
  /** Paths that it was asked for. */
  readonly asked: string[] = [];
  readonly #server: Server;
  readonly #clients: ClientMetadata[];
  #keys: JWK[] = [];
  #handle: ReturnType<Provider['callback']> | null = null;

  private constructor(server: Server, clients: ClientMetadata[]) {
    this.#server = server;
    this.#clients = clients;
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    server.on('request', (request, response) => {
      this.asked.push(request.url ?? '');
      void this.#handle?.(request, response);
    });
  }

  static async start(): Promise<OidcIssuer> {
    const server = createServer();
    await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
    const issuer = new OidcIssuer(server, [
      {
        client_id: 'shop',
        client_secret: 'a secret of the shop that nobody guesses',
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
      },
    ]);
    issuer.rotate('k1');
    return issuer;
  }

  /** Signs with a new key from now on; the older ones stay in the set, but for those that are withdrawn. */
  rotate(kid: string, withdrawn: readonly string[] = []): void {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const key = { ...privateKey.export({ format: 'jwk' }), kid, alg: 'ES256', use: 'sig' } as JWK;
    this.#keys = [key, ...this.#keys.filter((old) => !withdrawn.includes(old.kid ?? ''))];
    const provider = new Provider(this.url, {
      clients: this.#clients,
      jwks: { keys: this.#keys },
      scopes: ['orders:read', 'orders:write'],
      // Its default signs identity tokens with RSA, for which it has no key.
      clientDefaults: { id_token_signed_response_alg: 'ES256' },
      enabledJWA: { idTokenSigningAlgValues: ['ES256'] },
      features: {
        devInteractions: { enabled: false },
        clientCredentials: { enabled: true },
        resourceIndicators: {
          enabled: true,
          getResourceServerInfo: () => ({
            scope: 'orders:read orders:write',
            audience: API,
            accessTokenFormat: 'jwt',
            accessTokenTTL: 600,
            jwt: { sign: { alg: 'ES256' } },
          }),
        },
      },
      extraTokenClaims: () => ({ tenant: 'acme' }),
    });
    this.#handle = provider.callback();
  }

  /** An access token as a client gets it: discovery, client credentials, a resource (RFC 8707). */
  async token(scope = 'orders:read'): Promise<string> {
    const configuration = await client.discovery(
      new URL(this.url),
      'shop',
      'a secret of the shop that nobody guesses',
      undefined,
      { execute: [client.allowInsecureRequests] },
    );
    const granted = await client.clientCredentialsGrant(configuration, { scope, resource: API });
    return granted.access_token;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    if (this.#server.listening) await new Promise<void>((closed) => this.#server.close(() => closed()));
  }
}
