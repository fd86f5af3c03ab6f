import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { formatDiagnostic } from '../../src/base/diagnostic.ts';
import { parseYamlDocument, salvageYamlDocument } from '../../src/base/yaml-document.ts';

const schema = z.strictObject({
  name: z.string(),
  mode: z.enum(['fast', 'slow']).default('fast'),
  items: z
    .array(z.strictObject({ id: z.int(), tags: z.array(z.string()).min(1, 'needs a tag').optional() }))
    .default([]),
  limits: z.record(z.string().regex(/^[a-z]+$/, 'lower case letters only'), z.number()).default({}),
  when: z.union([z.string(), z.strictObject({ hour: z.number() })]).optional(),
});

function errors(text: string): string[] {
  const parsed = parseYamlDocument(text, 'f.yaml', schema);
  return parsed.ok ? [] : parsed.error.map(formatDiagnostic);
}

describe('a YAML document', () => {
  it('is its value, and knows where everything stands', () => {
    const parsed = parseYamlDocument('name: a\nitems:\n  - id: 1\n  - { id: 2 }\n', 'f.yaml', schema);
    if (!parsed.ok) throw new Error('not parsed');
    expect(parsed.value.value).toEqual({ name: 'a', mode: 'fast', items: [{ id: 1 }, { id: 2 }], limits: {} });
    expect(parsed.value.locate(['items', 1, 'id'])).toEqual({ line: 4, col: 11 });
    expect(parsed.value.locate(['items', 1, 'id'], 'key')).toEqual({ line: 4, col: 7 });
    expect(parsed.value.locate(['items', 1])).toEqual({ line: 4, col: 5 });
    expect(parsed.value.locate(['nowhere', 3])).toEqual({ line: 1, col: 1 });
    expect(parsed.value.damaged([])).toBe(false);
  });

  it.each([
    ['', ['f.yaml:1:1: missing key "name"']],
    ['nme: a', ['f.yaml:1:1: missing key "name"', 'f.yaml:1:1: unknown key "nme"; did you mean "name"?']],
    [
      'name: 1\nmode: fst',
      [
        'f.yaml:1:7: name: expected string, received number',
        'f.yaml:2:7: mode: expected one of "fast", "slow"; did you mean "fast"?',
      ],
    ],
    [
      'name: a\nitems: [ { id: x, tag: [] } ]',
      [
        'f.yaml:2:16: items[0].id: expected number, received string',
        'f.yaml:2:19: unknown key "tag" in items[0]; did you mean "tags"?',
      ],
    ],
    ['name: a\nlimits: { A1: 1 }', ['f.yaml:2:11: "A1": lower case letters only']],
    [
      'name: a\nwhen: { hours: 1 }',
      ['f.yaml:2:7: missing key "hour" in when', 'f.yaml:2:9: unknown key "hours" in when; did you mean "hour"?'],
    ],
    ['name: a\nwhen: 3', ['f.yaml:2:7: when: expected string, received number, or expected object, received number']],
    ['- a', ['f.yaml:1:1: expected object, received array']],
    ['name: a\nname: b', ['f.yaml:2:1: Map keys must be unique']],
    ['name: &x a\nwhen: *x', ['f.yaml:2:7: YAML aliases are not supported here']],
    ['name: a\n---\nname: b', ['f.yaml:2:1: a second document begins here; a file holds one']],
    ['name: a\nlimits: { __proto__: 1 }', ['f.yaml:2:11: the key "__proto__" is not allowed']],
    ['name: a\n<<: { mode: slow }', ['f.yaml:2:1: unknown key "<<"']],
    ['name: !secret a', ['f.yaml:1:7: Unresolved tag: !secret']],
  ])('says what is wrong with %j', (text, expected) => {
    expect(errors(text).toSorted()).toEqual(expected.toSorted());
  });

  it('is refused in one line when it is nested beyond reason, or cut off within', () => {
    const depth = 20_000;
    expect(errors(`${'['.repeat(depth)}${']'.repeat(depth)}`)).toEqual(['f.yaml:1:1: nested too deeply']);
    expect(errors(`name: ${'['.repeat(depth)}`).length).toBe(1);
  });

  it('is salvaged: what is left still knows its place', () => {
    const text = 'name: a\nmode: fst\nitems:\n  - { id: x }\n  - { id: 2, tags: [] }\n  - { id: 3 }\n';
    const { document, diagnostics } = salvageYamlDocument(text, 'f.yaml', schema);
    expect(diagnostics.map(formatDiagnostic)).toEqual([
      'f.yaml:2:7: mode: expected one of "fast", "slow"; did you mean "fast"?',
      'f.yaml:4:11: items[0].id: expected number, received string',
      'f.yaml:5:20: items[1].tags: needs a tag',
    ]);
    expect(document?.value).toEqual({ name: 'a', mode: 'fast', items: [{ id: 2 }, { id: 3 }], limits: {} });
    expect(document?.locate(['items', 1])).toEqual({ line: 6, col: 5 });
    expect([[], ['mode'], ['items', 0], ['items', 1], ['name']].map((path) => document?.damaged(path))).toEqual([
      true,
      true,
      true,
      false,
      false,
    ]);
  });

  it('is salvaged with a stand-in for what it cannot do without', () => {
    const salvage = (text: string): unknown =>
      salvageYamlDocument(text, 'f.yaml', schema, new Map([['name', 'unnamed']])).document?.value.name;
    expect(salvage('mode: slow')).toBe('unnamed');
    expect(salvage('name: 7')).toBe('unnamed');
    expect(salvageYamlDocument('mode: slow', 'f.yaml', schema).document).toBeNull();
  });

  it('never throws, and never passes with an error', () => {
    const value = fc.letrec((tie) => ({
      any: fc.oneof(
        { maxDepth: 4 },
        fc.string(),
        fc.integer(),
        fc.constant(null),
        fc.array(tie('any')),
        fc.dictionary(
          fc.constantFrom('name', 'mode', 'items', 'id', 'tags', 'limits', 'when', 'hour', 'x'),
          tie('any'),
        ),
      ),
    })).any;
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          value.map((it) => JSON.stringify(it)),
        ),
        (text) => {
          const { document, diagnostics } = salvageYamlDocument(text, 'f.yaml', schema);
          const parsed = parseYamlDocument(text, 'f.yaml', schema);
          expect(parsed.ok).toBe(document !== null && diagnostics.length === 0);
          expect(document === null && diagnostics.length === 0).toBe(false);
          for (const { line, col } of diagnostics) expect(line > 0 && col > 0).toBe(true);
        },
      ),
      { numRuns: 300 },
    );
  });
});
