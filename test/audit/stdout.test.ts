import { fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';

const WRITER = resolve(import.meta.dirname, 'stdout-writer.ts');

describe('standard output as a sink', () => {
  it('neither blocks on a reader that does not read nor ends with one that goes away', async () => {
    const child = fork(WRITER, { stdio: ['ignore', 'pipe', 'inherit', 'ipc'], execArgv: [] });
    const [{ dropped }] = await once(child, 'message');
    // About the queue's worth fits; the reader has taken next to nothing.
    expect(dropped).toBeGreaterThan(LIMITS.auditQueue * 0.9);
    child.stdout?.destroy();
    child.send('go on');
    const [{ refused }] = await once(child, 'message');
    expect(refused).toContain('cannot be written');
    expect(await once(child, 'exit')).toEqual([0, null]);
  });

  it('gets a chain that verifies', async () => {
    const script = `
      const { openAuditLog } = await import(${JSON.stringify(resolve(import.meta.dirname, '../../src/audit/open.ts'))});
      const none = () => undefined;
      const log = await openAuditLog({ sinks: [{ kind: 'stdout' }], onFull: 'drop',
        clock: { now: () => Date.now(), monotonic: () => 0 }, metrics: { auditEvent: none, auditDropped: none } });
      for (let i = 0; i < 5000; i += 1) log.record({ type: 'access.allowed', outcome: 'success', path: '/' + i });
      await log.close();`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const pieces: Buffer[] = [];
    child.stdout.on('data', (piece: Buffer) => pieces.push(piece));
    await once(child, 'close');
    const { ChainVerifier } = await import('../../src/audit/verify.ts');
    const problems: unknown[] = [];
    const verifier = new ChainVerifier(
      new Map(),
      (problem) => problems.push(problem),
      () => undefined,
    );
    verifier.beginFile('stdout');
    const lines = Buffer.concat(pieces).toString('utf8').split('\n').slice(0, -1);
    for (const [index, line] of lines.entries()) verifier.line(index + 1, Buffer.from(line), true);
    verifier.endFile();
    expect(problems).toEqual([]);
    expect(verifier.finish()).toMatchObject([{ firstSeq: 1, lastSeq: 5002, closed: true }]);
  });
});
