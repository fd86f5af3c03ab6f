/*
 * What operators do to policies while requests go on: reloads good and bad, and every way in which a folder changes.
 */
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { Agent, get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type AuditLine, TestGateway, type TestGatewayOptions } from '../support/gateway.ts';
import { TestUpstream } from '../support/upstream.ts';

const api = (scope: string, more = ''): string => `api: orders
upstream: orders
base: /orders
rules:
  - { name: read, methods: [GET], path: /, scopes: [${scope}] }
${more}`;

const OPEN = api('orders:read');
const CLOSED = api('orders:other');
const BAD = api('orders:read', 'rulez: []\nmode: sometimes\n');

const CLASSES = 'classes:\n  service: { max_ttl: 90d, default_ttl: 30d, scopes: ["orders:*"] }\n';

const RELOADS = 100;
const CONNECTIONS = 3;

let upstream: TestUpstream;
beforeAll(async () => {
  upstream = await TestUpstream.start();
});
afterAll(() => upstream?.close());

const options = (more: Partial<TestGatewayOptions> = {}): TestGatewayOptions => ({
  upstreams: { orders: upstream.url },
  policies: { 'orders.yaml': OPEN },
  ...more,
});

describe('a storm of reloads under load', () => {
  it('drops nothing, and every answer is that of one policy', { timeout: 60_000 }, async () => {
    const gateway = await TestGateway.start(options());
    const { token } = await gateway.issue();
    const file = join(gateway.folder, 'policies/orders.yaml');
    const load = new Load(`${gateway.url}/orders`, token);
    const expected = new Map<string, number>([[await versionOf(gateway), 200]]);
    const rejected: number[] = [];
    for (let i = 0; i < RELOADS; i += 1) {
      const text = [CLOSED, BAD, OPEN, BAD][i % 4] ?? '';
      await replace(file, text);
      const answer = await gateway.admin('POST', '/v1/policies/reload');
      if (text === BAD) rejected.push(answer.status);
      else expected.set((JSON.parse(answer.text) as { version: string }).version, text === OPEN ? 200 : 403);
    }
    const answers = await load.stop();

    expect([...new Set(rejected)]).toEqual([422]);
    expect(rejected).toHaveLength(RELOADS / 2);
    expect([...expected.values()].toSorted()).toEqual([200, 403]);
    expect(answers.length).toBeGreaterThan(RELOADS);
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200, 403]));
    const events = new Map((await allRecorded(gateway, answers.length)).map((event) => [event.request_id, event]));
    const wrong = answers.filter(({ id, status }) => {
      const event = events.get(id);
      return event === undefined || event.status !== status || expected.get(String(event['policy'])) !== status;
    });
    expect(wrong).toEqual([]);
    // The folder is watched as well, which may have come to see a file between its renaming and the call.
    const rejections = (await gateway.auditLines()).filter(({ type }) => type === 'policy.rejected').length;
    expect(rejections).toBeGreaterThanOrEqual(RELOADS / 2);
    expect(await gateway.metric(/^portcullis_policy_reloads_total\{result="failure"\}/)).toBe(rejections);
    await gateway.close();
  });
});

describe('a rejected policy', () => {
  it('is told everywhere with all its errors, until the files load again', async () => {
    const gateway = await TestGateway.start(options());
    const { token } = await gateway.issue();
    const file = join(gateway.folder, 'policies/orders.yaml');
    const version = await versionOf(gateway);
    await replace(file, BAD);
    const answer = await gateway.admin('POST', '/v1/policies/reload');
    expect(answer).toMatchObject({ status: 422, problem: { reason: 'policy_rejected' } });
    expect((JSON.parse(answer.text) as { errors: unknown[] }).errors).toHaveLength(2);

    expect((await gateway.call('/orders', { token })).status).toBe(200);
    expect(await shown(gateway)).toMatchObject({
      status: 'rejected',
      version,
      rejected_at: expect.any(String),
      last_error: [
        { severity: 'error', line: 6 },
        { severity: 'error', line: 7 },
      ],
    });
    expect(await gateway.metric(/^portcullis_policy_in_step/)).toBe(0);
    expect(await gateway.event(({ type }) => type === 'policy.rejected')).toMatchObject({
      outcome: 'failure',
      policy: version,
      details: { count: 2, errors: [expect.stringContaining('rulez'), expect.stringContaining(':7:7: mode: ')] },
    });

    await replace(file, OPEN);
    expect((await gateway.admin('POST', '/v1/policies/reload')).status).toBe(200);
    expect(await shown(gateway)).toMatchObject({ status: 'in_force', version, rejected_at: null, last_error: null });
    expect(await gateway.metric(/^portcullis_policy_in_step/)).toBe(1);
    expect((await loadedEvent(gateway, 2))['policy']).toBe(version);
    await gateway.close();
  });
});

