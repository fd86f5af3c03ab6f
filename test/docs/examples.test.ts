import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { formatDiagnostic } from '../../src/base/diagnostic.ts';
import { loadConfig } from '../../src/config/load.ts';
import { canonicalTarget } from '../../src/gateway/canonical-path.ts';
import { lintPolicy } from '../../src/policy/lint.ts';
import { loadPolicyFolder, readPolicyFolder } from '../../src/policy/load.ts';
import { runPolicyTests } from '../../src/policy/run-policy-tests.ts';
import { allPages, type CodeBlock } from './markdown.ts';

/*
 * A block that begins with ```yaml config is a whole configuration; the ```yaml policy NAME of a page are together a
 * whole policy folder. Plain ```yaml blocks are parts of something.
 */

const folder = mkdtempSync(join(tmpdir(), 'portcullis-docs-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const pages = allPages();
const configs = pages.flatMap((page) =>
  page.blocks.filter(({ info }) => info === 'yaml config').map((block): [string, CodeBlock] => [page.name, block]),
);
const policies = pages
  .map((page): [string, readonly CodeBlock[]] => [
    page.name,
    page.blocks.filter(({ info }) => info.startsWith('yaml policy ')),
  ])
  .filter(([, blocks]) => blocks.length > 0);

describe('the examples', () => {
  it('are found', () => {
    expect([configs.length > 2, policies.length > 0]).toEqual([true, true]);
  });

  it.each(configs)('%s: a whole configuration loads without an error or a warning', async (_, block) => {
    const file = join(folder, 'portcullis.yaml');
    writeFileSync(file, block.text);
    const { config, diagnostics } = await loadConfig(file, {});
    expect(diagnostics.map(formatDiagnostic)).toEqual([]);
    expect(config?.upstreams.size).toBeGreaterThan(0);
  });

  it.each(policies)('%s: the policies load without an error or a warning, and their tests pass', async (_, blocks) => {
    const dir = mkdtempSync(join(folder, 'policies-'));
    for (const { info, text } of blocks) writeFileSync(join(dir, info.slice('yaml policy '.length)), text);
    const { policy, diagnostics } = await loadPolicyFolder(dir, { upstreams: null });
    expect(diagnostics.map(formatDiagnostic)).toEqual([]);
    if (policy === null) throw new Error('no policy without an error');
    expect(lintPolicy(policy).map(formatDiagnostic)).toEqual([]);
    const { tests } = await readPolicyFolder(dir);
    const run = runPolicyTests(policy, tests, { canonicalise: canonicalTarget, now: Date.now() });
    expect(run.diagnostics.map(formatDiagnostic)).toEqual([]);
    expect(run.results.filter(({ passed }) => !passed)).toEqual([]);
  });

  it('in YAML and JSON can all be read', () => {
    const unreadable = pages.flatMap((page) =>
      page.blocks
        .filter(({ info }) => info === 'yaml' || info === 'json')
        .filter(({ info, text }) => !canBeRead(info, text))
        .map(({ line }) => `${page.name}:${line}`),
    );
    expect(unreadable).toEqual([]);
  });
});

function canBeRead(info: string, text: string): boolean {
  try {
    if (info === 'json') JSON.parse(text);
    else parse(text);
    return true;
  } catch {
    return false;
  }
}
