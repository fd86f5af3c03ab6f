import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { type AuditFilter, queryAudit } from '../../src/audit/query.ts';
import { tailAudit } from '../../src/audit/tail.ts';
import { verifyAuditFiles } from '../../src/audit/verify-files.ts';
import { listTrail, withWorkerFiles, workerFile, workerFiles } from '../../src/audit/worker-files.ts';
import { access, openTestLog, rewrite, temporaryFolder } from './audit-fixture.ts';

const START = Date.UTC(2026, 6, 1);
let folder: string;
let file: string;

/** 90 events, one a second, in turn from three workers; the second's first file was rotated away. */
beforeEach(async () => {
  folder = await temporaryFolder();
  file = join(folder, 'audit.jsonl');
  for (const worker of [1, 2, 3]) {
    const path = workerFile(file, worker);
    let now = START;
    const log = await openTestLog(path, { clock: { now: () => now, monotonic: () => 0 } });
    for (let i = worker - 1; i < 90; i += 3) {
      now = START + i * 1000;
      log.record(access(`/${i}`, { token_id: `t${i % 2}` }));
      if (worker === 2 && i === 46) {
        await log.recordDurably({ type: 'token.issued', outcome: 'success', token_id: 't9' });
        await rename(path, `${path}.1`);
        await log.reopen();
      }
    }
    await log.close();
  }
});

const numbers = (keep: (i: number) => boolean = () => true): string[] =>
  Array.from({ length: 90 }, (_, i) => 89 - i)
    .filter(keep)
    .map((i) => `/${i}`);

async function pages(filter: AuditFilter): Promise<{ paths: unknown[]; count: number }> {
  const paths: unknown[] = [];
  let cursor: string | null = null;
  let count = 0;
  do {
    const page = await queryAudit(await listTrail(file), { ...filter, cursor });
    paths.push(...page.events.map(({ path }) => path));
    cursor = page.cursor;
    count += 1;
  } while (cursor !== null);
  return { paths, count };
}

describe('the files of several workers', () => {
  it('are found beside the first, with what was rotated away, and nothing else is', async () => {
    for (const other of ['audit.w2.json', 'audit.wx.jsonl', 'audit.w1.jsonl', 'audit.cli.jsonl', 'audit.w02.jsonl']) {
      await writeFile(join(folder, other), '');
    }
    await writeFile(join(folder, 'audit.w7.jsonl.1'), '');
    const of = (worker: number): string => workerFile(file, worker);
    expect(await workerFiles(file)).toEqual([1, 2, 3, 7].map(of));
    expect(await listTrail(file)).toEqual([file, `${of(2)}.1`, of(2), of(3), `${of(7)}.1`]);
    expect(await withWorkerFiles([file, of(2)])).toEqual([file, of(2), of(3)]);
    expect(await workerFiles(of(2))).toEqual([of(2)]);
  });

  it('are one trail for a query, the newest first, page by page', async () => {
    expect(await pages({ type: 'access' })).toEqual({ paths: numbers(), count: 1 });
    expect(await pages({ type: 'access', limit: 7 })).toEqual({ paths: numbers(), count: 13 });
    expect((await pages({ token: 't1', limit: 10 })).paths).toEqual(numbers((i) => i % 2 === 1));
    const some = { since: START + 20_000, until: START + 50_000, type: 'access', limit: 4 };
    expect((await pages(some)).paths).toEqual(numbers((i) => i >= 20 && i < 50));
  });

  it('are verified each by its own chain', async () => {
    const report = await verifyAuditFiles(await listTrail(file));
    expect([report.ok, report.chains.map(({ chain, closed }) => [chain.slice(-8), closed])]).toEqual([
      true,
      [
        ['it.jsonl', true],
        ['w2.jsonl', true],
        ['w3.jsonl', true],
      ],
    ]);
    await rewrite(workerFile(file, 3), (lines) => lines.toSpliced(5, 1));
    expect(await verifyAuditFiles(await listTrail(file))).toMatchObject({
      ok: false,
      problems: [{ file: workerFile(file, 3), line: 6, kind: 'removed' }],
    });
  });

  it('are one stream for a tail, with those that come later', async () => {
    const stop = new AbortController();
    const lines = tailAudit(file, { signal: stop.signal, last: 9 });
    const next = async (count: number): Promise<string[]> => {
      const seen: string[] = [];
      while (seen.length < count) {
        const { value, done } = await lines.next();
        if (done === true) break;
        const { path } = JSON.parse(value);
        if (path !== undefined) seen.push(path);
      }
      return seen;
    };
    // Among the last nine are the closing checkpoints of all three.
    expect(await next(6)).toEqual(['/84', '/85', '/86', '/87', '/88', '/89']);
    const second = await openTestLog(workerFile(file, 2));
    await second.recordDurably(access('/of the second'));
    expect(await next(1)).toEqual(['/of the second']);
    const fourth = await openTestLog(workerFile(file, 4));
    await fourth.recordDurably(access('/of the fourth'));
    expect(await next(1)).toEqual(['/of the fourth']);
    stop.abort();
    expect(await lines.next()).toEqual({ value: undefined, done: true });
    await second.close();
    await fourth.close();
  });
});
