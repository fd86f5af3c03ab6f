import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import {
  discoverOAuthServerInfo,
  type OAuthClientProvider,
  UnauthorizedError,
} from '@modelcontextprotocol/sdk/client/auth.js';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { ToolListChangedNotificationSchema } from '@modelcontextprotocol/sdk/types.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestGateway } from '../support/gateway.ts';
import { type SeenRequest, TestUpstream } from '../support/upstream.ts';

/** The official SDK on both sides of the gateway, under the policies of deploy/mcp. */

const POLICIES = join(import.meta.dirname, '../../deploy/mcp/policies');
const POLICY = readFileSync(join(POLICIES, 'mcp.yaml'), 'utf8');
const CLASSES = readFileSync(join(POLICIES, 'classes.yaml'), 'utf8');

/** A server with sessions, as the SDK's own examples have it. */
class Sessions {
  readonly streams: ServerResponse[] = [];
  readonly servers: McpServer[] = [];
  readonly #transports = new Map<string, StreamableHTTPServerTransport>();

  async start(): Promise<TestUpstream> {
    return await TestUpstream.start(
      (request, response) => {
        if (request.method === 'GET') this.streams.push(response);
        const id = String(request.headers['mcp-session-id'] ?? '');
        const known = this.#transports.get(id);
        const transport = known === undefined ? this.#open() : Promise.resolve(known);
        transport.then((each) => each.handleRequest(request, response)).catch(() => response.destroy());
      },
      { collect: false },
    );
  }

  async #open(): Promise<StreamableHTTPServerTransport> {
    const transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: () => randomUUID(),
      onsessioninitialized: (id) => {
        this.#transports.set(id, transport);
      },
    });
    const server = new McpServer(
      { name: 'documents', version: '1.0.0' },
      { capabilities: { tools: { listChanged: true } } },
    );
    for (const name of ['search', 'get_document', 'delete_document']) {
      server.registerTool(name, { description: name }, () => ({
        content: [{ type: 'text', text: `${name} was called` }],
      }));
    }
    this.servers.push(server);
    await server.connect(transport as Transport);
    return transport;
  }
}

