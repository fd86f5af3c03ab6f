import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compilePolicy } from '../../src/policy/compile.ts';
import { type Answer, TestGateway } from '../support/gateway.ts';
import { sendRaw, statusOf } from '../support/raw-client.ts';
import { TestUpstream } from '../support/upstream.ts';

const ORDERS = `api: orders
upstream: up
base: /orders
rules: [ { name: read, path: ["/", "/{rest...}"], scopes: [orders:read] }, { name: open, path: /open, public: true } ]
`;
const TOOLS = `api: tools
upstream: up
base: /mcp
resource:
  identifier: https://api.example.com/mcp
  authorization_servers: [https://login.example.com/tools]
  scopes_supported: [items:use]
  documentation: https://docs.example.com/tools
rules: [ { name: talk, path: ["/", "/{rest...}"], scopes: [items:use] } ]
`;
const ELSEWHERE = TOOLS.replace('api: tools', 'api: elsewhere')
  .replace('upstream: up', 'upstream: up\nhosts: [other.example.com]')
  .replace('api.example.com/mcp', 'other.example.com/mcp')
  .replace(/ {2}authorization_servers.*\n/, '')
  .replace(/ {2}scopes_supported.*\n/, '');

const DPOP_ALGORITHMS = ['ES256', 'ES384', 'ES512', 'Ed25519', 'EdDSA', 'PS256', 'PS384', 'PS512', 'RS256'];
const WELL_KNOWN = '/.well-known/oauth-protected-resource';
const policies = { 'orders.yaml': ORDERS, 'tools.yaml': TOOLS, 'elsewhere.yaml': ELSEWHERE };

const body = ({ status, text }: Answer): unknown => (status === 200 ? JSON.parse(text) : status);

describe('what clients are told about where tokens come from', () => {
  let upstream: TestUpstream;
  let gateway: TestGateway;

  beforeAll(async () => {
    upstream = await TestUpstream.start();
    gateway = await TestGateway.start({
      upstreams: { up: upstream.url },
      policies,
      config: {
        listen: '{ host: 127.0.0.1, port: 0, trusted_proxies: [127.0.0.1] }',
        resource:
          '{ identifier: https://api.example.com, authorization_servers: [https://login.example.com], documentation: https://docs.example.com/, name: Example API }',
      },
    });
  });

  afterAll(async () => {
    await gateway?.close();
    await upstream?.close();
  });

  it('is told to anybody, as configured', async () => {
    const answer = await gateway.call(WELL_KNOWN);
    expect([answer.status, answer.headers]).toMatchObject([
      200,
      {
        'content-type': 'application/json',
        'cache-control': 'public, max-age=300',
        'access-control-allow-origin': '*',
      },
    ]);
    expect(JSON.parse(answer.text)).toEqual({
      resource: 'https://api.example.com',
      authorization_servers: ['https://login.example.com'],
      bearer_methods_supported: ['header'],
      dpop_signing_alg_values_supported: DPOP_ALGORITHMS,
      resource_name: 'Example API',
      resource_documentation: 'https://docs.example.com/',
    });
    expect(await gateway.eventOf(answer)).toMatchObject({ type: 'access.allowed', path: WELL_KNOWN, status: 200 });
    const head = await gateway.call(WELL_KNOWN, { method: 'HEAD' });
    expect([head.status, head.text]).toEqual([200, '']);
    // A bad token is nobody's business here.
    expect((await gateway.call(WELL_KNOWN, { token: 'nonsense' })).status).toBe(200);
    const posted = await gateway.call(WELL_KNOWN, { method: 'POST' });
    expect([posted.status, posted.headers['allow']]).toEqual([405, 'GET, HEAD']);
  });

  it('is told of an API by itself, where its policy says so', async () => {
    const there = { host: 'api.example.com' };
    expect(body(await gateway.call(`${WELL_KNOWN}/mcp`, { headers: there }))).toEqual({
      resource: 'https://api.example.com/mcp',
      authorization_servers: ['https://login.example.com/tools'],
      scopes_supported: ['items:use'],
      bearer_methods_supported: ['header'],
      dpop_signing_alg_values_supported: DPOP_ALGORITHMS,
      resource_name: 'Example API',
      resource_documentation: 'https://docs.example.com/tools',
    });
    // Of two on one path the host tells which; what it does not say is that of the listener.
    expect(body(await gateway.call(`${WELL_KNOWN}/mcp`, { headers: { host: 'other.example.com' } }))).toMatchObject({
      resource: 'https://other.example.com/mcp',
      authorization_servers: ['https://login.example.com'],
    });
    for (const path of [`${WELL_KNOWN}/orders`, `${WELL_KNOWN}/mcp/x`, `${WELL_KNOWN}/`, `${WELL_KNOWN}x`]) {
      expect([path, body(await gateway.call(path))]).toEqual([path, 401]);
    }
  });

  it('is pointed to by challenges, whatever host the client names', async () => {
    const challenge = async (path: string, options: Parameters<TestGateway['call']>[1] = {}): Promise<string> =>
      String((await gateway.call(path, options)).headers['www-authenticate']);
    const own = `resource_metadata="https://api.example.com${WELL_KNOWN}"`;
    expect(await challenge('/orders')).toBe(`Bearer realm="portcullis", ${own}`);
    expect(await challenge('/no/such/path', { headers: { host: 'evil.test', 'x-forwarded-host': 'evil.test' } })).toBe(
      `Bearer realm="portcullis", ${own}`,
    );
    expect(await challenge('/mcp')).toContain(`resource_metadata="https://api.example.com${WELL_KNOWN}/mcp"`);
    expect(await challenge('/orders', { token: 'nonsense' })).toContain(`error="invalid_token"`);
    expect(await challenge('/orders', { token: 'nonsense' })).toContain(own);
    const { token } = await gateway.issue({ scopes: ['items:other'] });
    const lacking = await challenge('/mcp', { token });
    expect(lacking).toContain('scope="items:use"');
    expect(lacking).toContain(`resource_metadata="https://api.example.com${WELL_KNOWN}/mcp"`);
    const asked = { 'x-original-method': 'GET', 'x-original-uri': '/mcp' };
    expect(await challenge('/.portcullis/authz', { headers: asked })).toContain(`${WELL_KNOWN}/mcp"`);
    const handshake = `GET /mcp HTTP/1.1\r\nhost: h\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n`;
    expect((await sendRaw(gateway.port, handshake)).text).toContain(`${WELL_KNOWN}/mcp"`);
  });

  it('never goes to an upstream, nor is decided on for another proxy', async () => {
    const asked = { 'x-original-method': 'GET', 'x-original-uri': WELL_KNOWN };
    expect(body(await gateway.call('/.portcullis/authz', { headers: asked }))).toBe(401);
    const absolute = await sendRaw(
      gateway.port,
      `GET http://api.example.com${WELL_KNOWN} HTTP/1.1\r\nhost: api.example.com\r\nconnection: close\r\n\r\n`,
    );
    expect(statusOf(absolute.text)).toBe(200);
    expect(upstream.seen).toEqual([]);
  });
});

