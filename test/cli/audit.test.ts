import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openAuditLog } from '../../src/audit/open.ts';
import { portcullis, start, temporaryFolder } from './portcullis.ts';

const folder = temporaryFolder();
afterAll(() => folder.remove());
const cwd = folder.path;
const file = join(cwd, 'audit.jsonl');
const ID = '4yKqUc9QzT1B';

async function openLog(path: string) {
  return await openAuditLog({
    sinks: [{ kind: 'file', path }],
    onFull: 'block',
    clock: { now: () => Date.now(), monotonic: () => performance.now() },
    metrics: { auditEvent: () => undefined, auditDropped: () => undefined },
  });
}

beforeAll(async () => {
  const log = await openLog(file);
  await log.recordDurably({ type: 'token.issued', outcome: 'success', token_id: ID, owner: 'team-shop' });
  await log.recordDurably({
    type: 'access.allowed',
    outcome: 'success',
    token_id: ID,
    method: 'GET',
    path: '/orders',
    status: 200,
  });
  await log.recordDurably({
    type: 'access.denied',
    outcome: 'failure',
    reason: 'scope_insufficient',
    method: 'POST',
    path: '/orders\u001b[31m',
    status: 403,
    token_id: ID,
  });
  await log.close();
});

describe('portcullis audit verify', { timeout: 60_000 }, () => {
  it('accepts what was written', async () => {
    const { status, stdout, stderr } = await portcullis(['audit', 'verify', 'audit.jsonl'], { cwd });
    expect([status, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(/^chain .*:.*audit\.jsonl: events 1 to (\d+), closed in order\nok: \1 lines\n$/);
  });

  it('names the line that was edited', async () => {
    const lines = readFileSync(file, 'utf8').split('\n');
    folder.write('edited.jsonl', lines.map((line) => line.replace('"team-shop"', '"team-evil"')).join('\n'));
    const { status, stdout, stderr } = await portcullis(['audit', 'verify', 'edited.jsonl'], { cwd });
    expect([status, stderr]).toEqual([1, `portcullis: 1 problem in ${lines.length - 1} lines\n`]);
    const edited = lines.findIndex((line) => line.includes('team-shop')) + 1;
    expect(stdout).toMatch(new RegExp(`^edited\\.jsonl:${edited}: problem: the line was changed`));
  });

  it('tells machines the same', async () => {
    const lines = readFileSync(file, 'utf8').split('\n');
    folder.write('removed.jsonl', lines.toSpliced(2, 1).join('\n'));
    const { status, stdout } = await portcullis(['audit', 'verify', 'removed.jsonl', '--json'], { cwd });
    expect([status, JSON.parse(stdout)]).toEqual([
      1,
      expect.objectContaining({
        ok: false,
        problems: [expect.objectContaining({ file: 'removed.jsonl', line: 3, kind: 'removed' })],
      }),
    ]);
  });

  it('fails on a file that is not there', async () => {
    const { status, stdout } = await portcullis(['audit', 'verify', 'missing.jsonl'], { cwd });
    expect([status, stdout]).toEqual([1, expect.stringMatching(/^missing\.jsonl: problem: ENOENT/)]);
  });
});

describe('portcullis audit query', { timeout: 60_000 }, () => {
  it('finds events by token and decision, and lets none of them steer the terminal', async () => {
    const args = ['audit', 'query', 'audit.jsonl', '--token', ID, '--decision', 'deny', '--since', '1h'];
    const { status, stdout } = await portcullis(args, { cwd });
    expect([status, stdout]).toEqual([
      0,
      expect.stringMatching(
        /^\S+Z access\.denied scope_insufficient POST \/orders\\u001b\[31m 403 token=4yKqUc9QzT1B\n$/,
      ),
    ]);
  });

  it('prints one JSON object a line, the newest first', async () => {
    const { stdout } = await portcullis(['audit', 'query', 'audit.jsonl', '--limit', '3', '--json'], { cwd });
    const events = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    const written = readFileSync(file, 'utf8').trim().split('\n');
    expect(events).toEqual(
      written
        .slice(-3)
        .toReversed()
        .map((line) => JSON.parse(line)),
    );
  });

  it('fails on a file that is not there', async () => {
    const { status, stderr } = await portcullis(['audit', 'query', 'missing.jsonl'], { cwd });
    expect([status, stderr]).toEqual([1, expect.stringMatching(/missing\.jsonl cannot be read \(ENOENT\)\n$/)]);
  });
});

describe('portcullis audit tail', { timeout: 60_000 }, () => {
  it('begins with the last lines and goes on with new ones, until it is interrupted', async () => {
    const path = join(cwd, 'growing.jsonl');
    const log = await openLog(path);
    const tail = start(['audit', 'tail', path, '-n', '1000', '--json'], { cwd });
    await tail.seen(/chain\.start/);
    await log.recordDurably({ type: 'token.revoked', outcome: 'success', token_id: ID });
    await tail.seen(/token\.revoked/);
    tail.child.kill('SIGINT');
    const { status, stdout } = await tail.finished;
    expect([status, stdout]).toEqual([0, readFileSync(path, 'utf8')]);
    await log.close();
  });
});
