import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, mkdir, open, rename, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { auditChainId, type ChainCheckpoint } from '../../src/audit/open.ts';
import { verifyAuditFiles } from '../../src/audit/verify-files.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { access, CountingMeter, eventsOf, linesOf, openTestLog, temporaryFolder, writeLog } from './audit-fixture.ts';

let folder: string;
let file: string;

beforeEach(async () => {
  folder = await temporaryFolder();
  file = join(folder, 'deep', 'audit.jsonl');
});

const typesOf = async (path: string): Promise<unknown[]> => (await eventsOf(path)).map(({ type }) => type);
const pathsOf = async (path: string): Promise<unknown[]> =>
  (await eventsOf(path)).flatMap((event) => (event['path'] === undefined ? [] : [event['path']]));

describe('an audit file', () => {
  it('is made with its directory, for its owner alone', async () => {
    await writeLog(file, 1);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect((await stat(join(folder, 'deep'))).mode & 0o777).toBe(0o700);
    expect(await typesOf(file)).toEqual(['chain.start', 'chain.checkpoint', 'access.allowed', 'chain.checkpoint']);
  });

  it('holds events in the order in which they were recorded, durable or not', async () => {
    const log = await openTestLog(file);
    const durable: Promise<void>[] = [];
    for (let i = 0; i < 3000; i += 1) {
      if (i % 7 === 0) durable.push(log.recordDurably(access(`/${i}`)));
      else log.record(access(`/${i}`));
      if (i % 500 === 0) await durable.at(-1);
    }
    await Promise.all(durable);
    await log.close();
    expect(await pathsOf(file)).toEqual(Array.from({ length: 3000 }, (_, i) => `/${i}`));
    expect((await verifyAuditFiles([file])).ok).toBe(true);
  });

  it('holds a durable event when the promise resolves', async () => {
    const log = await openTestLog(file);
    log.record(access('/first'));
    await log.recordDurably(access('/second'));
    expect(await pathsOf(file)).toEqual(['/first', '/second']);
    await log.close();
  });

  it('takes the time of an event, and else the time of recording', async () => {
    const log = await openTestLog(file, { clock: { now: () => Date.UTC(2026, 0, 2, 3, 4, 5, 6), monotonic: () => 0 } });
    log.record(access('/now'));
    log.record(access('/then', { time: -1.5 }));
    log.record(access('/never', { time: Number.NaN }));
    await log.close();
    const times = (await eventsOf(file)).filter(({ path }) => path !== undefined).map(({ time }) => time);
    expect(times).toEqual(['2026-01-02T03:04:05.006Z', '1969-12-31T23:59:59.998Z', '2026-01-02T03:04:05.006Z']);
  });

  it('is continued by the next process under the same chain', async () => {
    await writeLog(file, 2);
    await writeLog(file, 2);
    const events = await eventsOf(file);
    expect(events.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    expect(events[5]).toMatchObject({
      type: 'chain.start',
      prev: events[4]?.['hash'],
      details: { cause: 'started', file: 'continued', chain: auditChainId(file, 'test') },
    });
  });

  it('keeps its chain when it is moved', async () => {
    await writeLog(file, 1);
    const moved = join(folder, 'moved.jsonl');
    await rename(file, moved);
    await writeLog(moved, 1);
    expect((await verifyAuditFiles([moved])).chains).toMatchObject([{ chain: auditChainId(file, 'test'), lastSeq: 8 }]);
  });

  it('is continued at once, however large it is', async () => {
    await writeLog(file, 2);
    const handle = await open(file, 'r+');
    const { size } = await handle.stat();
    const text = (await linesOf(file)).at(-1);
    // A gigabyte of nothing, then the last line once more.
    await handle.write(`\n${text}\n`, size + 1024 ** 3);
    await handle.close();
    const started = performance.now();
    const log = await openTestLog(file, { instance: 'test' });
    await log.recordDurably(access('/after'));
    expect(performance.now() - started).toBeLessThan(5000);
    await log.close();
    const lastLine = await tailOf(file);
    expect(JSON.parse(lastLine)).toMatchObject({ seq: 9, type: 'chain.checkpoint' });
  });

  it('is refused when it is a directory, or cannot be written', async () => {
    await mkdir(file, { recursive: true });
    await expect(openTestLog(file)).rejects.toMatchObject({ code: 'audit_unavailable' });
    await expect(openTestLog('/dev/null')).rejects.toMatchObject({
      code: 'audit_unavailable',
      message: expect.stringContaining('not a regular file'),
    });
    await expect(openTestLog('/proc/audit.jsonl')).rejects.toMatchObject({ code: 'audit_unavailable' });
  });

  it('survives kill -9 with every durable event, and goes on', async () => {
    const writer = resolve(import.meta.dirname, 'endless-writer.ts');
    const child = spawn(process.execPath, [writer, file], { stdio: ['ignore', 'pipe', 'inherit'] });
    let acknowledged = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      acknowledged += text;
      if (acknowledged.length > 2000) child.kill('SIGKILL');
    });
    await once(child, 'close');
    // What the crash might leave besides: half a line.
    await appendFile(file, '{"api":"ord');
    await writeLog(file, 1);
    expect(await verifyAuditFiles([file])).toMatchObject({ ok: true, notices: [{ line: expect.any(Number) }] });
    const numbers = acknowledged.split('\n').slice(0, -1);
    const written = new Set((await linesOf(file)).map((line) => /"path":"\/durable\/(\d+)"/.exec(line)?.[1]));
    expect(numbers.filter((number) => !written.has(number))).toEqual([]);
    expect(numbers.length).toBeGreaterThan(100);
  });
});

