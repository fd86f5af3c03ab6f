import { readFileSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { freePort, openFilesLimit, Processes } from '../../bench/processes.ts';

/** A process below another one, which says its id. */
const FAMILY = ['-c', 'sleep 600 & echo "child $!"; wait'] as const;

describe.skipIf(process.platform !== 'linux')('the processes of the bench (they are read from /proc)', () => {
  const processes = new Processes();
  afterEach(() => processes.killAll());

  it('are ready when they say so', async () => {
    const started = await processes.start('sh', ['-c', 'echo made; echo ready 7; exec sleep 600'], {
      core: 0,
      ready: /^ready \d$/m,
    });
    expect((await started.said(/ready (\d)/))[1]).toBe('7');
    expect([started.over, started.rssKib() > 0]).toEqual([false, true]);
    await processes.endAll();
    expect(started.over).toBe(true);
  });

  it('end with all below them', async () => {
    const started = await processes.start('sh', FAMILY, { core: null });
    const child = Number((await started.said(/child (\d+)/))[1]);
    expect(isThere(child)).toBe(true);
    const gone = new Promise((resolve) => started.child.once('exit', resolve));
    started.kill();
    await gone;
    await expect.poll(() => isThere(child), { timeout: 10_000 }).toBe(false);
  });

  it('are counted with the CPU time of what has ended below them', async () => {
    const busy = 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done';
    const started = await processes.start('sh', ['-c', `(${busy}); echo done; sleep 600`], {
      core: null,
      ready: /^done$/m,
    });
    expect(started.cpuSeconds()).toBeGreaterThan(0);
  });

  it('that end instead, or are not there, are told with what they said', async () => {
    const failing = processes.start('sh', ['-c', 'echo no such thing >&2; exit 3'], { core: null, ready: /ready/ });
    await expect(failing).rejects.toThrow('no such thing');
    await expect(processes.run('sh', ['-c', 'echo wrong; exit 1'], { core: null })).rejects.toThrow('wrong');
    await expect(processes.run('sh', ['-c', 'echo 1; echo 2'], { core: null })).resolves.toBe('1\n2\n');
    await expect(processes.run('/no/such/program', [], { core: null })).rejects.toThrow('cannot be started');
  });

  it('get ports and files', async () => {
    expect(await freePort()).toBeGreaterThan(0);
    expect(openFilesLimit()).toBeGreaterThan(100);
  });
});

/** A process that is over but not yet waited for (state Z) does not count. */
function isThere(pid: number): boolean {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return false;
  }
}
