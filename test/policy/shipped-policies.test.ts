import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { canonicalTarget } from '../../src/gateway/canonical-path.ts';
import {
  classesJsonSchema,
  type JsonSchema,
  policyJsonSchema,
  policyTestJsonSchema,
  rolesJsonSchema,
} from '../../src/policy/json-schema.ts';
import { lintPolicy } from '../../src/policy/lint.ts';
import { loadPolicyFolder, readPolicyFolder } from '../../src/policy/load.ts';
import { runPolicyTests } from '../../src/policy/run-policy-tests.ts';
import { MONDAY } from './policy-fixture.ts';

const FOLDER = join(import.meta.dirname, '../../policies');

function accepts(schema: JsonSchema, text: string): boolean {
  const validate = new Ajv2020({ allErrors: true, strict: true, allowUnionTypes: true }).compile(schema);
  return validate(parse(text)) === true;
}

describe('the shipped policies', async () => {
  const { policy, diagnostics } = await loadPolicyFolder(FOLDER, { upstreams: new Set(['orders']) });
  const folder = await readPolicyFolder(FOLDER);

  it('load without an error or a warning', () => {
    expect(diagnostics).toEqual([]);
    expect(policy === null ? null : lintPolicy(policy)).toEqual([]);
    expect(policy?.apis.map((api) => [api.name, api.upstream, api.hosts])).toEqual([
      ['health', 'orders', []],
      ['orders', 'orders', []],
    ]);
  });

  it('pass their tests', () => {
    if (policy === null) throw new Error('no policy');
    const run = runPolicyTests(policy, folder.tests, { canonicalise: canonicalTarget, now: MONDAY });
    expect(run.diagnostics).toEqual([]);
    expect(run.results.filter((result) => !result.passed)).toEqual([]);
    expect(run.results.length).toBeGreaterThan(10);
  });

  it('are accepted by the schemas that editors use', () => {
    for (const file of folder.files)
      expect([file.name, accepts(policyJsonSchema(), file.text)]).toEqual([file.name, true]);
    for (const file of folder.tests) expect(accepts(policyTestJsonSchema(), file.text)).toBe(true);
    const text = (name: string): string => readFileSync(join(FOLDER, name), 'utf8');
    expect(accepts(rolesJsonSchema(), text('roles.yaml'))).toBe(true);
    expect(accepts(classesJsonSchema(), text('classes.yaml'))).toBe(true);
  });

  it('lie beside those schemas as they are now', () => {
    const shipped = (name: string): unknown => JSON.parse(readFileSync(join(FOLDER, name), 'utf8'));
    expect(shipped('policy.schema.json')).toEqual(policyJsonSchema());
    expect(shipped('policy-test.schema.json')).toEqual(policyTestJsonSchema());
  });
});

describe('the schemas', () => {
  it.each([
    'api: a\nupstream: b\nrules: [ { name: r, path: x } ]',
    'api: a\nupstream: b\nrules: [ { name: r, path: /, method: [GET] } ]',
    'api: a\nupstream: b\nrules: []',
    'roles: { a: { scope: [x] } }',
    'classes: { a: { max_ttl: 1 day, scopes: [] } }',
    'anything: else',
  ])('refuse %j', (text) => {
    expect(accepts(policyJsonSchema(), text)).toBe(false);
  });

  it('describe every key', () => {
    const undescribed: string[] = [];
    const walk = (node: unknown, path: string): void => {
      if (typeof node !== 'object' || node === null) return;
      for (const [key, value] of Object.entries(node)) {
        if (key === 'properties' && typeof value === 'object' && value !== null) {
          for (const [name, property] of Object.entries(value)) {
            if (!JSON.stringify(property).includes('"description"')) undescribed.push(`${path}.${name}`);
          }
        }
        walk(value, `${path}.${key}`);
      }
    };
    walk(policyJsonSchema()['$defs'], '');
    expect(undescribed).toEqual([]);
  });
});