describe('rotation', () => {
  it('goes on in the new file with the last hash of the old one', async () => {
    const log = await openTestLog(file);
    log.record(access('/1'));
    await rename(file, `${file}.1`);
    log.record(access('/2'));
    await log.reopen();
    log.record(access('/3'));
    await log.close();
    expect([...(await pathsOf(`${file}.1`)), ...(await pathsOf(file))]).toEqual(['/1', '/2', '/3']);
    const [first] = await eventsOf(file);
    const last = (await eventsOf(`${file}.1`)).at(-1);
    expect(first).toMatchObject({
      type: 'chain.start',
      prev: last?.['hash'],
      details: { cause: 'reopened', file: 'new' },
    });
    expect((await verifyAuditFiles([`${file}.1`, file])).ok).toBe(true);
  });

  it('changes nothing when the file is still there', async () => {
    const log = await openTestLog(file);
    await log.reopen();
    await log.reopen();
    await log.close();
    expect(await typesOf(file)).toEqual(['chain.start', 'chain.checkpoint', 'chain.checkpoint']);
  });

  it('keeps the old file when the new one cannot be opened', async () => {
    const log = await openTestLog(file);
    await rename(file, `${file}.1`);
    await mkdir(file);
    await expect(log.reopen()).rejects.toThrow();
    await log.recordDurably(access('/still'));
    expect(await pathsOf(`${file}.1`)).toEqual(['/still']);
    await log.close();
  });

  it('by copying and truncating is noticed', async () => {
    const log = await openTestLog(file);
    await log.recordDurably(access('/1'));
    await writeFile(`${file}.1`, `${(await linesOf(file)).join('\n')}\n`);
    await truncate(file, 0);
    await log.recordDurably(access('/2'));
    await log.close();
    expect((await eventsOf(file))[0]).toMatchObject({
      type: 'chain.start',
      details: { cause: 'truncated', file: 'new' },
    });
    expect((await verifyAuditFiles([`${file}.1`, file])).ok).toBe(true);
  });

  it('by deleting makes a new file at once', async () => {
    const log = await openTestLog(file);
    await rm(file);
    await log.recordDurably(access('/1'));
    await log.close();
    const [start, ...rest] = await eventsOf(file);
    expect(start).toMatchObject({ type: 'chain.start', seq: 3, details: { cause: 'deleted', file: 'new' } });
    expect(rest).toMatchObject([{ path: '/1' }, { type: 'chain.checkpoint' }]);
  });

  it('leaves what somebody else has written where it is, and says so', async () => {
    const log = await openTestLog(file);
    await appendFile(file, 'half a li');
    await log.recordDurably(access('/1'));
    await log.close();
    const report = await verifyAuditFiles([file]);
    expect(report).toMatchObject({ ok: true, notices: [{ line: 3 }] });
    const start = JSON.parse((await linesOf(file))[3] ?? '');
    expect(start).toMatchObject({ details: { cause: 'changed', torn: { bytes: 9 } } });
  });
});

