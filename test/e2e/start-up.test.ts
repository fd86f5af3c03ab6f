import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestGateway } from '../support/gateway.ts';
import { runProgram } from '../support/gateway-program.ts';
import { TestUpstream } from '../support/upstream.ts';

const POLICY = `api: orders
upstream: orders
rules:
  - { name: read, methods: [GET], path: /, scopes: [orders:read] }
`;

describe('a gateway that cannot start says why, ends with 1, and disturbs nothing', () => {
  let upstream: TestUpstream;
  let gateway: TestGateway;

  beforeAll(async () => {
    upstream = await TestUpstream.start();
    gateway = await TestGateway.start({ upstreams: { orders: upstream.url }, policies: { 'orders.yaml': POLICY } });
  });

  afterAll(async () => {
    await gateway?.close();
    await upstream?.close();
  });

  async function serveWith(from: string, to: string): Promise<{ code: number | null; stderr: string }> {
    const text = await readFile(await gateway.secondConfig(), 'utf8');
    const file = join(gateway.folder, 'wrong.yaml');
    await writeFile(file, text.replace(from, to));
    const { code, stderr } = await runProgram(['serve', '--config', file]);
    return { code, stderr };
  }

  it('because another process writes its audit file', async () => {
    const { code, stderr } = await serveWith('audit-second.jsonl', 'audit.jsonl');
    expect(code).toBe(1);
    expect(stderr).toMatch(/data\/audit\.jsonl: another gateway writes this audit file/);
    expect((await gateway.auditLines()).filter(({ type }) => type === 'chain.start')).toHaveLength(1);
    expect((await gateway.call('/')).status).toBe(401);
  });

  it('because its port is taken', async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    const address = taken.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const { code, stderr } = await serveWith(
      'listen: { host: 127.0.0.1, port: 0 }',
      `listen: { host: 127.0.0.1, port: ${port} }`,
    );
    expect(code).toBe(1);
    expect(stderr).toContain(`listen.host and listen.port: 127.0.0.1:${port} is in use already`);
    await new Promise((resolve) => taken.close(resolve));
  });

  it('because its store cannot be made', async () => {
    for (const [path, why] of [
      ['/proc/nope/deeper', /\/proc\/nope/],
      [gateway.auditFile, /is a file, not a folder/],
    ] as const) {
      const { code, stderr } = await serveWith('path: ./data }', `path: ${path} }`);
      expect({ path, code }).toEqual({ path, code: 1 });
      expect(stderr).toMatch(why);
    }
  });
});
