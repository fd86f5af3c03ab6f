import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { verifyAuditFiles } from '../../src/audit/verify-files.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { access, CountingMeter, eventsOf, openTestLog } from './audit-fixture.ts';

/** A file system of 1 MiB that can really be filled. Null where this process may not mount one. */
const disk = mountSmallDisk();

function mountSmallDisk(): string | null {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-full-disk-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', folder], { stdio: 'ignore' });
    return folder;
  } catch {
    rmSync(folder, { recursive: true });
    return null;
  }
}

/** The last page of a file has room left even when the disk has not. */
const TOO_LONG_FOR_THE_LAST_PAGE = `/${'x'.repeat(10_000)}`;

afterAll(() => {
  if (disk === null) return;
  // Lazily: a log that a failed test has left open must not keep the mount.
  execFileSync('umount', ['-l', disk]);
  rmSync(disk, { recursive: true });
});

describe.skipIf(disk === null)('a full disk (skipped where no tmpfs can be mounted: needs root)', () => {
  let file: string;
  let filler: string;

  beforeEach(async () => {
    file = join(disk ?? '', 'audit.jsonl');
    filler = join(disk ?? '', 'filler');
    await rm(file, { force: true });
    await rm(filler, { force: true });
  });

  async function fillDisk(): Promise<void> {
    for (const size of [1024 * 1024, 64 * 1024, 4096]) {
      for (;;) {
        try {
          await writeFile(filler, Buffer.alloc(size), { flag: 'a', flush: true });
        } catch {
          break;
        }
      }
    }
  }

  const pathsOf = async (): Promise<unknown[]> =>
    (await eventsOf(file)).flatMap((event) => (event['path'] === undefined ? [] : [event['path']]));

  it('refuses durable events, keeps the others, and recovers by itself', async () => {
    const failures: string[] = [];
    const meter = new CountingMeter();
    const log = await openTestLog(file, { metrics: meter, onFailure: (error) => failures.push(String(error)) });
    await log.recordDurably(access('/before'));
    await fillDisk();
    for (let i = 0; i < 500; i += 1) log.record(access(`/kept/${i}`));
    for (const path of ['/refused/1', '/refused/2']) {
      await expect(log.recordDurably(access(path))).rejects.toMatchObject({
        code: 'audit_unavailable',
        cause: expect.objectContaining({ code: 'ENOSPC' }),
      });
      // Nothing half written stays. (It is tried again now and then, and for a moment there is what could be written.)
      await expect.poll(async () => (await verifyAuditFiles([file])).problems, { timeout: 20_000 }).toEqual([]);
    }
    expect(failures).toHaveLength(1);
    expect(failures[0]).toContain('ENOSPC');
    await rm(filler);
    await log.recordDurably(access('/after'));
    await log.close();
    const kept = Array.from({ length: 500 }, (_, i) => `/kept/${i}`);
    expect(await pathsOf()).toEqual(['/before', ...kept, '/after']);
    expect(await verifyAuditFiles([file])).toMatchObject({ ok: true, notices: [] });
    expect(meter.dropped.size).toBe(0);
  });

  it('recovers without a durable event to try it', async () => {
    const log = await openTestLog(file, { onFull: 'block' });
    await fillDisk();
    for (let i = 0; i < 100; i += 1) log.record(access(`/${i}`));
    await expect(log.recordDurably(access('/refused'))).rejects.toThrow();
    expect(log.saturated).toBe(true);
    const written = new Promise<void>((resolve) => {
      log.subscribe((line) => {
        if (line.includes('"/99"')) resolve();
      });
    });
    await rm(filler);
    await written;
    expect(log.saturated).toBe(false);
    await log.close();
  });

  it('drops and counts what does not fit into the queue', async () => {
    const meter = new CountingMeter();
    const log = await openTestLog(file, { metrics: meter });
    await fillDisk();
    await expect(log.recordDurably(access(TOO_LONG_FOR_THE_LAST_PAGE))).rejects.toThrow();
    for (let i = 0; i < LIMITS.auditQueue + 7; i += 1) log.record(access('/x'));
    expect(meter.dropped.get('file')).toBe(7);
    const { size } = await stat(file);
    // Closing cannot write them either: it says so and does not hang.
    await log.close();
    expect(meter.dropped.get('file')).toBe(LIMITS.auditQueue + 7);
    expect((await stat(file)).size).toBe(size);
  });

  it('refuses to start', async () => {
    await fillDisk();
    await expect(openTestLog(file)).rejects.toMatchObject({
      code: 'audit_unavailable',
      message: expect.stringContaining('cannot be opened'),
    });
  });
});
