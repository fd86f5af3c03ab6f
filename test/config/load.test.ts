import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterAll, describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config/load.ts';

const folder = mkdtempSync(join(tmpdir(), 'portcullis-config-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const file = join(folder, 'portcullis.yaml');

async function load(yaml: string, env: Record<string, string> = {}) {
  writeFileSync(file, yaml);
  const { config, diagnostics } = await loadConfig(file, env);
  const told = diagnostics.map(({ line, col, severity, message }) => `${line}:${col}: ${severity}: ${message}`);
  return { config, told };
}

async function errors(yaml: string, env: Record<string, string> = {}): Promise<readonly string[]> {
  const { config, told } = await load(yaml, env);
  expect(config).toBeNull();
  return told.map((line) => line.replace(': error:', ':'));
}

describe('a configuration of two keys', () => {
  it('is complete, with every default', async () => {
    const { config, told } = await load('upstreams: { orders: { url: "http://127.0.0.1:9000" } }\npolicies: rules\n');
    expect(told).toEqual([]);
    expect(config).toEqual({
      file,
      environment: 'prod',
      listen: {
        host: '127.0.0.1',
        port: 8080,
        tls: null,
        trustedProxies: [],
        limits: {
          headerBytes: 16_384,
          headers: 100,
          bodyBytes: null,
          mcpMessageBytes: 65_536,
          headerTimeoutMs: 10_000,
          requestTimeoutMs: 300_000,
          idleTimeoutMs: 60_000,
          connections: 10_000,
        },
      },
      workers: 1,
      admin: { host: '127.0.0.1', port: 9090 },
      store: { kind: 'embedded', path: join(folder, 'data'), leaseMs: 2000, onUnavailable: 'deny', maxStaleMs: 30_000 },
      tokens: {
        prefix: 'pct',
        accept: [
          { header: 'authorization', scheme: 'Bearer' },
          { header: 'x-api-key', scheme: null },
        ],
        expiryWarningMs: 604_800_000,
        pepper: null,
        dpop: { nonce: 'off', proofLifetimeMs: 60_000, clockSkewMs: 5000 },
      },
      upstreams: new Map([
        [
          'orders',
          {
            name: 'orders',
            url: new URL('http://127.0.0.1:9000'),
            preserveHost: false,
            connectTimeoutMs: 5000,
            responseTimeoutMs: 60_000,
            credential: null,
            assertion: false,
          },
        ],
      ]),
      issuers: [],
      introspection: [],
      assertion: null,
      resource: null,
      policies: join(folder, 'rules'),
      audit: { sinks: [{ kind: 'file', path: join(folder, 'data', 'audit.jsonl') }], onFull: 'drop' },
      log: { level: 'info' },
    });
  });

  it('gives the headers no longer than the whole request', async () => {
    const { config } = await load('listen: { limits: { request_timeout: 2s } }');
    expect(config?.listen.limits).toMatchObject({ headerTimeoutMs: 2000, requestTimeoutMs: 2000 });
  });

  it('may even be empty', async () => {
    expect((await load('')).config?.upstreams.size).toBe(0);
  });
});

describe('what is wrong', () => {
  it('is said all at once, each at its place, with the nearest known key', async () => {
    expect(
      await errors(
        [
          'environment: Prod',
          'listn: {}',
          'listen:',
          '  port: 99999',
          '  trusted_proxies: [10.0.0.0/8, 10.0.0.0/33, 10.0.0.0/8]',
          '  limits: { header_bytes: 16kb, body_bytes: 12, header_timout: 3s, idle_timeout: 0s }',
          'tokens:',
          '  prefix: a_b',
          '  accept: [{ header: connection }, { header: X-Api-Key }, { header: x-api-key }]',
          'upstreams:',
          '  orders: { url: ftp://x, credential: { header: Host, value: { env: ORDERS_KEY } } }',
          '  other: { ulr: "http://x" }',
          '  "": { url: "http://x?y" }',
          'log: { level: inf }',
        ].join('\n'),
      ),
    ).toEqual([
      '1:14: environment: expected 1 to 32 of a-z, 0-9 and -',
      '2:1: unknown key "listn"; did you mean "listen"?',
      '4:9: listen.port: must be at most 65535',
      '5:33: listen.trusted_proxies[1]: the prefix length of "10.0.0.0/33" must be a number from 0 to 32; did you mean "10.0.0.0/32"?',
      '5:46: listen.trusted_proxies[2]: the same as item 1 of the list',
      '6:27: listen.limits.header_bytes: expected a size such as 512B, 16KiB or 10MiB, got "16kb"',
      '6:45: listen.limits.body_bytes: expected a size such as 10MiB, or none',
      '6:49: unknown key "header_timout" in listen.limits; did you mean "header_timeout"?',
      '6:82: listen.limits.idle_timeout: must be more than zero',
      '8:11: tokens.prefix: expected 2 to 16 of a-z and 0-9',
      '9:22: tokens.accept[0].header: connection belongs to the connection or its framing and cannot be used here',
      '9:59: tokens.accept[2]: the same as item 2 of the list',
      '11:18: upstreams.orders.url: expected a URL that begins with http:// or https://',
      '11:49: upstreams.orders.credential.header: host belongs to the connection or its framing and cannot be used here',
      '11:62: upstreams.orders.credential.value: environment variable ORDERS_KEY is not set',
      '12:10: missing key "url" in upstreams.other',
      '12:12: unknown key "ulr" in upstreams.other; did you mean "url"?',
      '13:3: "": the name of an upstream begins with a letter or digit and holds only those, dot, - and _',
      '14:15: log.level: expected one of "fatal", "error", "warn", "info", "debug", "trace", "silent"; did you mean "info"?',
    ]);
  });

  it.each([
    [
      'admin: { port: 8080 }',
      '1:16: admin.port: the admin listener needs another address or port than the traffic listener',
    ],
    ['workers: 0', '1:10: workers: expected a number of processes from 1 to 128, or auto'],
    ['workers: 1.5', '1:10: workers: expected a number of processes from 1 to 128, or auto'],
    ['workers: many', '1:10: workers: expected a number of processes from 1 to 128, or auto'],
    [
      'audit: { sinks: [{ kind: http, url: x }] }',
      '1:26: audit.sinks[0].kind: audit sink http is not available in this version',
    ],
    [
      'audit: { sinks: [{ kind: redis-stream }] }',
      '1:26: audit.sinks[0].kind: audit sink redis-stream is not available in this version',
    ],
    ['audit: { sinks: [{ kind: fil }] }', '1:26: audit.sinks[0].kind: expected a sink of kind: file or kind: stdout'],
    ['audit: { sinks: [{ kind: stdout }, { kind: stdout }] }', '1:36: audit.sinks[1]: the same as item 1 of the list'],
    [
      'upstreams: { a: { url: "http://x", assertion: true } }',
      '1:47: upstreams.a.assertion: a key is needed to sign with; write assertion: { keys: { file: PATH } } (openssl genpkey -algorithm ed25519)',
    ],
    [
      'upstreams: { a: { url: "http://x/?y=1" } }',
      '1:24: upstreams.a.url: a query cannot be part of the URL of an upstream',
    ],
    ['listen: { host: 300.1.1.1 }', '1:17: listen.host: "300.1.1.1" is neither an address nor a host name'],
    [
      'listen: { host: "[::1]" }',
      '1:17: listen.host: "[::1]" is neither an address nor a host name (an IPv6 address is written without brackets)',
    ],
    ['listen: { limits: { request_timeout: 30d } }', '1:38: listen.limits.request_timeout: must be at most 24d'],
    ['tokens: { accept: [] }', '1:19: tokens.accept: at least one header is needed'],
    [`environment: \${ENVIRONMENT}`, '1:14: environment: expected 1 to 32 of a-z, 0-9 and -'],
    ['environment: prod\nenvironment: test', '2:1: Map keys must be unique'],
    ['- a list', '1:1: expected object, received array'],
  ])('%s', async (yaml, expected) => {
    expect(await errors(yaml)).toEqual([expected]);
  });

  it('is an unreadable file, too', async () => {
    const missing = join(folder, 'missing.yaml');
    expect(await loadConfig(missing, {})).toEqual({
      config: null,
      policies: null,
      diagnostics: [{ severity: 'error', file: missing, line: 1, col: 1, message: 'cannot be read (ENOENT)' }],
    });
  });
});

describe('a secret', () => {
  const INLINE =
    'a secret cannot stand in the configuration itself; write { env: NAME } or { file: PATH } in its place';

  it('comes from the environment, or from a file without its last newline', async () => {
    writeFileSync(join(folder, 'orders-key'), 'Basic c2VjcmV0\n\n');
    const { config, told } = await load(
      [
        'tokens: { pepper: { env: PEPPER } }',
        'upstreams: { a: { url: "http://x", credential: { header: Authorization, value: { file: tail } } } }',
      ].join('\n'),
      { PEPPER: 'salt and pepper' },
    );
    expect([config, told]).toEqual([
      null,
      [`2:80: error: upstreams.a.credential.value: secret file ${join(folder, 'tail')} cannot be read (ENOENT)`],
    ]);
    writeFileSync(join(folder, 'tail'), 'Basic c2VjcmV0\n');
    const second = await loadConfig(file, { PEPPER: 'salt and pepper' });
    expect(second.config?.tokens.pepper?.reveal()).toBe('salt and pepper');
    const credential = second.config?.upstreams.get('a')?.credential;
    expect([credential?.header, credential?.value.value.reveal(), credential?.value.file]).toEqual([
      'authorization',
      'Basic c2VjcmV0',
      join(folder, 'tail'),
    ]);
    expect(inspect(second, { depth: 9 }) + JSON.stringify(second)).not.toMatch(/pepper and|salt|c2Vj/);
  });

  it.each([
    ['tokens: { pepper: hunter2 }', `1:19: tokens.pepper: ${INLINE}`],
    [
      'tokens: { pepper: { env: "hunter2!" } }',
      '1:19: tokens.pepper: env: expected the name of an environment variable',
    ],
    ['tokens: { pepper: {} }', '1:19: tokens.pepper: expected { env: NAME } or { file: PATH }'],
    ['tokens: { pepper: { env: A, file: b } }', '1:19: tokens.pepper: expected env or file, not both'],
    ['tokens: { pepper: { env: EMPTY } }', '1:19: tokens.pepper: environment variable EMPTY is empty'],
    ['tokens: { pepper: { file: . } }', `1:19: tokens.pepper: secret file ${folder} is not a file`],
    [
      'upstreams: { a: { url: "http://user:hunter2@x" } }',
      '1:24: upstreams.a.url: a URL must not hold credentials; use credential: { header, value: { env: NAME } }',
    ],
    [
      'upstreams: { a: { url: "http://x", credential: { header: x-key, value: hunter2 } } }',
      `1:72: upstreams.a.credential.value: ${INLINE}`,
    ],
    [
      'upstreams: { a: { url: "http://x", credential: { header: x-key, value: { env: TWO_LINES } } } }',
      '1:72: upstreams.a.credential.value: the secret holds characters that cannot stand in a header',
    ],
    [
      'store: { kind: redis, url: "redis://:hunter2@127.0.0.1" }',
      `1:28: store.url: the URL holds a password: ${INLINE}`,
    ],
    [
      'store: { kind: redis, url: { env: NOT_A_URL } }',
      '1:28: store.url: expected a URL such as redis://127.0.0.1:6379/0 (rediss:// for TLS)',
    ],
  ])('is never repeated: %s', async (yaml, expected) => {
    const told = await errors(yaml, { EMPTY: '', TWO_LINES: 'hunter2\r\nX: y', NOT_A_URL: 'hunter2' });
    expect(told).toEqual([expected]);
    expect(told.join()).not.toContain('hunter2');
  });
});

describe('the store', () => {
  it.each([
    ['{ kind: embedded, name: x }', '1:32: store.name: belongs to kind: redis, and this store is kind: embedded'],
    ['{ kind: redis, url: "redis://h", nam: m }', '1:41: unknown key "nam" in store; did you mean "name"?'],
    ['{ url: "redis://h" }', '1:8: store: url needs kind: redis; without kind the store is embedded'],
    [
      '{ kind: redis, url: "redis://h", path: x }',
      '1:47: store.path: belongs to kind: embedded, and this store is kind: redis',
    ],
    ['{ kind: redis }', '1:8: store: kind: redis needs exactly one of url, sentinels (with name) and cluster'],
    [
      '{ kind: redis, url: "redis://h", cluster: [h] }',
      '1:50: store.cluster: cannot stand beside url: exactly one of url, sentinels (with name) and cluster',
    ],
    ['{ kind: redis, sentinels: [h] }', '1:8: store: sentinels need name, the master that they watch'],
    ['{ kind: redis, url: "redis://h", name: m }', '1:8: store: name has a meaning only with sentinels'],
    [
      '{ kind: redis, cluster: ["redis://h:1"] }',
      '1:33: store.cluster[0]: expected host:port, without a scheme and without credentials',
    ],
    [
      '{ lease: 99ms }',
      '1:17: store.lease: must be at least 100ms: a lease is renewed five times while it lasts, and a shorter one would be over before its renewals arrive',
    ],
    ['{ kind: mysql }', '1:16: store.kind: expected one of "embedded", "redis"'],
    [
      '{ kind: redis, url: "http://h" }',
      '1:28: store.url: expected a URL such as redis://127.0.0.1:6379/0 (rediss:// for TLS)',
    ],
    [
      '{ kind: redis, url: { env: URL }, password: { env: PASSWORD } }',
      '1:52: store.password: the url holds a password already',
    ],
    [
      '{ kind: redis, url: "redis://h", tls: { ca: ../tls/none } }',
      '1:46: store.tls: needs a url that begins with rediss://',
    ],
    [
      '{ kind: redis, url: "rediss://h", tls: { ca: none } }',
      expect.stringMatching(/^1:53: store\.tls\.ca: .*none cannot be read \(ENOENT\)$/),
    ],
    [
      '{ kind: redis, url: "redis://h", username: ann }',
      '1:51: store.username: the user stands in the url: redis://user@host',
    ],
    [
      '{ kind: redis, url: "redis://h", wait_timeout: 1s }',
      '1:55: store.wait_timeout: has a meaning only with wait_replicas',
    ],
    ['{ wait_replicas: 1 }', '1:8: store: wait_replicas needs kind: redis; without kind the store is embedded'],
  ])('store: %s', async (yaml, expected) => {
    expect(await errors(`store: ${yaml}`, { URL: 'redis://:a@h', PASSWORD: 'b' })).toEqual([expected]);
  });

  it('is a Redis server, with its password put into the URL', async () => {
    const { config } = await load(
      'store: { kind: redis, url: "redis://h:1/2", password: { env: PASSWORD }, lease: 5s }',
      {
        PASSWORD: 'p@ss/%20',
      },
    );
    expect(config?.store).toMatchObject({ kind: 'redis', keyPrefix: 'portcullis', leaseMs: 5000 });
    const connection = config?.store.kind === 'redis' ? config.store.connection : null;
    const url = connection?.kind === 'standalone' ? connection.url.reveal() : '';
    expect([url, decodeURIComponent(new URL(url).password)]).toEqual(['redis://:p%40ss%2F%2520@h:1/2', 'p@ss/%20']);
  });

  it('waits for replicas when it is told to', async () => {
    const waiting = await load('store: { kind: redis, url: "redis://h", wait_replicas: 2 }');
    expect(waiting.config?.store).toMatchObject({ wait: { replicas: 2, timeoutMs: 500 }, tls: null });
    const not = await load('store: { kind: redis, url: "redis://h", wait_replicas: 0 }');
    expect(not.config?.store).toMatchObject({ wait: null });
  });

  it('is a set of sentinels, or a cluster', async () => {
    const sentinel = await load('store: { kind: redis, sentinels: [a, "b:1", "[::1]:2"], name: m }');
    expect(sentinel.config?.store).toMatchObject({
      connection: {
        kind: 'sentinel',
        sentinels: ['a:6379', 'b:1', '[::1]:2'],
        name: 'm',
        username: null,
        password: null,
      },
    });
    const cluster = await load('store: { kind: redis, cluster: ["a:1"], key_prefix: "gate:prod" }');
    expect(cluster.config?.store).toMatchObject({
      keyPrefix: 'gate:prod',
      connection: { kind: 'cluster', nodes: ['a:1'], username: null, password: null },
    });
  });

  it('warns of what serve_cached gives up', async () => {
    const { config, told } = await load('store: { on_unavailable: serve_cached, max_stale: 10s }');
    expect(config?.store).toMatchObject({ onUnavailable: 'serve_cached', maxStaleMs: 10_000 });
    expect(told).toEqual([
      '1:26: warning: store.on_unavailable: serve_cached weakens revocation: while the store is lost, a revoked token ' +
        'may be let in for as long as max_stale',
    ]);
  });
});

describe('TLS', () => {
  const certificate = (name: string) =>
    execFileSync(
      'openssl',
      [
        ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '1'],
        ...['-subj', '/CN=localhost', '-keyout', join(folder, `${name}.key`), '-out', join(folder, `${name}.crt`)],
      ],
      { stdio: 'ignore' },
    );

  it('takes a certificate with its key', async () => {
    certificate('one');
    const { config, told } = await load('listen: { tls: { cert: one.crt, key: one.key, client_ca: one.crt } }');
    expect(told).toEqual([]);
    expect(config?.listen.tls).toEqual({
      cert: join(folder, 'one.crt'),
      key: join(folder, 'one.key'),
      clientCa: join(folder, 'one.crt'),
      clientAuth: 'require',
    });
  });

  it('refuses files that are missing, are something else or do not belong together', async () => {
    certificate('one');
    certificate('two');
    writeFileSync(join(folder, 'text'), 'not a certificate');
    expect(await errors('listen: { tls: { cert: nope.crt, key: text } }')).toEqual([
      `1:24: listen.tls.cert: ${join(folder, 'nope.crt')} cannot be read (ENOENT)`,
      `1:39: listen.tls.key: ${join(folder, 'text')} holds no private key in PEM without a passphrase`,
    ]);
    expect(await errors('listen: { tls: { cert: one.crt, key: two.key } }')).toEqual([
      `1:38: listen.tls.key: ${join(folder, 'two.key')} does not belong to cert`,
    ]);
    expect(await errors('listen: { tls: { cert: one.crt, key: one.key, client_ca: text } }')).toEqual([
      `1:58: listen.tls.client_ca: ${join(folder, 'text')} holds no certificate in PEM`,
    ]);
    expect(await errors('listen: { tls: { cert: one.crt, key: one.key, client_auth: request } }')).toEqual([
      '1:60: listen.tls.client_auth: is of no use without client_ca',
    ]);
    expect(await errors('listen: { tls: { cert: one.crt } }')).toEqual(['1:16: missing key "key" in listen.tls']);
  });
});
