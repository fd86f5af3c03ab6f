import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { copyFile, mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config/load.ts';
import { createTokenInStore } from '../../src/main/admin-token.ts';
import { TestGateway, writeGatewayFiles } from '../support/gateway.ts';
import { GatewayProgram } from '../support/gateway-program.ts';
import { ask, CLIENT_FILES, identity, openTls, SERVER_FILES } from '../support/tls-client.ts';
import { TestUpstream } from '../support/upstream.ts';

const POLICY = `api: orders
upstream: orders
base: /orders
rules:
  - { name: open, methods: [GET], path: ["/", "/{rest...}"], public: true }
`;

/** Until it is so: what is waited for is bounded by the test's own time. */
async function until(so: () => Promise<boolean>): Promise<void> {
  while (!(await so())) await new Promise((resolve) => setTimeout(resolve, 50));
}

/** Which of the two certificates a new handshake gets. */
async function served(port: number, who: string | null = 'alice'): Promise<'old' | 'renewed' | 'refused'> {
  let socket: TLSSocket;
  try {
    socket = await openTls(port, await identity(who));
  } catch {
    return 'refused';
  }
  try {
    const { fingerprint256 } = socket.getPeerCertificate();
    const answer = await ask(socket, '/orders');
    if (answer.status !== 200) throw new Error(`answered ${answer.status}`);
    return fingerprint256 === renewedFingerprint ? 'renewed' : 'old';
  } catch {
    return 'refused';
  } finally {
    socket.destroy();
  }
}

let renewedFingerprint = '';
let upstream: TestUpstream;
let folder: string;
let release: () => void = () => undefined;

async function setUp(names: { cert: string; ca: string }): Promise<void> {
  await putServer(names.cert);
  await copyFile(join(CLIENT_FILES, `${names.ca}.crt`), join(folder, 'tls/ca.crt'));
}

/** Written beside and moved into place, one after the other, as certbot and cert-manager do. */
async function putServer(name: string): Promise<void> {
  const from = name === 'old' ? join(SERVER_FILES, 'server') : join(CLIENT_FILES, 'renewed');
  for (const end of ['crt', 'key']) {
    await copyFile(`${from}.${end}`, join(folder, `tls/next.${end}`));
    await rename(join(folder, `tls/next.${end}`), join(folder, `tls/tls.${end}`));
  }
}

const TLS = 'tls: { cert: tls/tls.crt, key: tls/tls.key, client_ca: tls/ca.crt, client_auth: request }';
const options = (listen = `{ host: 127.0.0.1, port: 0, ${TLS} }`) => ({
  folder,
  upstreams: { orders: upstream.url },
  policies: { 'orders.yaml': POLICY },
  config: { listen },
});

beforeAll(async () => {
  renewedFingerprint = new X509Certificate(await readFile(join(CLIENT_FILES, 'renewed.crt'))).fingerprint256;
  upstream = await TestUpstream.start((request, response) => {
    if (request.url !== '/orders/slow') response.end('{"ok":true}');
    else {
      response.write('begun ');
      release = () => response.end('and done');
    }
  });
});
afterAll(() => upstream.close());
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'portcullis-certificates-'));
  await mkdir(join(folder, 'tls'));
  await setUp({ cert: 'old', ca: 'ca' });
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe('certificates of the listener', { timeout: 60_000 }, () => {
  let gateway: TestGateway;
  beforeEach(async () => {
    gateway = await TestGateway.start(options());
  });
  afterEach(() => gateway.close());

  it('are renewed when the files change, and open connections go on', async () => {
    expect(await served(gateway.port)).toBe('old');
    const open = await openTls(gateway.port, await identity('alice'));
    const slow = ask(open, '/orders/slow');
    await until(async () => upstream.seen.some(({ url }) => url === '/orders/slow'));
    await putServer('renewed');
    await until(async () => (await served(gateway.port)) === 'renewed');
    release();
    expect(await slow).toMatchObject({ status: 200, text: 'begun and done' });
    expect((await ask(open, '/orders')).status).toBe(200);
    open.destroy();
    expect(await gateway.event(({ type, details }) => type === 'config.loaded' && isTls(details))).toMatchObject({
      outcome: 'success',
      details: { part: 'listen.tls', expires_at: expect.stringMatching(/^2126-/) },
    });
    expect(await gateway.metric(/^portcullis_tls_reloads_total{result="success"}/)).toBe(1);
    // The moment between the two files was nobody's mistake.
    expect(await gateway.metric(/^portcullis_tls_reloads_total{result="failure"}/)).toBe(0);
    expect(await gateway.metric(/^portcullis_tls_certificate_expires_timestamp_seconds/)).toBeGreaterThan(4e9);
  });

  it('are renewed when a symbolic link above them is swapped, as Kubernetes does', async () => {
    await gateway.close();
    await mkdir(join(folder, 'mount/v1'), { recursive: true });
    await mkdir(join(folder, 'mount/v2'));
    const put = async (version: string, from: string): Promise<void> => {
      for (const end of ['crt', 'key']) await copyFile(`${from}.${end}`, join(folder, `mount/${version}/tls.${end}`));
    };
    await put('v1', join(SERVER_FILES, 'server'));
    await put('v2', join(CLIENT_FILES, 'renewed'));
    await symlink('v1', join(folder, 'mount/..data'));
    for (const end of ['crt', 'key']) await symlink(`..data/tls.${end}`, join(folder, `mount/tls.${end}`));
    gateway = await TestGateway.start(
      options('{ host: 127.0.0.1, port: 0, tls: { cert: mount/tls.crt, key: mount/tls.key } }'),
    );
    expect(await served(gateway.port)).toBe('old');
    await symlink('v2', join(folder, 'mount/..data_tmp'));
    await rename(join(folder, 'mount/..data_tmp'), join(folder, 'mount/..data'));
    await until(async () => (await served(gateway.port)) === 'renewed');
  });

  it('stay as they are where the new files cannot be used', async () => {
    await writeFile(join(folder, 'tls/ca.crt'), '-----BEGIN CERTIFICATE-----\nMIIB');
    const rejected = await gateway.event(({ type, outcome }) => type === 'config.loaded' && outcome === 'failure');
    expect(rejected).toMatchObject({
      details: { part: 'listen.tls', error: expect.stringContaining('holds no certificate in PEM') },
    });
    expect(await served(gateway.port)).toBe('old');
    expect(await served(gateway.port, 'mallory')).toBe('refused');
    expect(await gateway.metric(/^portcullis_tls_reloads_total{result="failure"}/)).toBe(1);
    await setUp({ cert: 'renewed', ca: 'ca' });
    await until(async () => (await served(gateway.port)) === 'renewed');
  });

  it('are looked at on request (SIGHUP), and what is wrong is told at once', async () => {
    await rm(join(folder, 'tls/tls.key'));
    await gateway.running.reload();
    expect(await gateway.event(({ outcome }) => outcome === 'failure')).toMatchObject({
      type: 'config.loaded',
      details: { error: expect.stringContaining('ENOENT') },
    });
    await putServer('renewed');
    await gateway.running.reload();
    expect(await served(gateway.port)).toBe('renewed');
  });

  it('of clients: a new authority counts for new handshakes, resumed sessions and idle connections', async () => {
    const alice = await identity('alice');
    const idle = await openTls(gateway.port, alice);
    const session = once(idle, 'session');
    expect((await ask(idle, '/orders')).status).toBe(200);
    const [ticket] = (await session) as [Buffer];
    const busy = await openTls(gateway.port, alice);
    const slow = ask(busy, '/orders/slow');
    const seen = upstream.seen.length;
    await until(async () => upstream.seen.length > seen);
    const [idleOver, busyOver] = [once(idle, 'close'), once(busy, 'close')];

    await setUp({ cert: 'old', ca: 'other-ca' });
    await gateway.running.reload();
    expect([await served(gateway.port, 'alice'), await served(gateway.port, 'mallory')]).toEqual(['refused', 'old']);
    expect(await served(gateway.port, null)).toBe('old');
    // The old certificate opens nothing more, neither at once nor by a ticket; what was under way is answered first.
    await idleOver;
    release();
    expect(await slow).toMatchObject({ status: 200, text: 'begun and done' });
    await busyOver;
    const before = upstream.seen.length;
    const again = await openTls(gateway.port, { ...alice, session: ticket }).catch(() => null);
    expect(again?.isSessionReused() ?? false).toBe(false);
    if (again !== null) await expect(ask(again, '/orders')).rejects.toThrow();
    expect(upstream.seen.length).toBe(before);
  });
});

function isTls(details: unknown): boolean {
  return typeof details === 'object' && details !== null && 'part' in details;
}

describe('workers', { timeout: 60_000 }, () => {
  it('renew their certificates each, also on SIGHUP', async () => {
    await writeGatewayFiles(folder, {
      ...options(),
      config: { ...options().config, workers: '2', log: '{ level: fatal }' },
    });
    const file = join(folder, 'portcullis.yaml');
    const { config } = await loadConfig(file, {});
    if (config === null) throw new Error('the configuration of the test is wrong');
    await createTokenInStore(config, { name: 'a', owner: 'tests', class: 'admin', scopes: ['*'], ttlMs: null });
    const program = await GatewayProgram.start(file);
    try {
      expect(await served(program.port)).toBe('old');
      await putServer('renewed');
      program.child.kill('SIGHUP');
      // New connections go to either worker; twelve in a row without the old one mean that both have heard.
      await until(async () => {
        for (let i = 0; i < 12; i += 1) if ((await served(program.port)) !== 'renewed') return false;
        return true;
      });
    } finally {
      await program.signal('SIGTERM');
    }
  });
});
