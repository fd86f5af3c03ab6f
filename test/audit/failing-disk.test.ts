import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { verifyAuditFiles } from '../../src/audit/verify-files.ts';
import { access, eventsOf, openTestLog, temporaryFolder } from './audit-fixture.ts';

/** Node's own FileHandle, to watch it and to let it fail as a broken disk does. */
let handles: FileHandle;
let file: string;

beforeEach(async () => {
  const folder = await temporaryFolder();
  file = join(folder, 'audit.jsonl');
  const handle = await open(folder);
  handles = Object.getPrototypeOf(handle);
  await handle.close();
});

afterEach(() => {
  vi.restoreAllMocks();
});

const pathsOf = async (): Promise<unknown[]> =>
  (await eventsOf(file)).flatMap((event) => (event['path'] === undefined ? [] : [event['path']]));

const eio = (): Promise<never> => Promise.reject(Object.assign(new Error('EIO: i/o error'), { code: 'EIO' }));

describe('a disk', () => {
  it('is waited for before a durable event is acknowledged, once for all that came together', async () => {
    const log = await openTestLog(file);
    const synced: number[] = [];
    const datasync = vi.spyOn(handles, 'datasync');
    const first = log.recordDurably(access('/1')).then(() => synced.push(datasync.mock.settledResults.length));
    const others = Array.from({ length: 50 }, (_, i) => log.recordDurably(access(`/more/${i}`)));
    await Promise.all([first, ...others]);
    // The first may go alone; all that came while it was on its way go together.
    expect(synced[0]).toBeGreaterThanOrEqual(1);
    expect(datasync.mock.calls.length).toBeLessThanOrEqual(2);
    expect(datasync.mock.settledResults.every(({ type }) => type === 'fulfilled')).toBe(true);
    await log.close();
  });

  it('that fails to sync leaves nothing of the event that was refused', async () => {
    const log = await openTestLog(file);
    log.record(access('/kept'));
    vi.spyOn(handles, 'datasync').mockImplementationOnce(eio);
    await expect(log.recordDurably(access('/refused'))).rejects.toMatchObject({
      code: 'audit_unavailable',
      cause: expect.objectContaining({ code: 'EIO' }),
    });
    expect(await pathsOf()).toEqual([]);
    await log.recordDurably(access('/after'));
    await log.close();
    expect(await pathsOf()).toEqual(['/kept', '/after']);
    expect(await verifyAuditFiles([file])).toMatchObject({ ok: true, notices: [] });
  });

  it('that cannot even take the bytes back gets nothing more before it has', async () => {
    const log = await openTestLog(file);
    vi.spyOn(handles, 'datasync').mockImplementationOnce(eio);
    const truncate = vi.spyOn(handles, 'truncate').mockImplementationOnce(eio).mockImplementationOnce(eio);
    await expect(log.recordDurably(access('/refused/1'))).rejects.toMatchObject({ code: 'audit_unavailable' });
    await expect(log.recordDurably(access('/refused/2'))).rejects.toMatchObject({ code: 'audit_unavailable' });
    await log.recordDurably(access('/after'));
    expect(truncate).toHaveBeenCalledTimes(3);
    await log.close();
    expect(await pathsOf()).toEqual(['/after']);
    expect(await verifyAuditFiles([file])).toMatchObject({ ok: true, notices: [] });
  });
});
