import { describe, expect, it, vi } from 'vitest';
import { runCli } from '../../src/cli/main.ts';
import { createRuntime } from '../../src/main/runtime.ts';
import { portcullis } from './portcullis.ts';

const COMMANDS = [
  [],
  ['demo'],
  ['serve'],
  ['config'],
  ['config', 'check'],
  ['policy'],
  ['policy', 'check'],
  ['policy', 'explain'],
  ['policy', 'test'],
  ['policy', 'replay'],
  ['policy', 'import'],
  ['policy', 'import', 'openapi'],
  ['policy', 'coverage'],
  ['token'],
  ['token', 'issue'],
  ['token', 'list'],
  ['token', 'show'],
  ['token', 'rotate'],
  ['token', 'revoke'],
  ['token', 'introspect'],
  ['admin-token'],
  ['agent'],
  ['audit'],
  ['audit', 'verify'],
  ['audit', 'tail'],
  ['audit', 'query'],
  ['schema'],
  ['schema', 'config'],
  ['schema', 'policy'],
  ['schema', 'policy-test'],
];

/** Every command below `path`, as the help pages themselves name them. */
function subcommands(help: string): string[] {
  const section = /\nCommands:\n([\s\S]*?)\n\n/.exec(help)?.[1] ?? '';
  return [...section.matchAll(/^ {2}([a-z][a-z-]*)/gm)].map((match) => match[1] ?? '');
}

/** What a command writes to stdout, in this process: starting a new one for every help page would take long. */
async function helpOf(path: readonly string[]): Promise<{ readonly status: number; readonly text: string }> {
  let text = '';
  const before = new Set(process.stdout.listeners('error'));
  const write = vi.spyOn(process.stdout, 'write').mockImplementation((chunk) => {
    text += String(chunk);
    return true;
  });
  try {
    return { status: await runCli([...path, '--help'], createRuntime()), text };
  } finally {
    write.mockRestore();
    // A process runs one command; here each would leave its listener.
    for (const listener of process.stdout.listeners('error')) {
      if (!before.has(listener) && isListener(listener)) process.stdout.off('error', listener);
    }
  }
}

function isListener(value: unknown): value is (error: Error) => void {
  return typeof value === 'function';
}

describe('help', () => {
  it('ends with an example for every command that there is, and names no other', async () => {
    const found: string[] = [];
    for (const path of COMMANDS) {
      const { status, text } = await helpOf(path);
      expect([path.join(' '), status]).toEqual([path.join(' '), 0]);
      expect(text).toMatch(/\nExamples?:\n {2}\$ \S.*\n$/s);
      found.push(...subcommands(text).map((name) => [...path, name].join(' ')));
    }
    const named = COMMANDS.filter((path) => path.length > 0).map((path) => path.join(' '));
    expect(found.toSorted()).toEqual(named.toSorted());
  });

  it('goes to stdout', async () => {
    const { status, stdout, stderr } = await portcullis(['token', '--help']);
    expect([status, stdout, stderr]).toEqual([0, expect.stringContaining('Usage: portcullis token'), '']);
  }, 60_000);
});

describe('wrong usage ends with status 2 and says what is near', { timeout: 60_000 }, () => {
  it.each([
    [['serv'], "portcullis: unknown command 'serv'\n(Did you mean serve?)\n"],
    [['policy', 'chek'], "portcullis: unknown command 'chek'\n(Did you mean check?)\n"],
    [['serve'], "portcullis: required option '--config <file>' not specified\n"],
    [['schema', 'config', '--jsn'], "portcullis: unknown option '--jsn'\n(Did you mean --json?)\n"],
    [['token', 'show'], "portcullis: missing required argument 'id'\n"],
    [
      ['audit', 'query', 'x', '--type', 'access.denid'],
      "portcullis: option '--type <type>' argument 'access.denid' is invalid. There is no such type; did you mean \"access.denied\"?\n",
    ],
    [['token', 'list'], /^portcullis: an admin token is needed: give --admin-token-file FILE/],
    [['audit', 'verify'], 'portcullis: which files? Name them, or give --config FILE\n'],
  ])('portcullis %j', async (args, message) => {
    const { status, stdout, stderr } = await portcullis(args);
    expect([status, stdout]).toEqual([2, '']);
    if (typeof message === 'string') expect(stderr).toBe(message);
    else expect(stderr).toMatch(message);
  });

  it('shows the help where a command is missing', async () => {
    const { status, stderr } = await portcullis([]);
    expect(status).toBe(2);
    expect(stderr).toContain('Usage: portcullis');
  });
});

it('prints its version', async () => {
  expect(await portcullis(['--version'])).toEqual({
    status: 0,
    stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/),
    stderr: '',
  });
}, 60_000);
