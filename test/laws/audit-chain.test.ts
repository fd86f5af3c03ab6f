import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { GENESIS_HASH, sealLine } from '../../src/audit/chain.ts';
import { canonicalEvent } from '../../src/audit/event.ts';
import { ChainVerifier, type Problem } from '../../src/audit/verify.ts';
import { canonicalJson } from '../../src/base/canonical-json.ts';
import { AUDIT_EVENT_TYPES, type AuditEventInput } from '../../src/model/audit-event.ts';

const TIME = '2026-07-01T12:00:00.000Z';
const START: AuditEventInput = { type: 'chain.start', outcome: 'success', details: { chain: 'c', file: 'new' } };

const anyEvent: fc.Arbitrary<AuditEventInput> = fc.record(
  {
    type: fc.constantFrom(...AUDIT_EVENT_TYPES.filter((type) => !type.startsWith('chain.'))),
    outcome: fc.constantFrom('success', 'failure'),
    path: fc.webPath(),
    subject: fc.string({ unit: 'binary', maxLength: 20 }),
    status: fc.integer({ min: 100, max: 599 }),
    duration_ms: fc.double({ min: 0, max: 1e6 }),
    details: fc.dictionary(
      fc.string({ maxLength: 5 }),
      fc.jsonValue({ maxDepth: 2 }).map((value) => JSON.stringify(value)),
    ),
  },
  { requiredKeys: ['type', 'outcome'] },
);

function chainOf(events: readonly AuditEventInput[]): string[] {
  let prev = GENESIS_HASH;
  return [START, ...events].map((event, index) => {
    const { line, hash } = sealLine(prev, canonicalEvent(event, TIME, index + 1));
    prev = hash;
    return line;
  });
}

const anyChain = fc.array(anyEvent, { minLength: 2, maxLength: 12 }).map(chainOf);

function problemsOf(text: Buffer, checkpoint?: { seq: number; hash: string }): Problem[] {
  const problems: Problem[] = [];
  const checkpoints = new Map(checkpoint === undefined ? [] : [['c', checkpoint]]);
  const verifier = new ChainVerifier(
    checkpoints,
    (problem) => problems.push(problem),
    () => undefined,
  );
  verifier.beginFile('f');
  let number = 0;
  let from = 0;
  while (from < text.length) {
    const end = text.indexOf(0x0a, from);
    number += 1;
    verifier.line(number, text.subarray(from, end === -1 ? text.length : end), end !== -1);
    from = end === -1 ? text.length : end + 1;
  }
  verifier.endFile();
  verifier.finish();
  return problems;
}

const textOf = (lines: readonly string[]): Buffer => Buffer.from(`${lines.join('\n')}\n`);

/** From 1; the first line at which the two differ. */
function firstDifference(before: readonly string[], after: readonly string[]): number {
  for (let i = 0; ; i += 1) if (before[i] !== after[i]) return i + 1;
}

const lastOf = (lines: readonly string[]): { seq: number; hash: string } => JSON.parse(lines.at(-1) ?? '');

describe('a chain', () => {
  it('verifies as it was written, and every line is canonical', () => {
    fc.assert(
      fc.property(anyChain, (lines) => {
        expect(problemsOf(textOf(lines), lastOf(lines))).toEqual([]);
        for (const line of lines) {
          const { prev: _, hash: __, ...event } = JSON.parse(line);
          expect(line.startsWith(canonicalJson(event).slice(0, -1))).toBe(true);
        }
      }),
    );
  });

  it('shows the line of any byte that was changed', () => {
    fc.assert(
      fc.property(anyChain, fc.nat(), fc.integer({ min: 1, max: 255 }), (lines, at, flip) => {
        const text = textOf(lines);
        const position = at % text.length;
        const line = text.subarray(0, position).filter((byte) => byte === 0x0a).length + 1;
        text[position] = (text[position] ?? 0) ^ flip;
        expect(problemsOf(text)[0]?.line).toBe(line);
      }),
      { numRuns: 300 },
    );
  });

  it('shows where it was cut off in the middle of a line', () => {
    fc.assert(
      fc.property(anyChain, fc.nat(), (lines, at) => {
        const text = textOf(lines);
        const cut = text.subarray(0, 1 + (at % (text.length - 1)));
        fc.pre(cut.at(-1) !== 0x0a);
        const line = cut.filter((byte) => byte === 0x0a).length + 1;
        expect(problemsOf(cut)).toMatchObject([{ line, kind: 'torn' }]);
      }),
    );
  });

  it('shows with a checkpoint that whole lines were cut off', () => {
    fc.assert(
      fc.property(anyChain, fc.nat(), (lines, at) => {
        const kept = 1 + (at % (lines.length - 1));
        const problems = problemsOf(textOf(lines.slice(0, kept)), lastOf(lines));
        expect(problems).toMatchObject([{ line: kept, kind: 'cut_off' }]);
      }),
    );
  });

  it('shows the first line that differs when one is removed, repeated, moved, put in or replaced', () => {
    const anyMutation = fc.constantFrom('remove', 'repeat', 'swap', 'insert', 'replace');
    fc.assert(
      fc.property(anyChain, anyMutation, fc.nat(), fc.nat(), fc.string(), (lines, mutation, a, b, foreign) => {
        const i = a % lines.length;
        const j = b % lines.length;
        const one = lines[i] ?? '';
        const other = lines[j] ?? '';
        const changed = {
          remove: lines.toSpliced(i, 1),
          repeat: lines.toSpliced(j, 0, one),
          swap: lines.with(i, other).with(j, one),
          insert: lines.toSpliced(i, 0, foreign.replaceAll('\n', ' ')),
          replace: lines.with(i, other),
        }[mutation];
        // Without its last line a chain is a shorter chain: that is what checkpoints are for.
        fc.pre(changed.join() !== lines.join() && !(mutation === 'remove' && i === lines.length - 1));
        expect(problemsOf(textOf(changed))[0]?.line).toBe(firstDifference(lines, changed));
      }),
      { numRuns: 300 },
    );
  });
});
