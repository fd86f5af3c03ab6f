import { appendFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { listAuditFiles } from '../../src/audit/files.ts';
import { type AuditFilter, InvalidAuditCursor, queryAudit } from '../../src/audit/query.ts';
import { access, openTestLog, temporaryFolder } from './audit-fixture.ts';

const START = Date.UTC(2026, 6, 1);
let file: string;

/** 100 events, one a second, in three files; token t0, t1, t2 in turn; every tenth denied. */
beforeEach(async () => {
  file = join(await temporaryFolder(), 'audit.jsonl');
  let now = START;
  const log = await openTestLog(file, { clock: { now: () => now, monotonic: () => 0 } });
  for (let i = 0; i < 100; i += 1) {
    now = START + i * 1000;
    const denied = i % 10 === 0;
    const type = denied ? 'access.denied' : 'access.allowed';
    log.record(access(`/${i}`, { type, outcome: denied ? 'failure' : 'success', token_id: `t${i % 3}` }));
    if (i === 39 || i === 69) {
      await log.recordDurably({ type: 'token.issued', outcome: 'success', token_id: 't0' });
      await rename(file, i === 39 ? `${file}.2` : `${file}.1`);
      await log.reopen();
    }
  }
  await log.close();
});

async function paths(filter: AuditFilter): Promise<unknown[]> {
  const page = await queryAudit(await listAuditFiles(file), { limit: 1000, ...filter });
  expect(page.cursor).toBeNull();
  return page.events.filter(({ type }) => !type.startsWith('chain.')).map(({ path, type }) => path ?? type);
}

const numbers = (from: number, to: number, keep: (i: number) => boolean = () => true): string[] =>
  Array.from({ length: to - from }, (_, i) => to - 1 - i)
    .filter(keep)
    .map((i) => `/${i}`);

describe('a query', () => {
  it('finds rotated files beside the one in use, the oldest first', async () => {
    await appendFile(`${file}.3.gz`, 'compressed');
    expect(await listAuditFiles(file)).toEqual([`${file}.2`, `${file}.1`, file]);
  });

  it('gives events newest first', async () => {
    expect(await paths({ type: 'access' })).toEqual(numbers(0, 100));
  });

  it('filters by token, type, decision and time, and by all at once', async () => {
    expect(await paths({ token: 't1' })).toEqual(numbers(0, 100, (i) => i % 3 === 1));
    expect(await paths({ type: 'token.issued' })).toEqual(['token.issued', 'token.issued']);
    expect(await paths({ type: 'token' })).toEqual(['token.issued', 'token.issued']);
    expect(await paths({ decision: 'deny' })).toEqual(numbers(0, 100, (i) => i % 10 === 0));
    expect(await paths({ decision: 'allow', token: 't2', since: START + 30_000, until: START + 50_000 })).toEqual(
      numbers(30, 50, (i) => i % 10 !== 0 && i % 3 === 2),
    );
    expect(await paths({ type: 'acc' })).toEqual([]);
  });

  it('finds an event that was recorded long after its time', async () => {
    const log = await openTestLog(file, { clock: { now: () => START + 900_000, monotonic: () => 0 } });
    log.record(access('/late', { time: START + 98_500 }));
    await log.close();
    expect(await paths({ type: 'access', since: START + 98_000, until: START + 100_000 })).toEqual([
      '/late',
      '/99',
      '/98',
    ]);
  });

  it('goes on where the page before ended, also after a rotation', async () => {
    const seen: unknown[] = [];
    let cursor: string | null = null;
    let pages = 0;
    do {
      const page = await queryAudit(await listAuditFiles(file), { type: 'access', limit: 7, cursor });
      seen.push(...page.events.map(({ path }) => path));
      cursor = page.cursor;
      pages += 1;
      if (pages === 3) {
        const log = await openTestLog(file);
        await rename(file, `${file}-new-1`);
        await log.reopen();
        await log.recordDurably(access('/newer'));
        await log.close();
      }
    } while (cursor !== null);
    expect(seen).toEqual(numbers(0, 100));
    expect(pages).toBe(15);
  });

  it('passes over lines that are no events, and files that are not there', async () => {
    await appendFile(file, 'garbage\n{"half":');
    const page = await queryAudit([`${file}.9`, file], { type: 'access', limit: 1 });
    expect(page.events).toMatchObject([{ path: '/99' }]);
  });

  it.each(['', 'x', Buffer.from('1:2:3').toString('base64url'), 'A'.repeat(10_000)])(
    'refuses the cursor %j',
    async (cursor) => {
      await expect(queryAudit([file], { cursor })).rejects.toBeInstanceOf(InvalidAuditCursor);
    },
  );
});
