import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { formatDiagnostic } from '../../src/base/diagnostic.ts';
import { compilePolicy, type PolicyFile } from '../../src/policy/compile.ts';
import { PolicyUsage } from '../../src/policy/lint/usage.ts';
import { lintPolicy } from '../../src/policy/lint.ts';
import type { RecordedEvent } from '../../src/policy/recorded-request.ts';

const FOLDER = join(import.meta.dirname, 'policy');

/**
 * A golden file: what it shows in its first lines, then sections. `=== policies/x.yaml` begins a file of the folder,
 * `=== audit` audit events to check it with, `=== diagnostics` what `policy check` says of it, errors or, where it loads,
 * warnings.
 */
function readGolden(name: string): {
  readonly files: PolicyFile[];
  readonly events: RecordedEvent[] | null;
  readonly expected: string;
} {
  const sections = readFileSync(join(FOLDER, name), 'utf8').split(/^=== /m).slice(1);
  const files: PolicyFile[] = [];
  let expected: string | null = null;
  let events: RecordedEvent[] | null = null;
  for (const section of sections) {
    const end = section.indexOf('\n');
    const title = section.slice(0, end);
    if (title === 'diagnostics') expected = section.slice(end + 1).trimEnd();
    else if (title === 'audit')
      events = section
        .slice(end + 1)
        .trimEnd()
        .split('\n')
        .map((line): RecordedEvent => JSON.parse(line));
    else files.push({ name: title, text: section.slice(end + 1) });
  }
  if (expected === null) throw new Error(`${name} expects nothing: it has no section "diagnostics"`);
  return { files, events, expected };
}

describe('what is wrong with a policy', () => {
  const names = readdirSync(FOLDER).toSorted();

  it('has golden files', () => {
    expect(names.length).toBeGreaterThan(5);
  });

  it.each(names)('%s', (name) => {
    const { files, events, expected } = readGolden(name);
    const { policy, diagnostics } = compilePolicy(files, { upstreams: new Set(['orders', 'billing']) });
    const usage = policy === null || events === null ? null : new PolicyUsage(policy);
    for (const event of events ?? []) usage?.add(event);
    const warnings = policy === null ? [] : lintPolicy(policy, usage);
    expect([...diagnostics, ...warnings].map(formatDiagnostic).join('\n')).toBe(expected);
    expect(policy === null).toBe(diagnostics.length > 0);
  });
});
