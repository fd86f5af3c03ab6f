import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { formatDiagnostic, sortDiagnostics } from '../../src/base/diagnostic.ts';
import { lintPolicy } from '../../src/policy/lint.ts';
import { coverage } from '../../src/policy/openapi/coverage.ts';
import { readOpenapi } from '../../src/policy/openapi/document.ts';
import { apiNameOf, importPolicy } from '../../src/policy/openapi/import.ts';
import { readOperations } from '../../src/policy/openapi/operations.ts';
import { policyOf } from '../policy/policy-fixture.ts';

const FOLDER = join(import.meta.dirname, 'openapi');

/** Each OpenAPI document lies beside a golden file: the policy that is made of it, then what is said about it. */
describe.each(['pet-shop.yaml', 'payments.json'])('%s', (name) => {
  const text = readFileSync(join(FOLDER, name), 'utf8');
  const golden = readFileSync(join(FOLDER, name.replace(/\.\w+$/, '.golden')), 'utf8');
  const [policyText = '', said = ''] = golden.split('=== diagnostics\n');
  const { document, diagnostics } = readOpenapi(text, name);
  if (document === null) throw new Error(diagnostics.map(formatDiagnostic).join('\n'));
  const operations = readOperations(document, { base: null, scopePrefix: '' });
  const api = apiNameOf(document.title);
  const imported = importPolicy(document, operations, { api, upstream: api, stripBase: false, mode: 'enforce' });

  it('becomes the policy of its golden file', () => {
    expect(imported?.text).toBe(policyText);
    const last = [`public: ${imported?.public.join(', ')}`, `without security: ${imported?.unstated.length}`];
    const lines = [...sortDiagnostics(document.diagnostics).map(formatDiagnostic), ...last];
    expect(`${lines.join('\n')}\n`).toBe(said);
  });

  it('that loads, has nothing to warn of, and covers the document exactly', () => {
    const policy = policyOf({ 'imported.yaml': policyText });
    expect(lintPolicy(policy).map(formatDiagnostic)).toEqual([]);
    expect(coverage(policy, operations, { host: null, api: null })).toEqual({
      apis: [api],
      operations: operations.length,
      covered: operations.length,
      uncovered: [],
      open: [],
      idle: [],
    });
  });
});
