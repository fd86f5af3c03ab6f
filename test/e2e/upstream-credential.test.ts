import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config/load.ts';
import { type RunningGateway, startGateway } from '../../src/main/gateway-process.ts';
import { createLogger } from '../../src/metrics/log.ts';
import { TestGateway, writeGatewayFiles } from '../support/gateway.ts';
import { TestUpstream } from '../support/upstream.ts';

const POLICY = `api: orders
upstream: orders
rules: [ { name: all, path: ["/", "/{rest...}"], scopes: [orders:read] } ]
`;

describe('the credential of an upstream, in a file', () => {
  let folder = '';
  let upstream: TestUpstream;
  let gateway: TestGateway;
  let token = '';
  const file = (): string => join(folder, 'secrets', 'orders');

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'portcullis-credential-'));
    await mkdir(join(folder, 'secrets'));
    await writeFile(file(), 'Bearer first-secret\n');
    upstream = await TestUpstream.start();
    gateway = await TestGateway.start({
      folder,
      upstreams: { orders: upstream.url },
      upstreamOptions: { orders: 'credential: { header: authorization, value: { file: secrets/orders } }' },
      policies: { 'orders.yaml': POLICY },
    });
    token = (await gateway.issue()).token;
  });

  afterAll(async () => {
    await gateway?.close();
    await upstream?.close();
    await rm(folder, { recursive: true, force: true });
  });

  const presented = async (): Promise<unknown> => {
    expect((await gateway.call('/orders', { token })).status).toBe(200);
    return upstream.seen.at(-1)?.headers.authorization;
  };

  /** Requests without a pause until one of them carries the value; all values that were seen meanwhile, in order. */
  async function seenUntil(value: string, change: () => Promise<void>): Promise<unknown[]> {
    const start = upstream.seen.length;
    let stopped = false;
    const load = Array.from({ length: 4 }, async () => {
      while (!stopped) await presented();
    });
    await change();
    while (upstream.seen.at(-1)?.headers.authorization !== value) {
      await Promise.race([once(upstream.server, 'request'), ...load]);
    }
    stopped = true;
    await Promise.all(load);
    const changes: unknown[] = [];
    for (const { rawHeaders } of upstream.seen.slice(start)) {
      const values = rawHeaders.filter(
        (_, index) => index % 2 === 1 && /^authorization$/i.test(rawHeaders[index - 1] ?? ''),
      );
      if (values.join() !== changes.at(-1)) changes.push(values.join());
    }
    return changes;
  }

  it.each<[string, string, () => Promise<void>]>([
    ['written in place', 'Bearer second-secret', () => writeFile(file(), 'Bearer second-secret\n')],
    [
      'replaced by renaming',
      'Bearer third-secret',
      async () => {
        await writeFile(`${file()}.new`, 'Bearer third-secret');
        await rename(`${file()}.new`, file());
      },
    ],
    [
      'a link to a folder that is swapped (Kubernetes)',
      'Bearer fourth-secret',
      async () => {
        const at = (name: string): string => join(folder, 'secrets', name);
        await mkdir(at('..1'));
        await writeFile(join(at('..1'), 'orders'), 'Bearer third-secret');
        await symlink('..1', at('..data'));
        await symlink('..data/orders', at('link'));
        await rename(at('link'), file());
        await mkdir(at('..2'));
        await writeFile(join(at('..2'), 'orders'), 'Bearer fourth-secret');
        await symlink('..2', at('..data_tmp'));
        await rename(at('..data_tmp'), at('..data'));
      },
    ],
  ])('changes under load: %s', async (_how, value, change) => {
    const before = await presented();
    // Every request carried the old value or the new one, once: never none, never half of one, never the client's token.
    expect(await seenUntil(value, change)).toEqual([before, value]);
  });

  it('never is what the client sends', async () => {
    const forged = { 'x-api-key': token, authorization: 'Basic Zm9yZ2Vk' };
    expect((await gateway.call('/orders', { headers: forged })).status).toBe(200);
    expect(upstream.seen.at(-1)?.headers.authorization).toBe('Bearer fourth-secret');
  });

  it('is nowhere in the audit trail', async () => {
    const answer = await gateway.call('/orders', { token });
    await gateway.eventOf(answer);
    expect(await readFile(gateway.auditFile, 'utf8')).not.toMatch(/(first|second|third|fourth)-secret/);
  });
});

describe('a file that cannot be used', () => {
  let folder = '';
  let upstream: TestUpstream;
  let running: RunningGateway;
  const lines: string[] = [];
  const file = (): string => join(folder, 'key');

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'portcullis-credential-'));
    await writeFile(file(), 'Bearer good-secret');
    upstream = await TestUpstream.start();
    await writeGatewayFiles(folder, {
      upstreams: { orders: upstream.url },
      upstreamOptions: { orders: 'credential: { header: x-key, value: { file: key } }' },
      policies: { 'orders.yaml': POLICY.replace('scopes: [orders:read]', 'public: true') },
    });
    const { config } = await loadConfig(join(folder, 'portcullis.yaml'), {});
    if (config === null) throw new Error('the configuration of this test is wrong');
    const log = createLogger({ level: 'info', destination: { write: (line) => void lines.push(line) } });
    running = await startGateway(config, log);
  });

  afterAll(async () => {
    await running?.close();
    await upstream?.close();
    await rm(folder, { recursive: true, force: true });
  });

  const presented = async (): Promise<unknown> => {
    await (await fetch(`${running.trafficUrl}/orders`)).text();
    return upstream.seen.at(-1)?.headers['x-key'];
  };

  it.each<[string, (file: string) => Promise<unknown>, RegExp]>([
    ['empty', (at) => writeFile(at, '\n'), /"complaint":"secret file \S+ is empty"/],
    ['blank', (at) => writeFile(at, ' \t '), /"complaint":"is blank"/],
    ['more than one line', (at) => writeFile(at, 'Bearer leak\r\nx-evil: 1'), /"complaint":"holds characters that/],
    ['not text', (at) => writeFile(at, Buffer.from([0x42, 0xff, 0x00])), /"complaint":"holds characters that/],
    ['too large', (at) => writeFile(at, `leak${'x'.repeat(70_000)}`), /"complaint":"is larger than 64 KiB"/],
    ['gone', (at) => rm(at), /"complaint":"cannot be read \(ENOENT\)"/],
    ['a folder', (at) => rm(at).then(() => mkdir(at)), /"complaint":"is not a file"/],
  ])('leaves the last good one in force, and the log says so once: %s', async (what, spoil, said) => {
    const before = await presented();
    const start = lines.length;
    await spoil(file());
    await running.reload();
    await running.reload();
    expect(await presented()).toBe(before);
    const complaints = lines.slice(start).filter((line) => line.includes('cannot be used') && !line.includes('ENOENT'));
    const missing = lines.slice(start).filter((line) => line.includes('ENOENT'));
    expect(what === 'gone' ? missing : complaints).toEqual([expect.stringMatching(said)]);
    expect([...complaints, ...missing].join()).toContain('"place":"upstreams.orders.credential.value"');
    await rm(file(), { recursive: true, force: true });
    await writeFile(file(), `Bearer ${what} good-secret`);
    await running.reload();
    expect(await presented()).toBe(`Bearer ${what} good-secret`);
    expect(lines.join()).not.toMatch(/good-secret|leak|evil/);
  });
});
