import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { request } from 'undici';
import { afterEach, describe, expect, it } from 'vitest';
import { writeGatewayFiles } from '../support/gateway.ts';
import { GatewayProgram, runProgram } from '../support/gateway-program.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { TestUpstream } from '../support/upstream.ts';

const POLICY = `api: orders
upstream: orders
base: /orders
rules:
  - { name: read, methods: [GET], path: [/, "/{rest...}"], scopes: [orders:read] }
`;

describe.each(['embedded', 'redis'] as const)('with the %s store, a gateway that is', (kind) => {
  const cleanUp: (() => Promise<unknown>)[] = [];

  afterEach(async () => {
    for (const step of cleanUp.splice(0).reverse()) await step();
  });

  async function prepare(): Promise<{ folder: string; config: string; admin: string; upstream: TestUpstream }> {
    const folder = await mkdtemp(join(tmpdir(), 'portcullis-durability-'));
    cleanUp.push(() => rm(folder, { recursive: true, force: true }));
    const upstream = await TestUpstream.start();
    cleanUp.push(() => upstream.close());
    let store = '{ kind: embedded, path: ./data }';
    if (kind === 'redis') {
      const redis: RedisServer = await startRedis();
      cleanUp.push(() => redis.stop());
      store = `{ kind: redis, url: "${redis.url}" }`;
    }
    await writeGatewayFiles(folder, {
      upstreams: { orders: upstream.url },
      policies: { 'orders.yaml': POLICY },
      config: { store },
    });
    const config = join(folder, 'portcullis.yaml');
    const created = await runProgram(['admin-token', '--config', config, '--json']);
    expect({ code: created.code, stderr: created.stderr }).toEqual({ code: 0, stderr: '' });
    return { folder, config, admin: (JSON.parse(created.stdout) as { token: string }).token, upstream };
  }

  async function start(config: string): Promise<GatewayProgram> {
    const program = await GatewayProgram.start(config);
    cleanUp.push(async () => {
      if (program.child.exitCode === null && program.child.signalCode === null) await program.signal('SIGKILL');
    });
    return program;
  }

  async function issue(program: GatewayProgram, admin: string, name: string): Promise<string> {
    const { statusCode, body } = await request(`${program.adminUrl}/v1/tokens`, {
      method: 'POST',
      headers: { authorization: `Bearer ${admin}`, 'content-type': 'application/json' },
      body: JSON.stringify({ name, owner: 'tests', class: 'service', scopes: ['orders:read'] }),
    });
    const answer = (await body.json()) as { token: string };
    if (statusCode !== 201) throw new Error(`issue answered ${statusCode}`);
    return answer.token;
  }

  async function statusFor(program: GatewayProgram, token: string): Promise<number> {
    const { statusCode, body } = await request(`${program.trafficUrl}/orders`, {
      headers: { authorization: `Bearer ${token}` },
    });
    await body.dump();
    return statusCode;
  }

  it('killed (-9) in the middle of 1,000 issues has lost none that it acknowledged, and no event of one', async () => {
    const { config, admin, folder } = await prepare();
    const first = await start(config);
    const acknowledged: string[] = [];
    const enough = Promise.withResolvers<void>();
    const workers = Promise.allSettled(
      Array.from({ length: 4 }, async (_, worker) => {
        for (let i = 0; i < 250; i += 1) {
          acknowledged.push(await issue(first, admin, `w${worker}-${i}`));
          if (acknowledged.length === 400) enough.resolve();
        }
      }),
    );
    await enough.promise;
    await first.signal('SIGKILL');
    const ends = await workers;
    expect(ends.some(({ status }) => status === 'rejected')).toBe(true);
    expect(acknowledged.length).toBeLessThan(1000);

    const second = await start(config);
    const refused: string[] = [];
    for (const token of acknowledged) if ((await statusFor(second, token)) !== 200) refused.push(token);
    expect(refused).toEqual([]);
    const audit = await readFile(join(folder, 'data/audit.jsonl'), 'utf8');
    const issued = new Set([...audit.matchAll(/"type":"token\.issued"/g)].map((match) => lineAt(audit, match.index)));
    const ids = new Set([...issued].map((line) => (JSON.parse(line) as { token_id: string }).token_id));
    const prefix = 'pct_test_'.length;
    expect(acknowledged.filter((token) => !ids.has(token.slice(prefix, prefix + 12)))).toEqual([]);
    expect((await second.signal('SIGTERM')).code).toBe(0);
    const verified = await runProgram(['audit', 'verify', join(folder, 'data/audit.jsonl'), '--config', config]);
    expect({ code: verified.code, stderr: verified.stderr }).toMatchObject({ code: 0 });
  }, 120_000);

  it('stopped and started again knows every token, and every revocation', async () => {
    const { config, admin } = await prepare();
    const first = await start(config);
    const kept = await issue(first, admin, 'kept');
    const revoked = await issue(first, admin, 'revoked');
    const id = revoked.slice('pct_test_'.length, 'pct_test_'.length + 12);
    const { statusCode, body } = await request(`${first.adminUrl}/v1/tokens/${id}/revoke`, {
      method: 'POST',
      headers: { authorization: `Bearer ${admin}`, 'content-type': 'application/json' },
      body: '{"reason":"test"}',
    });
    await body.dump();
    expect(statusCode).toBe(200);
    expect(await statusFor(first, revoked)).toBe(401);
    expect(await first.signal('SIGTERM')).toEqual({ code: 0, signal: null });

    const second = await start(config);
    expect(await statusFor(second, kept)).toBe(200);
    expect(await statusFor(second, revoked)).toBe(401);
    expect((await second.signal('SIGINT')).code).toBe(0);
  }, 60_000);

  it('told to stop finishes what is in flight, and exits 0', async () => {
    const { config, admin, upstream } = await prepare();
    const program = await start(config);
    const token = await issue(program, admin, 'slow');
    const asked = Promise.withResolvers<() => void>();
    upstream.server.removeAllListeners('request');
    upstream.server.on('request', (_request, response) => asked.resolve(() => response.end('done')));
    const inFlight = request(`${program.trafficUrl}/orders`, { headers: { authorization: `Bearer ${token}` } });
    const finish = await asked.promise;
    const exited = program.signal('SIGTERM');
    await connectionRefused(program.port);
    finish();
    const { statusCode, body } = await inFlight;
    expect(statusCode).toBe(200);
    expect(await body.text()).toBe('done');
    expect(await exited).toEqual({ code: 0, signal: null });
  }, 60_000);
});

function lineAt(text: string, index: number): string {
  const start = text.lastIndexOf('\n', index) + 1;
  const end = text.indexOf('\n', index);
  return text.slice(start, end < 0 ? undefined : end);
}

/** Resolves as soon as nobody accepts on the port any more. */
async function connectionRefused(port: number): Promise<void> {
  for (;;) {
    try {
      const { body } = await request(`http://127.0.0.1:${port}/x`, { reset: true });
      await body.dump();
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ECONNREFUSED') return;
    }
  }
}
