import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';

export const ROOT = resolve(import.meta.dirname, '../..');

export interface CodeBlock {
  /** What stands behind the fence: `yaml policy orders.yaml`. */
  readonly info: string;
  readonly text: string;
  readonly line: number;
}

export interface Heading {
  readonly level: number;
  /** As it is written, with its backticks. */
  readonly title: string;
  readonly anchor: string;
}

/** One Markdown file, as far as these tests read it. */
export interface Page {
  /** From the project's folder: `docs/reasons.md`. */
  readonly name: string;
  /** With code blocks taken out. */
  readonly prose: string;
  readonly blocks: readonly CodeBlock[];
  readonly headings: readonly Heading[];
}

export function readPage(name: string): Page {
  const prose: string[] = [];
  const blocks: CodeBlock[] = [];
  let open: { info: string; line: number; lines: string[] } | null = null;
  for (const [index, line] of readFileSync(join(ROOT, name), 'utf8').split('\n').entries()) {
    if (line.startsWith('```')) {
      if (open === null) open = { info: line.slice(3).trim(), line: index + 1, lines: [] };
      else {
        blocks.push({ info: open.info, text: `${open.lines.join('\n')}\n`, line: open.line });
        open = null;
      }
    } else if (open !== null) open.lines.push(line);
    else prose.push(line);
  }
  if (open !== null) throw new Error(`${name}:${open.line}: the code block is not closed`);
  return { name, prose: prose.join('\n'), blocks, headings: prose.flatMap(readHeading) };
}

/** Every Markdown file of the project: those in its folder, and all below `docs/`. */
export function allPages(): Page[] {
  const top = readdirSync(ROOT).filter((name) => name.endsWith('.md'));
  const docs = readdirSync(join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => relative(ROOT, join(ROOT, 'docs', name)));
  return [...top, ...docs].toSorted().map(readPage);
}

function readHeading(line: string): Heading[] {
  const match = /^(#{1,6}) (.+)$/.exec(line);
  if (match?.[1] === undefined || match[2] === undefined) return [];
  return [{ level: match[1].length, title: match[2], anchor: anchorOf(match[2]) }];
}

/** As the usual renderers make it: lower case, punctuation dropped, spaces become hyphens. */
function anchorOf(title: string): string {
  return title
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
    .replaceAll(' ', '-');
}

/** The prose from a heading (its text without backticks) to the next one of the same or a higher level. */
export function section(page: Page, title: string): string {
  const lines = page.prose.split('\n');
  const start = lines.findIndex((line) => readHeading(line).some((heading) => bare(heading.title) === title));
  if (start < 0) throw new Error(`${page.name} has no section "${title}"`);
  const level = readHeading(lines[start] ?? '')[0]?.level ?? 1;
  const length = lines.slice(start + 1).findIndex((line) => readHeading(line).some((next) => next.level <= level));
  return lines.slice(start + 1, length < 0 ? undefined : start + 1 + length).join('\n');
}

export function bare(text: string): string {
  return text.replaceAll('`', '').trim();
}

/** The rows of all tables in a text, cell by cell, without their heads. */
export function tableRows(text: string): string[][] {
  const lines = text.split('\n');
  return lines.flatMap((line, index) => {
    const inTable = line.startsWith('|');
    const isHead = /^\|[\s|:-]+\|$/.test(lines[index + 1] ?? '') || /^\|[\s|:-]+\|$/.test(line);
    return inTable && !isHead ? [cells(line)] : [];
  });
}

function cells(line: string): string[] {
  return line
    .replace(/^\||\|$/g, '')
    .split(/(?<!\\)\|/)
    .map((cell) => cell.trim());
}

/** The words in backticks of a text. */
export function codeWords(text: string): string[] {
  return [...text.matchAll(/`([^`]+)`/g)].map(([, word]) => word ?? '');
}
