import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { formatDiagnostic } from '../../src/base/diagnostic.ts';
import { compilePolicy, type PolicyFile } from '../../src/policy/compile.ts';
import { lintPolicy } from '../../src/policy/lint.ts';

const FOLDER = join(import.meta.dirname, 'policy');

/**
 * A golden file: what it shows in its first lines, then sections. `=== policies/x.yaml` begins a file of the folder,
 * `=== diagnostics` what `policy check` says of it, errors or, where it loads, warnings.
 */
function readGolden(name: string): { readonly files: PolicyFile[]; readonly expected: string } {
  const sections = readFileSync(join(FOLDER, name), 'utf8').split(/^=== /m).slice(1);
  const files: PolicyFile[] = [];
  let expected: string | null = null;
  for (const section of sections) {
    const end = section.indexOf('\n');
    const title = section.slice(0, end);
    if (title === 'diagnostics') expected = section.slice(end + 1).trimEnd();
    else files.push({ name: title, text: section.slice(end + 1) });
  }
  if (expected === null) throw new Error(`${name} expects nothing: it has no section "diagnostics"`);
  return { files, expected };
}

describe('what is wrong with a policy', () => {
  const names = readdirSync(FOLDER).toSorted();

  it('has golden files', () => {
    expect(names.length).toBeGreaterThan(5);
  });

  it.each(names)('%s', (name) => {
    const { files, expected } = readGolden(name);
    const { policy, diagnostics } = compilePolicy(files, { upstreams: new Set(['orders', 'billing']) });
    const warnings = policy === null ? [] : lintPolicy(policy);
    expect([...diagnostics, ...warnings].map(formatDiagnostic).join('\n')).toBe(expected);
    expect(policy === null).toBe(diagnostics.length > 0);
  });
});
