import { existsSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { allPages, ROOT, readPage } from './markdown.ts';

const pages = allPages();

describe('the pages', () => {
  it('are all found', () => {
    expect(pages.length).toBeGreaterThan(20);
  });

  it.each(pages.map(({ name }) => name))('%s begins with its title', (name) => {
    const [title, ...others] = readPage(name).headings;
    expect(title?.level).toBe(1);
    expect(others.filter(({ level }) => level === 1)).toEqual([]);
  });

  it('link only to what is there', () => {
    const broken = pages.flatMap((page) =>
      links(page.prose)
        .filter((target) => !/^[a-z][a-z0-9+.-]*:/.test(target))
        .filter((target) => !resolves(page.name, target))
        .map((target) => `${page.name}: ${target}`),
    );
    expect(broken).toEqual([]);
  });

  it('are all reached from the README', () => {
    const seen = new Set(['README.md']);
    for (const name of seen) {
      for (const target of links(readPage(name).prose)) {
        const path = relative(ROOT, resolve(ROOT, dirname(name), target.replace(/#.*$/, '')));
        if (path.endsWith('.md') && existsSync(join(ROOT, path))) seen.add(path);
      }
    }
    const unreached = pages.map(({ name }) => name).filter((name) => !seen.has(name) && !name.startsWith('docs/adr/'));
    expect(unreached).toEqual([]);
  });

  it('number the decisions without a gap', () => {
    const numbers = pages.flatMap(({ name }) => /^docs\/adr\/(\d{4})-/.exec(name)?.[1] ?? []);
    expect(numbers).toEqual(numbers.map((_, index) => String(index + 1).padStart(4, '0')));
  });
});

describe('README.md', () => {
  const commands = readPage('README.md')
    .blocks.filter(({ info }) => info === 'sh')
    .flatMap(({ text }) => text.split('\n'));

  it.each(['npm ci && npm run demo', 'npm ci && npm test'])('has the line "%s"', (command) => {
    expect(commands).toContain(command);
  });
});

function links(prose: string): string[] {
  return [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => target ?? '');
}

function resolves(from: string, target: string): boolean {
  const [path = '', anchor] = target.split('#');
  const name = path === '' ? from : relative(ROOT, resolve(ROOT, dirname(from), path));
  if (name.startsWith('..') || !existsSync(join(ROOT, name))) return false;
  if (anchor === undefined) return true;
  return !statSync(join(ROOT, name)).isDirectory() && readPage(name).headings.some((known) => known.anchor === anchor);
}