describe('a change of the folder is taken up', () => {
  let gateway: TestGateway;
  let folder: string;
  let token: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'portcullis-reload-'));
  });
  afterEach(async () => {
    await gateway?.close();
    await rm(folder, { recursive: true, force: true });
  });

  const start = async (policies: string): Promise<void> => {
    gateway = await TestGateway.start(options({ config: { policies } }));
    ({ token } = await gateway.issue());
    expect(await status()).toBe(200);
  };
  const status = async (): Promise<number> => (await gateway.call('/orders', { token })).status;

  it('several files at once are one reload', async () => {
    await mkdir(join(folder, 'policies'));
    await replace(join(folder, 'policies/orders.yaml'), OPEN);
    await replace(join(folder, 'policies/classes.yaml'), CLASSES);
    await start(join(folder, 'policies'));
    await writeFile(
      join(folder, 'policies/more.yaml'),
      OPEN.replace('api: orders', 'api: more').replace('/orders', '/more'),
    );
    await replace(join(folder, 'policies/orders.yaml'), CLOSED);
    await replace(join(folder, 'policies/classes.yaml'), CLASSES.replace('90d', '80d'));
    const version = (await loadedEvent(gateway, 2))['policy'];
    expect(await status()).toBe(403);
    expect(await shown(gateway)).toMatchObject({ version, apis: [{ name: 'more' }, { name: 'orders' }] });
    expect(await gateway.metric(/^portcullis_policy_reloads_total/)).toBe(2);
  });

  it('where the files are symbolic links behind one that is swapped, as Kubernetes mounts them', async () => {
    const mount = join(folder, 'mounted');
    for (const [name, text] of [
      ['..one', OPEN],
      ['..two', CLOSED],
    ] as const) {
      await mkdir(join(mount, name), { recursive: true });
      await writeFile(join(mount, name, 'orders.yaml'), text);
      await writeFile(join(mount, name, 'classes.yaml'), CLASSES);
    }
    await symlink('..one', join(mount, '..data'));
    await symlink('..data/orders.yaml', join(mount, 'orders.yaml'));
    await symlink('..data/classes.yaml', join(mount, 'classes.yaml'));
    await start(mount);
    await symlink('..two', join(mount, '..data_tmp'));
    await rename(join(mount, '..data_tmp'), join(mount, '..data'));
    await loadedEvent(gateway, 2);
    expect(await status()).toBe(403);
  });

  it('where the folder itself is a symbolic link that is swapped, or is taken away and made anew', async () => {
    for (const [name, text] of [
      ['one', OPEN],
      ['two', CLOSED],
    ] as const) {
      await mkdir(join(folder, name));
      await writeFile(join(folder, name, 'orders.yaml'), text);
      await writeFile(join(folder, name, 'classes.yaml'), CLASSES);
    }
    const link = join(folder, 'current');
    await symlink('one', link);
    await start(link);
    await symlink('two', `${link}.new`);
    await rename(`${link}.new`, link);
    await loadedEvent(gateway, 2);
    expect(await status()).toBe(403);

    await rename(join(folder, 'two'), join(folder, 'away'));
    await gateway.event(({ type }) => type === 'policy.rejected');
    expect(await status()).toBe(403);
    await rename(join(folder, 'away'), join(folder, 'two'));
    await replace(join(folder, 'two/orders.yaml'), OPEN);
    await loadedEvent(gateway, 3);
    expect(await status()).toBe(200);
  });
});

interface LoadAnswer {
  readonly id: string;
  readonly status: number;
}

/** Requests over a few connections that stay open, one after another on each. A connection that fails fails `stop`. */
class Load {
  readonly #answers: LoadAnswer[] = [];
  readonly #agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  readonly #lines: Promise<void>[];
  #stopped = false;

  constructor(url: string, token: string) {
    this.#lines = Array.from({ length: CONNECTIONS }, async () => {
      while (!this.#stopped) this.#answers.push(await this.#one(url, token));
    });
  }

  async stop(): Promise<readonly LoadAnswer[]> {
    this.#stopped = true;
    await Promise.all(this.#lines);
    this.#agent.destroy();
    return this.#answers;
  }

  #one(url: string, token: string): Promise<LoadAnswer> {
    return new Promise((resolve, reject) => {
      get(url, { agent: this.#agent, headers: { authorization: `Bearer ${token}` } }, (response) => {
        const id = String(response.headers['portcullis-request-id']);
        response.resume().on('end', () => resolve({ id, status: response.statusCode ?? 0 }));
        response.on('error', reject);
      }).on('error', reject);
    });
  }
}

/** The access events of so many requests, as soon as they are all written. */
async function allRecorded(gateway: TestGateway, count: number): Promise<AuditLine[]> {
  let found: AuditLine[] = [];
  const access = (line: AuditLine): boolean => line.type.startsWith('access.');
  while (found.length < count) {
    const seen = found.length;
    found = (await gateway.auditLines()).filter(access);
    if (found.length === seen) await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return found;
}

/** The n-th load of a policy, once it is recorded. */
async function loadedEvent(gateway: TestGateway, nth: number): Promise<AuditLine> {
  const loaded: number[] = [];
  return await gateway.event(({ type, seq }) => {
    if (type === 'policy.loaded' && !loaded.includes(seq)) loaded.push(seq);
    return type === 'policy.loaded' && loaded.indexOf(seq) === nth - 1;
  }, 30_000);
}

async function shown(gateway: TestGateway): Promise<{ readonly version: string }> {
  return JSON.parse((await gateway.admin('GET', '/v1/policies')).text) as { version: string };
}

async function versionOf(gateway: TestGateway): Promise<string> {
  return (await shown(gateway)).version;
}

/** As editors and deployments do it: a whole file in one step. */
async function replace(file: string, text: string): Promise<void> {
  await writeFile(`${file}.new`, text);
  await rename(`${file}.new`, file);
}