describe('a checkpoint', () => {
  class Kept {
    readonly all: ChainCheckpoint[] = [];
    readonly options = {
      saveCheckpoint: async (checkpoint: ChainCheckpoint): Promise<void> => {
        this.all.push(checkpoint);
      },
      lastCheckpoint: async (): Promise<ChainCheckpoint | null> => this.all.at(-1) ?? null,
    };
  }

  it('is kept at the start, from time to time while something happens, and at the end', async () => {
    const kept = new Kept();
    let saved = (): void => undefined;
    const log = await openTestLog(file, {
      checkpointEveryMs: 20,
      saveCheckpoint: async (checkpoint) => {
        await kept.options.saveCheckpoint(checkpoint);
        saved();
      },
    });
    expect(kept.all).toHaveLength(1);
    const next = new Promise<void>((resolve) => {
      saved = resolve;
    });
    log.record(access('/1'));
    await next;
    await log.close();
    const events = await eventsOf(file);
    for (const { chain, seq, hash, time } of kept.all) {
      const line = events[seq - 1];
      expect(line).toMatchObject({ type: 'chain.checkpoint', seq, hash, details: { chain } });
      expect(line?.['time']).toBe(new Date(time).toISOString());
    }
    expect(kept.all.at(-1)?.hash).toBe(events.at(-1)?.['hash']);
    expect(await verifyAuditFiles([file], { lastCheckpoint: kept.options.lastCheckpoint })).toMatchObject({ ok: true });
  });

  it('shows that the file was deleted while nobody ran', async () => {
    const kept = new Kept();
    await (await openTestLog(file, kept.options)).close();
    await rename(file, `${file}.gone`);
    await (await openTestLog(file, kept.options)).close();
    const report = await verifyAuditFiles([file], { lastCheckpoint: kept.options.lastCheckpoint });
    expect(report.problems).toMatchObject([{ file, line: 1, kind: 'removed' }]);
    // With the file that was only rotated away everything is there.
    expect(await verifyAuditFiles([`${file}.gone`, file])).toMatchObject({ ok: true, notices: [] });
  });

  it('shows that the end was cut off while nobody ran, for good', async () => {
    const kept = new Kept();
    const log = await openTestLog(file, kept.options);
    for (let i = 0; i < 5; i += 1) log.record(access(`/${i}`));
    await log.close();
    await writeFile(file, `${(await linesOf(file)).slice(0, -3).join('\n')}\n`);
    await (await openTestLog(file, kept.options)).close();
    const report = await verifyAuditFiles([file], { lastCheckpoint: kept.options.lastCheckpoint });
    expect(report.problems).toMatchObject([
      { file, line: 6, kind: 'removed', message: expect.stringContaining('events 6 to 8') },
    ]);
  });

  it('that cannot be kept or asked for is reported and changes nothing', async () => {
    const failures: string[] = [];
    const log = await openTestLog(file, {
      saveCheckpoint: () => Promise.reject(new Error('store is away')),
      lastCheckpoint: () => Promise.reject(new Error('store is away')),
      onFailure: ({ message }) => failures.push(message),
    });
    await log.recordDurably(access('/1'));
    await log.close();
    expect(failures).toEqual(['store is away', 'store is away', 'store is away']);
    expect((await verifyAuditFiles([file])).ok).toBe(true);
  });
});

