/* Laws of revocation marks: whatever is told, in whatever order, memory covers what the marks one by one cover. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { RevocationMark } from '../../src/model/revocation-mark.ts';
import { MarkIndex } from '../../src/store/mark-index.ts';
import {
  decodeMark,
  encodeMark,
  hasEnded,
  KEPT_BEYOND_END_MS,
  type MarkedPrincipal,
  markCovers,
  markId,
  mergeMarks,
  possibleMarkIds,
} from '../../src/store/revocation-marks.ts';
import { aMark } from '../contract/mark-fixture.ts';

const few = (...values: string[]): fc.Arbitrary<string | null> => fc.constantFrom(null, ...values);
const time = fc.option(fc.integer({ min: 0, max: 4 }));

const marks: fc.Arbitrary<RevocationMark> = fc
  .record({
    selectors: fc.oneof(
      fc.record({ jti: few('1', '2'), subject: few('a', 'b'), issuer: few('x', 'y') }),
      fc.record({ tokenId: few('jwt:1', 'jwt:2') }),
    ),
    issuedBefore: time,
    keepUntil: time,
    revokedAt: fc.integer({ min: 0, max: 4 }),
  })
  .map(({ selectors, ...rest }) => aMark({ ...selectors, ...rest }));

const tokens: fc.Arbitrary<MarkedPrincipal> = fc.record({
  tokenId: fc.constantFrom('jwt:1', 'jwt:2', 'jwt:3'),
  foreign: fc.record({ jti: few('1', '3'), subject: few('a', 'c'), issuer: few('x', 'z'), issuedAt: time }),
});

describe('revocation marks', () => {
  it('cover in memory what any of them covers alone, before and after the ended ones are let go', () => {
    fc.assert(
      fc.property(fc.array(marks, { maxLength: 30 }), fc.array(tokens, { minLength: 5 }), time, (told, asked, now) => {
        const index = new MarkIndex();
        for (const mark of told) index.add(mark);
        for (const token of asked) {
          expect(index.covers(token)).toBe(told.some((mark) => markCovers(mark, token)));
        }
        if (now === null) return;
        const merged = index.values();
        index.forgetEnded(now + KEPT_BEYOND_END_MS);
        const kept = merged.filter((mark) => !hasEnded(mark, now));
        expect(new Set(index.values())).toEqual(new Set(kept));
        for (const token of asked) expect(index.covers(token)).toBe(kept.some((mark) => markCovers(mark, token)));
      }),
      { numRuns: 500 },
    );
  });

  it('are found by the ids that a token could be covered by', () => {
    fc.assert(
      fc.property(marks, tokens, (mark, token) => {
        if (markCovers(mark, token)) expect(possibleMarkIds(token)).toContain(mark.id);
      }),
      { numRuns: 1000 },
    );
  });

  it('merge into one that covers, and is kept for, what either is; repeated they stay as they are', () => {
    fc.assert(
      fc.property(marks, marks, tokens, time, (stands, other, token, now) => {
        const added = { ...other, ...selectorsOf(stands), id: stands.id };
        const merged = mergeMarks(stands, added);
        expect(markCovers(merged, token)).toBe(markCovers(stands, token) || markCovers(added, token));
        if (now !== null) expect(hasEnded(merged, now)).toBe(hasEnded(stands, now) && hasEnded(added, now));
        expect(mergeMarks(merged, stands)).toEqual(merged);
        expect(mergeMarks(stands, stands)).toEqual(stands);
        expect(decodeMark(merged.id, encodeMark(merged))).toEqual(merged);
      }),
      { numRuns: 500 },
    );
  });

  it('cover nothing of a token of this gateway', () => {
    fc.assert(
      fc.property(marks, (mark) => {
        const index = new MarkIndex();
        index.add(mark);
        const own = { tokenId: 'jwt:1', foreign: null };
        expect([index.covers(own), markCovers(mark, own), possibleMarkIds(own)]).toEqual([false, false, []]);
      }),
    );
  });
});

function selectorsOf({ tokenId, jti, subject, issuer }: RevocationMark) {
  return { tokenId, jti, subject, issuer, id: markId({ tokenId, jti, subject, issuer }) };
}
