import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { portcullis, start } from './portcullis.ts';

describe('portcullis demo', { timeout: 90_000 }, () => {
  it('--once runs its calls and prints that all of them came out as told', async () => {
    const { status, stdout, stderr } = await portcullis(['demo', '--once']);
    const lines = stdout.trimEnd().split('\n');
    expect([status, stderr, lines[0]?.split(/ {2,}/), lines.at(-1)]).toEqual([
      0,
      '',
      ['METHOD', 'PATH', 'TOKEN', 'EXPECTED', 'GOT'],
      '15 passed, 0 failed',
    ]);
    expect(lines.slice(1, -1).every((line) => line.endsWith('✓'))).toBe(true);
    expect(stdout).not.toContain('pct_');
  });

  it('stays up, with curl lines that do what they say, and leaves nothing behind', async () => {
    const taken = createServer();
    await new Promise<void>((listening) => taken.listen(0, '127.0.0.1', listening));
    const address = taken.address();
    const port = String(typeof address === 'object' && address !== null ? address.port : 0);
    const demo = start(['demo', '--port', port, '--admin-port', '0']);
    const [shown] = await demo.seen(/^[\s\S]*Ctrl-C ends it\.\n/);
    taken.close();
    const variables = [...shown.matchAll(/^(?:READ|WRITE|EXPIRED)=.*$/gm)].join('\n');
    const calls = [...shown.matchAll(/^(curl -si .*?) {2}# (\d{3})(?: (\w+))?$/gm)];
    expect(calls.length).toBe(14);
    for (const [, line = '', status, reason] of calls) {
      const answer = await promisify(execFile)('sh', ['-c', `${variables}\n${line}`]);
      expect([line, answer.stdout.split(' ')[1]]).toEqual([line, status]);
      if (reason !== undefined) expect(answer.stdout).toContain(`"reason":"${reason}"`);
    }
    const audit = /^tail (\S+)$/m.exec(shown)?.[1] ?? '';
    expect(existsSync(audit)).toBe(true);
    demo.child.kill('SIGINT');
    const { status, stderr } = await demo.finished;
    expect([status, stderr]).toEqual([0, `port ${port} is taken; using a free one\nstopping\n`]);
    expect(existsSync(dirname(dirname(audit)))).toBe(false);
  });
});