describe('the SDK of the Model Context Protocol, through the gateway', () => {
  const sessions = new Sessions();
  let upstream: TestUpstream;
  let login: TestUpstream;
  let gateway: TestGateway;
  let url: URL;
  const clients: Client[] = [];

  beforeAll(async () => {
    upstream = await sessions.start();
    login = await TestUpstream.start((_, response) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(
        JSON.stringify({
          issuer: login.url,
          authorization_endpoint: `${login.url}/authorize`,
          token_endpoint: `${login.url}/token`,
          response_types_supported: ['code'],
          code_challenge_methods_supported: ['S256'],
        }),
      );
    });
    gateway = await TestGateway.start({
      upstreams: { mcp: upstream.url },
      policies: { 'mcp.yaml': POLICY, 'classes.yaml': CLASSES },
    });
    url = new URL('/mcp', gateway.url);
    // Only now it is known by which URL clients know it.
    const text = POLICY.replace('https://mcp.example.com/mcp', url.href).replace(
      'https://login.example.com',
      login.url,
    );
    expect(text).not.toContain('example.com');
    await writeFile(join(gateway.folder, 'policies/mcp.yaml'), text);
    await gateway.running.reload();
  });

  afterAll(async () => {
    for (const client of clients) await client.close();
    for (const server of sessions.servers) await server.close();
    await gateway?.close();
    await upstream?.close();
    await login?.close();
  });

  async function connect(token: string, authProvider?: OAuthClientProvider) {
    const headers = token === '' ? {} : { authorization: `Bearer ${token}` };
    const transport = new StreamableHTTPClientTransport(url, {
      requestInit: { headers },
      ...(authProvider === undefined ? {} : { authProvider }),
    });
    const client = new Client({ name: 'test', version: '1.0.0' });
    clients.push(client);
    await client.connect(transport as Transport);
    return { client, transport };
  }

  const issue = () => gateway.issue({ class: 'assistant', scopes: ['mcp:use'] });
  const textOf = (result: unknown): unknown => (result as { content: readonly { text: string }[] }).content[0]?.text;
  const seenPosts = (): SeenRequest[] => upstream.seen.filter(({ method }) => method === 'POST');

  it('calls what may be called, and is told of what may not', async () => {
    const { id, token } = await issue();
    const { client, transport } = await connect(token);
    expect(client.getServerVersion()?.name).toBe('documents');
    const { tools } = await client.listTools();
    expect(tools.map(({ name }) => name)).toContain('search');
    expect(textOf(await client.callTool({ name: 'search' }))).toBe('search was called');
    const before = seenPosts().length;
    const refused = client.callTool({ name: 'delete_document' });
    await expect(refused).rejects.toMatchObject({ code: 403, message: expect.stringContaining('condition_failed') });
    await expect(client.listPrompts()).rejects.toThrow();
    await expect(client.request({ method: 'resources/list' }, ToolListChangedNotificationSchema)).rejects.toMatchObject(
      {
        code: 403,
      },
    );
    expect(seenPosts()).toHaveLength(before);
    // The session goes on.
    expect(textOf(await client.callTool({ name: 'get_document' }))).toBe('get_document was called');
    for (const { headers } of seenPosts()) {
      expect(headers).toMatchObject({ 'portcullis-token-id': id, 'portcullis-scopes': 'mcp:use' });
      expect(headers['authorization']).toBeUndefined();
    }
    const event = await gateway.event(
      ({ details, type }) => type === 'access.denied' && JSON.stringify(details).includes('delete_document'),
    );
    expect(event).toMatchObject({
      token_id: id,
      rule: 'messages',
      details: { mcp: { method: 'tools/call', tool: 'delete_document' } },
    });
    await transport.terminateSession();
    expect(upstream.seen.at(-1)?.method).toBe('DELETE');
  });

  it('hears the server on its stream until the token is revoked', async () => {
    const { id, token } = await issue();
    const opened = sessions.streams.length;
    const { client } = await connect(token);
    const changed = new Promise<void>((resolve) => {
      client.setNotificationHandler(ToolListChangedNotificationSchema, () => resolve());
    });
    await expect.poll(() => sessions.streams.length, { timeout: 10_000 }).toBeGreaterThan(opened);
    const stream = sessions.streams.at(-1) as ServerResponse;
    sessions.servers.at(-1)?.sendToolListChanged();
    await changed;
    const closed = once(stream, 'close');
    const revoked = await gateway.admin('POST', `/v1/tokens/${id}/revoke`, { reason: 'test' });
    expect(JSON.parse(revoked.text)).toMatchObject({ propagation: { streams_closed: 1 } });
    await closed;
    await expect(client.callTool({ name: 'search' })).rejects.toMatchObject({
      message: expect.stringContaining('token_revoked'),
    });
  });

  it('finds out who issues tokens when it has none', async () => {
    let asked: URL | null = null;
    const provider: OAuthClientProvider = {
      redirectUrl: 'http://127.0.0.1/callback',
      clientMetadata: { redirect_uris: ['http://127.0.0.1/callback'] },
      clientInformation: () => ({ client_id: 'test' }),
      tokens: () => undefined,
      saveTokens: () => undefined,
      redirectToAuthorization: (to) => {
        asked = to;
      },
      saveCodeVerifier: () => undefined,
      codeVerifier: () => 'verifier',
    };
    await expect(connect('', provider)).rejects.toThrow(UnauthorizedError);
    expect(String(asked)).toContain(`${login.url}/authorize?`);
    const query = new URL(String(asked)).searchParams;
    expect([query.get('resource'), query.get('scope')]).toEqual([url.href, 'mcp:use']);
    // The same without the pointer in the challenge, from the well-known path alone.
    const found = await discoverOAuthServerInfo(url);
    expect([found.authorizationServerUrl, found.resourceMetadata?.resource]).toEqual([login.url, url.href]);
  });
});
