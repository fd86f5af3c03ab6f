import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { PORTCULLIS, portcullis, ROOT, start, temporaryFolder } from './portcullis.ts';

/**
 * The launcher alone, around a main module that says who it is and waits for a signal: in a checkout, below
 * node_modules, through the link that npm makes, and run by a node that is too old.
 */
const folder = temporaryFolder();
afterAll(() => folder.remove());

const TOLD = `
export async function main(argv) {
  const { pid, ppid, version } = process;
  const stopped = Promise.withResolvers();
  for (const each of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.once(each, () => stopped.resolve(each));
  console.log(JSON.stringify({ from: import.meta.url.replace(/^.*[/](src|dist)[/]/, '$1/'), pid, ppid, version, argv }));
  if (argv[0] !== 'wait') return Number(argv[0] ?? 0);
  const stay = setInterval(() => {}, 60_000);
  const signal = await stopped.promise;
  clearInterval(stay);
  console.log('got ' + signal);
  return 7;
}
`;

function packageAt(path: string, main: 'src/main.ts' | 'dist/main.js'): string {
  mkdirSync(join(folder.path, path, main, '..'), { recursive: true });
  cpSync(join(ROOT, 'bin'), join(folder.path, path, 'bin'), { recursive: true });
  folder.write(join(path, 'package.json'), '{ "name": "portcullis", "type": "module" }');
  folder.write(join(path, main), TOLD);
  return join(folder.path, path, 'bin', 'portcullis.js');
}

function linkNode(path: string): void {
  mkdirSync(join(folder.path, path), { recursive: true });
  symlinkSync(join(ROOT, 'node_modules', '.bin', 'node'), join(folder.path, path, 'node'));
}

const checkout = packageAt('checkout', 'src/main.ts');
linkNode('checkout/node_modules/.bin');
const installed = packageAt('project/node_modules/portcullis', 'dist/main.js');
linkNode('project/node_modules/.bin');
const link = join(folder.path, 'project/node_modules/.bin/portcullis');
symlinkSync('../portcullis/bin/portcullis.js', link);

/** A PATH on which only the system's own programs are. */
const SYSTEM = { PATH: '/usr/local/bin:/usr/bin:/bin' };

/** A node of another major version, older than what is needed. */
const oldNode = ['/usr/bin/node', '/usr/local/bin/node'].find(
  (path) =>
    existsSync(path) && Number(/^v(\d+)/.exec(execFileSync(path, ['--version'], { encoding: 'utf8' }))?.[1]) < 26,
);

describe('run directly', () => {
  it.each([
    ['in a checkout, from source', checkout, 'src/main.ts'],
    ['installed, from the built package', installed, 'dist/main.js'],
    ['through the link that npm makes', link, 'dist/main.js'],
  ])('%s: becomes the pinned node', async (_what, file, from) => {
    const { child, finished } = start(['3', '--x', 'a b'], { command: [file], env: SYSTEM, cwd: '/' });
    const { status, stdout, stderr } = await finished;
    expect([status, stderr]).toEqual([3, '']);
    expect(JSON.parse(stdout)).toEqual({
      from,
      pid: child.pid,
      ppid: process.pid,
      version: process.version,
      argv: ['3', '--x', 'a b'],
    });
  });

  it('gets signals itself', async () => {
    const running = start(['wait'], { command: [link], env: SYSTEM });
    await running.seen(/pid/);
    running.child.kill('SIGHUP');
    const { status, stdout } = await running.finished;
    expect([status, stdout.split('\n')[1]]).toEqual([7, 'got SIGHUP']);
  });

  it('is an executable file', () => {
    expect(readdirSync(join(ROOT, 'bin')).toSorted()).toEqual(['exec-node.sh', 'portcullis.js']);
    const staged = execFileSync('git', ['ls-files', '--stage', 'bin/portcullis.js'], { cwd: ROOT, encoding: 'utf8' });
    expect(staged === '' || staged.startsWith('100755')).toBe(true);
  });
});

describe.skipIf(oldNode === undefined)('run by a node that is too old (skipped where the machine has none)', () => {
  const command = (file: string): [string, string] => [oldNode ?? '', file];

  it('hands over to the pinned node, with arguments, status and output', async () => {
    const { child, finished } = start(['3', 'a b'], { command: command(installed), env: SYSTEM });
    const { status, stdout, stderr } = await finished;
    expect([status, stderr]).toEqual([3, '']);
    expect(JSON.parse(stdout)).toMatchObject({ ppid: child.pid, version: process.version, argv: ['3', 'a b'] });
  });

  it.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)('passes %s on and waits for the end', async (signal) => {
    const running = start(['wait'], { command: command(checkout), env: SYSTEM });
    await running.seen(/pid/);
    running.child.kill(signal);
    const { status, stdout } = await running.finished;
    expect([status, stdout.split('\n')[1]]).toEqual([7, `got ${signal}`]);
  });

  it('takes the gateway with it when it is killed', async () => {
    const running = start(['wait'], { command: command(checkout), env: SYSTEM });
    await running.seen(/pid/);
    running.child.kill('SIGKILL');
    // Ends only when stdout is closed, which the gateway has, too: when both are gone.
    const { stdout } = await running.finished;
    expect(stdout).not.toContain('got');
  });

  it('says what is missing where there is no other', async () => {
    const alone = packageAt('alone', 'src/main.ts');
    const { status, stdout, stderr } = await portcullis([], { command: command(alone), env: SYSTEM });
    expect([status, stdout]).toEqual([1, '']);
    expect(stderr).toMatch(/^portcullis: needs Node\.js 26 or later and this is v\d+\.\d+\.\d+; npm installs it/);
  });
});

it('runs the real command line from a checkout', async () => {
  const { status, stderr } = await portcullis(['--version'], { command: [PORTCULLIS], env: SYSTEM, cwd: '/' });
  expect([status, stderr]).toEqual([0, '']);
}, 60_000);