describe('the log', () => {
  it('takes no more than its queue holds, counts the rest, and says so in the trail', async () => {
    const meter = new CountingMeter();
    const log = await openTestLog(file, { metrics: meter });
    // Within one turn of the event loop nothing is written, so the queue is all there is.
    for (let i = 0; i < LIMITS.auditQueue + 100; i += 1) log.record(access('/x'));
    expect(log.saturated).toBe(false);
    expect(meter.dropped.get('file')).toBe(100);
    // Behind all of them; closing gives them only so much time.
    await log.recordDurably(access('/last'));
    await log.close();
    // chain.start, the last one and two checkpoints besides.
    expect(meter.events.get('file')).toBe(LIMITS.auditQueue + 4);
    expect(JSON.parse(await tailOf(file))).toMatchObject({ type: 'chain.checkpoint', details: { dropped: 100 } });
    expect((await verifyAuditFiles([file])).ok).toBe(true);
  });

  it('bounds the queue by its size as well, for long paths', async () => {
    const meter = new CountingMeter();
    const log = await openTestLog(file, { metrics: meter, onFull: 'block' });
    const path = `/${'x'.repeat(15_000)}`;
    const fit = Math.ceil(LIMITS.auditQueueChars / (path.length + 450));
    for (let i = 0; i < fit + 10; i += 1) log.record(access(path));
    expect(meter.dropped.get('file')).toBe(10);
    expect(log.saturated).toBe(true);
    await log.close();
  });

  it('with on_full: block is saturated before the queue is full, until it is written', async () => {
    const meter = new CountingMeter();
    const log = await openTestLog(file, { metrics: meter, onFull: 'block' });
    expect(log.saturated).toBe(false);
    for (let i = 0; i < LIMITS.auditQueue * 0.8; i += 1) log.record(access('/x'));
    expect(log.saturated).toBe(true);
    await log.recordDurably(access('/last'));
    expect(log.saturated).toBe(false);
    expect(meter.dropped.size).toBe(0);
    await log.close();
  });

  it('tells its listeners every line as it stands in the file', async () => {
    const log = await openTestLog(file);
    const heard: string[] = [];
    const stop = log.subscribe((line) => heard.push(line));
    await log.recordDurably(access('/1'));
    await log.recordDurably(access('/2'));
    stop();
    await log.recordDurably(access('/3'));
    expect(heard).toEqual((await linesOf(file)).slice(2, 4));
    await log.close();
  });

  it('goes on without a listener that throws', async () => {
    const failures: string[] = [];
    const log = await openTestLog(file, { onFailure: ({ message }) => failures.push(message) });
    log.subscribe(() => {
      throw new Error('listener');
    });
    await log.recordDurably(access('/1'));
    await log.recordDurably(access('/2'));
    await log.close();
    expect(failures).toEqual(['listener']);
  });

  it('refuses durable events after it was closed, counts the others, and closes once', async () => {
    const meter = new CountingMeter();
    const log = await openTestLog(file, { metrics: meter });
    await Promise.all([log.close(), log.close()]);
    log.record(access('/late'));
    expect(meter.dropped.get('file')).toBe(1);
    await expect(log.recordDurably(access('/late'))).rejects.toMatchObject({ code: 'audit_unavailable' });
    expect(await typesOf(file)).toEqual(['chain.start', 'chain.checkpoint', 'chain.checkpoint']);
  });

  it('writes to several files, each with a chain of its own', async () => {
    const other = join(folder, 'other.jsonl');
    const log = await openTestLog(file, {
      sinks: [
        { kind: 'file', path: file },
        { kind: 'file', path: other },
      ],
    });
    await log.recordDurably(access('/1'));
    await log.close();
    expect(await pathsOf(other)).toEqual(['/1']);
    expect((await verifyAuditFiles([file, other])).chains).toHaveLength(2);
  });

  it('without sinks still tells its listeners', async () => {
    const log = await openTestLog(file, { sinks: [] });
    const heard: string[] = [];
    log.subscribe((line) => heard.push(JSON.parse(line).type));
    await log.recordDurably(access('/1'));
    await log.close();
    expect(heard).toEqual(['chain.start', 'access.allowed', 'chain.checkpoint']);
  });
});

async function tailOf(path: string): Promise<string> {
  const handle = await open(path);
  try {
    const { size } = await handle.stat();
    const length = Math.min(size, 4096);
    const { buffer } = await handle.read(Buffer.alloc(length), 0, length, size - length);
    return buffer.toString('utf8').trimEnd().split('\n').at(-1) ?? '';
  } finally {
    await handle.close();
  }
}
