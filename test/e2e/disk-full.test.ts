import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestGateway } from '../support/gateway.ts';
import { runProgram } from '../support/gateway-program.ts';
import { TestUpstream } from '../support/upstream.ts';

const POLICY = `api: orders
upstream: orders
base: /orders
rules:
  - { name: read, methods: [GET], path: /, scopes: [orders:read] }
`;

/** A folder on a file system of its own, or null where this process may not mount one. */
async function smallDisk(megabytes: number): Promise<string | null> {
  const folder = await mkdtemp(join(tmpdir(), 'portcullis-disk-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', folder], { stdio: 'ignore' });
    return folder;
  } catch {
    await rm(folder, { recursive: true, force: true });
    return null;
  }
}

const disk = await smallDisk(8);

describe.skipIf(disk === null)('on a disk that is full (skipped: mounting a small one takes root)', () => {
  const folder = disk ?? '';
  const filler = join(folder, 'filler');
  let upstream: TestUpstream;
  let gateway: TestGateway;

  beforeAll(async () => {
    await mkdir(folder, { recursive: true });
    upstream = await TestUpstream.start();
    gateway = await TestGateway.start({
      upstreams: { orders: upstream.url },
      policies: { 'orders.yaml': POLICY },
      folder,
    });
  });

  afterAll(async () => {
    await rm(filler, { force: true });
    await gateway?.close();
    await upstream?.close();
    execFileSync('umount', [folder]);
    await rm(folder, { recursive: true, force: true });
  });

  async function fill(): Promise<void> {
    const file = await open(filler, 'a');
    for (let size = 64 * 1024; size >= 1; size = Math.floor(size / 2)) {
      try {
        for (;;) await file.write(Buffer.alloc(size));
      } catch (error) {
        if (!(error instanceof Error && 'code' in error && error.code === 'ENOSPC')) throw error;
      }
    }
    await file.close();
  }

  it('every change is refused with the reason, nothing acknowledged is lost, and it heals by itself', async () => {
    const kept = await gateway.issue();
    const revoked = await gateway.issue();
    expect((await gateway.admin('POST', `/v1/tokens/${revoked.id}/revoke`, { reason: 'before' })).status).toBe(200);
    await fill();

    const acknowledged: string[] = [];
    for (let i = 0; i < 40; i += 1) {
      const answer = await gateway.admin('POST', '/v1/tokens', {
        name: `full-${i}`,
        owner: 'tests',
        class: 'service',
        scopes: ['orders:read'],
      });
      if (answer.status === 201) acknowledged.push((JSON.parse(answer.text) as { token: string }).token);
      else {
        expect(answer.status).toBe(503);
        expect(answer.problem?.detail).toMatch(/space|full|audit/i);
      }
    }
    const last = await gateway.admin('POST', `/v1/tokens/${kept.id}/rotate`, {});
    expect(last.status).toBe(503);
    expect((await gateway.call('/orders', { token: kept.token })).status).toBe(200);
    expect((await gateway.call('/orders', { token: revoked.token })).problem?.reason).toBe('token_revoked');

    await rm(filler);
    const healed = await issueAgain();
    for (const token of [kept.token, healed, ...acknowledged]) {
      expect((await gateway.call('/orders', { token })).status).toBe(200);
    }
    const issued = (await gateway.auditLines()).filter(({ type }) => type === 'token.issued').length;
    expect(issued).toBeGreaterThanOrEqual(3 + acknowledged.length);
    const verified = await runProgram(['audit', 'verify', gateway.auditFile]);
    expect({ code: verified.code, stdout: verified.stdout }).toMatchObject({ code: 0 });
  }, 60_000);

  async function issueAgain(): Promise<string> {
    for (let attempt = 0; ; attempt += 1) {
      try {
        return (await gateway.issue()).token;
      } catch (error) {
        if (attempt === 100) throw error;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  }
});
