import { open, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { tailAudit } from '../../src/audit/tail.ts';
import { access, openTestLog, temporaryFolder, writeLog } from './audit-fixture.ts';

let file: string;

beforeEach(async () => {
  file = join(await temporaryFolder(), 'audit.jsonl');
});

/** Reads on until `count` paths were seen; the other events are of no interest here. */
async function nextPaths(lines: AsyncGenerator<string>, count: number): Promise<string[]> {
  const paths: string[] = [];
  while (paths.length < count) {
    const { value, done } = await lines.next();
    if (done === true) break;
    const { path } = JSON.parse(value);
    if (path !== undefined) paths.push(path);
  }
  return paths;
}

/** Resolves when the tail has compared its file with the one at the path several times. */
async function hasLookedAgain(path: string): Promise<void> {
  const handle = await open(path);
  const stat = vi.spyOn(Object.getPrototypeOf(handle), 'stat');
  await handle.close();
  await vi.waitFor(() => expect(stat.mock.calls.length).toBeGreaterThan(5), { timeout: 10_000, interval: 20 });
  stat.mockRestore();
}

describe('a tail', () => {
  it('gives the last lines, then those that are added, then those of the next file', async () => {
    await writeLog(file, 5);
    const stop = new AbortController();
    const lines = tailAudit(file, { signal: stop.signal, last: 3 });
    expect(await nextPaths(lines, 2)).toEqual(['/orders/3', '/orders/4']);
    const log = await openTestLog(file);
    log.record(access('/added'));
    expect(await nextPaths(lines, 1)).toEqual(['/added']);
    await rename(file, `${file}.1`);
    // As logrotate does with `create`: the new file is there, empty, before the writer knows of it.
    await writeFile(file, '');
    const toOld = nextPaths(lines, 1);
    await hasLookedAgain(file);
    await log.recordDurably(access('/to the old file'));
    expect(await toOld).toEqual(['/to the old file']);
    await log.reopen();
    log.record(access('/to the new file'));
    expect(await nextPaths(lines, 1)).toEqual(['/to the new file']);
    stop.abort();
    expect(await lines.next()).toEqual({ value: undefined, done: true });
    await log.close();
  });

  it('begins at the end when no lines are asked for', async () => {
    await writeLog(file, 5);
    const stop = new AbortController();
    const lines = tailAudit(file, { signal: stop.signal });
    const first = nextPaths(lines, 1);
    const log = await openTestLog(file);
    await log.recordDurably(access('/new'));
    // The generator opens the file when it is first asked, which is before the log was.
    expect(await first).toEqual(['/new']);
    stop.abort();
    await lines.return(undefined);
    await log.close();
  });

  it('gives everything when more lines are asked for than there are', async () => {
    await writeLog(file, 2);
    const stop = new AbortController();
    const lines = tailAudit(file, { signal: stop.signal, last: 100 });
    expect(JSON.parse((await lines.next()).value ?? '')).toMatchObject({ type: 'chain.start', seq: 1 });
    await lines.return(undefined);
  });

  it('waits for a file that is not there yet', async () => {
    const stop = new AbortController();
    const lines = tailAudit(file, { signal: stop.signal });
    const first = nextPaths(lines, 1);
    const log = await openTestLog(file);
    log.record(access('/first'));
    expect(await first).toEqual(['/first']);
    stop.abort();
    await lines.return(undefined);
    await log.close();
  });

  it('ends at once when it is stopped while it waits', async () => {
    const stop = new AbortController();
    const lines = tailAudit(file, { signal: stop.signal });
    const next = lines.next();
    stop.abort();
    expect(await next).toEqual({ value: undefined, done: true });
  });
});
