import { beforeAll, describe, expect, it, vi } from 'vitest';
import { runCli } from '../../src/cli/main.ts';
import { createRuntime } from '../../src/main/runtime.ts';
import { bare, codeWords, readPage, section } from './markdown.ts';

interface DocumentedCommand {
  /** `portcullis token issue` */
  readonly name: string;
  /** Long options, as in `--out`. */
  readonly options: readonly string[];
}

/** What the command line says of itself: every command that is not a mere group, with its options. */
async function commandsBelow(words: readonly string[]): Promise<DocumentedCommand[]> {
  const help = await helpOf(words);
  const children = listed(help, 'Commands').flatMap((line) => /^ {2}(\S+)/.exec(line)?.[1] ?? []);
  const found: DocumentedCommand[] = [];
  for (const child of children) found.push(...(await commandsBelow([...words, child])));
  if (children.length > 0) return found;
  const options = listed(help, 'Options').flatMap((line) => /^ {2}(?:-\w, )?(--[\w-]+)/.exec(line)?.[1] ?? []);
  return [{ name: ['portcullis', ...words].join(' '), options }];
}

/** In this process, because a process for each command would take longer than everything else here. */
async function helpOf(words: readonly string[]): Promise<string> {
  let text = '';
  const listeners = process.stdout.listeners('error');
  const stdout = vi.spyOn(process.stdout, 'write').mockImplementation((chunk) => {
    text += String(chunk);
    return true;
  });
  try {
    await runCli([...words, '--help'], createRuntime());
  } finally {
    stdout.mockRestore();
    // Each run of the command line listens for a reader that is gone.
    for (const added of process.stdout.listeners('error')) {
      if (!listeners.includes(added)) process.stdout.off('error', added as () => void);
    }
  }
  return text;
}

function listed(help: string, title: string): string[] {
  const lines = help.split('\n');
  const start = lines.indexOf(`${title}:`);
  if (start < 0) return [];
  const rest = lines.slice(start + 1);
  const end = rest.indexOf('');
  return end < 0 ? rest : rest.slice(0, end);
}

/** Explained once, at the top of the page. */
const COMMON = new Set(['--help', '--json', '--admin-url', '--admin-token-file']);

describe('docs/cli.md', () => {
  const page = readPage('docs/cli.md');
  let commands: DocumentedCommand[] = [];
  beforeAll(async () => {
    commands = await commandsBelow([]);
  });

  it('has one section for each command, and no other', () => {
    const documented = page.headings.filter(({ level }) => level === 3).map(({ title }) => bare(title));
    expect(commands.length).toBeGreaterThan(12);
    expect(documented.toSorted()).toEqual(commands.map(({ name }) => name).toSorted());
  });

  it('tells every option of every command, and no other', () => {
    const general = new Set(['--config', '--out', '--force']);
    const wrong = commands.flatMap(({ name, options }) => {
      const told = new Set(codeWords(section(page, name)).flatMap((words) => words.match(/--[a-z][\w-]*/g) ?? []));
      const missing = options.filter((option) => !told.has(option) && !COMMON.has(option) && !general.has(option));
      const extra = [...told].filter((option) => !options.includes(option));
      return [...missing.map((option) => `${name} lacks ${option}`), ...extra.map((o) => `${name} has no ${o}`)];
    });
    expect(wrong).toEqual([]);
  });
});
