import { appendFile, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { sealLine } from '../../src/audit/chain.ts';
import type { ChainCheckpoint } from '../../src/audit/open.ts';
import { auditChainId } from '../../src/audit/open.ts';
import { verifyAuditFiles } from '../../src/audit/verify-files.ts';
import { access, eventsOf, linesOf, openTestLog, rewrite, temporaryFolder, writeLog } from './audit-fixture.ts';

let folder: string;
let file: string;

beforeEach(async () => {
  folder = await temporaryFolder();
  file = join(folder, 'audit.jsonl');
});

const at = (lines: readonly string[], index: number): string => lines[index] ?? '';

describe('a trail that nobody has touched', () => {
  it('verifies', async () => {
    await writeLog(file, 20);
    const report = await verifyAuditFiles([file]);
    expect(report).toMatchObject({ ok: true, lines: 23, problems: [], problemCount: 0, notices: [] });
    const lastHash = (await eventsOf(file)).at(-1)?.['hash'];
    const chain = {
      chain: auditChainId(file, 'test'),
      firstSeq: 1,
      lastSeq: 23,
      lastHash,
      closed: true,
      checkpoint: null,
    };
    expect(report.chains).toEqual([chain]);
  });

  it('verifies over restarts and rotations, in whatever order the files are given', async () => {
    await writeLog(file, 3);
    await writeLog(file, 3);
    const log = await openTestLog(file);
    log.record(access('/before'));
    await rename(file, `${file}.1`);
    await log.reopen();
    await log.recordDurably(access('/after'));
    await log.close();
    expect(await verifyAuditFiles([`${file}.1`, file])).toMatchObject({ ok: true, notices: [] });
    expect(await verifyAuditFiles([file, `${file}.1`])).toMatchObject({ ok: true, notices: [] });
    const alone = await verifyAuditFiles([file]);
    expect(alone).toMatchObject({ ok: true, notices: [{ line: 1, message: expect.stringContaining('not given') }] });
  });

  it('verifies with chains of several processes', async () => {
    const other = join(folder, 'other.jsonl');
    await writeLog(file, 2);
    await writeLog(other, 2);
    const report = await verifyAuditFiles([other, file]);
    expect(report.ok).toBe(true);
    expect(report.chains).toHaveLength(2);
  });
});

describe('a trail that was tampered with', () => {
  // Line numbers from 1: 1 chain.start, 2 chain.checkpoint, 3 to 12 events, 13 chain.checkpoint.
  beforeEach(() => writeLog(file, 10));

  async function firstProblem(): Promise<{ line: number; kind: string }> {
    const report = await verifyAuditFiles([file]);
    expect(report.ok).toBe(false);
    const [first] = report.problems;
    expect(first?.file).toBe(file);
    return { line: first?.line ?? -1, kind: first?.kind ?? 'none' };
  }

  it('names an edited line, and only that', async () => {
    await rewrite(file, (lines) => lines.with(4, at(lines, 4).replace('/orders/2', '/orders/9')));
    expect(await firstProblem()).toEqual({ line: 5, kind: 'edited' });
    expect((await verifyAuditFiles([file])).problemCount).toBe(1);
  });

  it('names a line whose hash or link was edited', async () => {
    const flip = (text: string): string =>
      text.endsWith('0"}') ? text.replace(/0"\}$/, '1"}') : text.replace(/.("\})$/, '0$1');
    await rewrite(file, (lines) => lines.with(5, flip(at(lines, 5))));
    expect(await firstProblem()).toEqual({ line: 6, kind: 'edited' });
    expect((await verifyAuditFiles([file])).problemCount).toBe(1);
  });

  it('names the line that follows an event that was written anew with a hash that fits', async () => {
    await rewrite(file, (lines) => {
      const { prev, hash: _, ...event } = JSON.parse(at(lines, 4));
      return lines.with(4, sealLine(prev, JSON.stringify({ ...event, path: '/forged' })).line);
    });
    expect(await firstProblem()).toEqual({ line: 6, kind: 'replaced' });
  });

  it('names the line before which one was removed', async () => {
    await rewrite(file, (lines) => lines.toSpliced(6, 1));
    expect(await firstProblem()).toEqual({ line: 7, kind: 'removed' });
    expect((await verifyAuditFiles([file])).problemCount).toBe(1);
  });

  it('notices that the first lines were removed', async () => {
    await rewrite(file, (lines) => lines.slice(3));
    expect(await firstProblem()).toEqual({ line: 1, kind: 'missing_start' });
  });

  it('notices that everything before a restart was removed', async () => {
    await writeLog(file, 2);
    await rewrite(file, (lines) => lines.slice(13));
    expect(await firstProblem()).toEqual({ line: 1, kind: 'missing_start' });
  });

  it('names the first of two lines that changed places', async () => {
    await rewrite(file, (lines) => lines.with(4, at(lines, 8)).with(8, at(lines, 4)));
    expect(await firstProblem()).toEqual({ line: 5, kind: 'removed' });
  });

  it('names a line that was put in', async () => {
    await rewrite(file, (lines) => lines.toSpliced(4, 0, '{"type":"access.allowed"}'));
    expect(await firstProblem()).toEqual({ line: 5, kind: 'malformed' });
    expect((await verifyAuditFiles([file])).problemCount).toBe(1);
  });

  it('names a line that was repeated', async () => {
    await rewrite(file, (lines) => lines.toSpliced(9, 0, at(lines, 4)));
    expect(await firstProblem()).toEqual({ line: 10, kind: 'out_of_order' });
    expect((await verifyAuditFiles([file])).problemCount).toBe(1);
  });

  it('names a blank line, and white space that was put in', async () => {
    await rewrite(file, (lines) => lines.toSpliced(5, 0, ''));
    expect(await firstProblem()).toEqual({ line: 6, kind: 'malformed' });
    await rewrite(file, (lines) => lines.toSpliced(5, 1).with(8, `${at(lines, 9)} `));
    expect(await firstProblem()).toEqual({ line: 9, kind: 'malformed' });
  });

  it('names a line that was cut in the middle', async () => {
    await truncate(file, (await readFile(file)).length - 30);
    expect(await firstProblem()).toEqual({ line: 13, kind: 'torn' });
  });

  it('finds with a checkpoint that whole lines were cut off the end', async () => {
    const last = JSON.parse(at(await linesOf(file), 12));
    const lastCheckpoint = async (): Promise<{ seq: number; hash: string }> => ({ seq: last.seq, hash: last.hash });
    expect(await verifyAuditFiles([file], { lastCheckpoint })).toMatchObject({
      ok: true,
      chains: [{ checkpoint: 13 }],
    });
    await rewrite(file, (lines) => lines.slice(0, -3));
    // Without a checkpoint all there is to see is that nobody closed the chain.
    expect(await verifyAuditFiles([file])).toMatchObject({ ok: true, chains: [{ closed: false, lastSeq: 10 }] });
    expect((await verifyAuditFiles([file], { lastCheckpoint })).problems).toEqual([
      { file, line: 10, kind: 'cut_off', message: expect.stringContaining('3 more events, up to 13') },
    ]);
  });

  it('finds with a checkpoint that the whole chain was written anew', async () => {
    const last = JSON.parse(at(await linesOf(file), 12));
    await rm(file);
    await writeLog(file, 30);
    const report = await verifyAuditFiles([file], { lastCheckpoint: async () => ({ seq: last.seq, hash: last.hash }) });
    expect(report.problems).toMatchObject([{ file, line: 13, kind: 'rewritten' }]);
  });

  it('finds that a whole file is gone, when its chain is expected', async () => {
    const chain = auditChainId(file, 'test');
    const lastCheckpoint = async (): Promise<{ seq: number; hash: string }> => ({ seq: 13, hash: 'ab'.repeat(32) });
    await rm(file);
    const report = await verifyAuditFiles([file], { lastCheckpoint, expectedChains: [chain] });
    expect(report.problems.map(({ kind }) => kind)).toEqual(['unreadable', 'cut_off']);
  });

  it('finds that a file of several is missing', async () => {
    await rename(file, `${file}.1`);
    const saved: ChainCheckpoint[] = [];
    const log = await openTestLog(file, { lastCheckpoint: async () => saved.at(-1) ?? null });
    await log.close();
    // Nothing told the new process about the file before: a chain that begins twice.
    expect((await verifyAuditFiles([`${file}.1`, file])).ok).toBe(false);
  });
});

describe('what a crash leaves', () => {
  it('is told from tampering, once a restart has recorded it', async () => {
    await writeLog(file, 5);
    await appendFile(file, '{"api":"orders","by');
    expect((await verifyAuditFiles([file])).problems).toMatchObject([{ line: 9, kind: 'torn' }]);
    await writeLog(file, 5);
    const report = await verifyAuditFiles([file]);
    expect(report).toMatchObject({ ok: true, problems: [], notices: [{ file, line: 9 }] });
    expect((await eventsOfTail(file))[0]).toMatchObject({ type: 'chain.start', details: { torn: { bytes: 19 } } });
  });

  it('cannot be changed or removed afterwards either', async () => {
    await writeLog(file, 5);
    await appendFile(file, '{"api":"orders","by');
    await writeLog(file, 5);
    const text = await readFile(file, 'utf8');
    await writeFile(file, text.replace('{"api":"orders","by\n', '{"api":"0rders","by\n'));
    expect((await verifyAuditFiles([file])).problems[0]).toMatchObject({ line: 9, kind: 'malformed' });
    await writeFile(file, text.replace('{"api":"orders","by\n', ''));
    expect((await verifyAuditFiles([file])).problems[0]).toMatchObject({ line: 9, kind: 'removed' });
  });

  it('is no more than a line end when the last line is whole', async () => {
    await writeLog(file, 5);
    await truncate(file, (await readFile(file)).length - 1);
    await writeLog(file, 5);
    expect(await verifyAuditFiles([file])).toMatchObject({ ok: true, notices: [] });
  });

  it('does not excuse whole lines that were changed before the restart', async () => {
    await writeLog(file, 5);
    await rewrite(file, (lines) => lines.with(7, at(lines, 7).replace('final', 'fimal')));
    await writeLog(file, 5);
    const report = await verifyAuditFiles([file]);
    expect(report.problems[0]).toMatchObject({ line: 8, kind: 'edited' });
    expect((await eventsOf(file))[8]).toMatchObject({ type: 'chain.start', details: { unreadable_lines: 1 } });
  });
});

async function eventsOfTail(path: string): Promise<Record<string, unknown>[]> {
  const text = await readFile(path, 'utf8');
  return text
    .split('\n')
    .slice(9, -1)
    .map((line) => JSON.parse(line));
}