describe('without that configuration', () => {
  it('nothing is told', async () => {
    const upstream = await TestUpstream.start();
    const gateway = await TestGateway.start({ upstreams: { up: upstream.url }, policies: { 'orders.yaml': ORDERS } });
    try {
      const answer = await gateway.call(WELL_KNOWN);
      expect([answer.status, answer.headers['www-authenticate']]).toEqual([401, 'Bearer realm="portcullis"']);
      const { token } = await gateway.issue();
      expect(body(await gateway.call(WELL_KNOWN, { token }))).toBe(403);
    } finally {
      await gateway.close();
      await upstream.close();
    }
  });
});

describe('an identifier', () => {
  const messages = (identifier: string): string => {
    const text = TOOLS.replace('https://api.example.com/mcp', identifier);
    const { diagnostics } = compilePolicy([{ name: 'tools.yaml', text }], { upstreams: null });
    return diagnostics.map(({ line, message }) => `${line}: ${message}`).join('\n');
  };

  it.each([
    'https://api.example.com',
    'https://api.example.com:8443/a/b',
    'http://localhost:8080/mcp',
    'http://[::1]:8080',
  ])('may be %s', (identifier) => expect(messages(JSON.stringify(identifier))).toBe(''));

  it.each([
    ['http://api.example.com', 'begins with https://'],
    ['ftp://api.example.com', 'begins with https://'],
    ['https://user:secret@api.example.com', 'must not hold credentials'],
    ['https://api.example.com/?a=b', 'no query and no fragment'],
    ['https://api.example.com#a', 'no query and no fragment'],
    ['https://API.example.com/', 'did you mean'],
    ['https://api.example.com/a/../b', 'did you mean'],
    ['https://api.example.com:443/', 'did you mean'],
    ['https://api.example.com/a//b', 'the path of an identifier'],
    ['https://api.example.com/%7Ea', 'the path of an identifier'],
    ['api.example.com', 'expected a URL'],
  ])('cannot be %s', (identifier, message) => {
    expect(messages(JSON.stringify(identifier))).toContain(`5: resource.identifier: `);
    expect(messages(JSON.stringify(identifier))).toContain(message);
    expect(messages(JSON.stringify(identifier))).not.toContain('secret');
  });

  it('belongs to one API', () => {
    const files = {
      'a.yaml': TOOLS,
      'b.yaml': TOOLS.replace('api: tools', 'api: more').replace('base: /mcp', 'base: /more'),
    };
    const given = Object.entries(files).map(([name, text]) => ({ name, text }));
    const { diagnostics } = compilePolicy(given, { upstreams: null });
    expect(diagnostics.map(({ message }) => message)).toEqual([
      'resource https://api.example.com/mcp is already that of api "tools" at a.yaml:1:1',
    ]);
  });
});
