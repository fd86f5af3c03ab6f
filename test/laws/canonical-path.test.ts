import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import { canonicalTarget } from '../../src/gateway/canonical-path.ts';

/** Pieces from which attacks on path handling are made, beside ordinary ones. */
const piece = fc.oneof(
  fc.constantFrom(
    '/',
    '//',
    '.',
    '..',
    '/./',
    '/../',
    ';',
    '%2e',
    '%2E%2e',
    '%2f',
    '%5C',
    '\\',
    '%00',
    '%',
    '%4',
    '%zz',
  ),
  fc.constantFrom('a', 'B', '%41', '%7e', '%3b', '%3F', '%25', '%2523', '~', '[', '|', '"', '?', '#', ' ', '\t', '*'),
  fc.constantFrom(
    '%C3%A9',
    '\u00c3\u00a9',
    '%c3\u00a9',
    '%C0%AF',
    '\u00c0\u00ae',
    '%ED%A0%80',
    '%F0%9F%98%80',
    '%C2%85',
    '\u00ff',
  ),
  fc.string({ minLength: 1, maxLength: 4, unit: 'binary-ascii' }),
);
const path = fc.array(piece, { maxLength: 24 }).map((pieces) => `/${pieces.join('')}`);
const target = fc.oneof(
  { weight: 6, arbitrary: path },
  { weight: 1, arbitrary: path.map((text) => `http://api.example.com:80${text}`) },
  { weight: 1, arbitrary: fc.array(piece, { maxLength: 8 }).map((pieces) => pieces.join('')) },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 60 }) },
);

const PATH = /^(?:\/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-F]{2})*)+$/;
const QUERY = /^(?:\?(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?[\]]|%[0-9A-Fa-f]{2})*)?$/;

describe('the canonical path', { timeout: 60_000 }, () => {
  it('is total, a fixed point and a valid RFC 3986 path', () => {
    fc.assert(
      fc.property(target, (text) => {
        const once = canonicalTarget(text);
        if (!once.ok) {
          expect(['path_ambiguous', 'request_malformed']).toContain(once.reason);
          return;
        }
        expect(once.path).toMatch(PATH);
        expect(once.query).toMatch(QUERY);
        expect(canonicalTarget(once.path + once.query)).toEqual({ ...once, authority: null });
      }),
      { numRuns: 5000 },
    );
  });

  it('never holds what a back end could read in another way', () => {
    fc.assert(
      fc.property(target, (text) => {
        const outcome = canonicalTarget(text);
        if (!outcome.ok) return;
        expect(outcome.path).not.toMatch(/\/\/|\/\.{1,2}(?:\/|;|$)|\\|%2F|%5C|%2E|%[01][0-9A-F]|%7F|%[0-9A-F]?[a-f]/);
        expect(decodeURIComponent(outcome.path)).not.toMatch(/\p{Cc}/u);
      }),
      { numRuns: 5000 },
    );
  });

  it('of a path made of plain segments is that path', () => {
    const name = fc.stringMatching(/^[A-Za-z0-9_~-][A-Za-z0-9._~!$&'()*+,=:@;-]{0,12}$/);
    fc.assert(
      fc.property(fc.array(name, { maxLength: 20 }), fc.boolean(), (names, slash) => {
        const plain = names.length === 0 ? '/' : `/${names.join('/')}${slash ? '/' : ''}`;
        expect(canonicalTarget(plain)).toEqual({ ok: true, path: plain, query: '', authority: null });
      }),
    );
  });

  it('is the same however unreserved characters are encoded', () => {
    const name = fc.stringMatching(/^[a-z0-9_~-][a-z0-9._~-]{0,8}$/);
    fc.assert(
      fc.property(fc.array(name, { minLength: 1, maxLength: 6 }), fc.infiniteStream(fc.nat(2)), (names, choices) => {
        const plain = `/${names.join('/')}`;
        const spelled = plain.replace(/[a-z0-9._~-]/g, (character) => {
          const hex = character.charCodeAt(0).toString(16);
          return [character, `%${hex}`, `%${hex.toUpperCase()}`][choices.next().value] ?? character;
        });
        expect(canonicalTarget(spelled)).toEqual({ ok: true, path: plain, query: '', authority: null });
      }),
    );
  });

  it('never grows beyond its bounds', () => {
    const long = fc.integer({ min: 0, max: LIMITS.targetBytes + 10 });
    fc.assert(
      fc.property(long, fc.constantFrom('a', '|', '/', '/a', '\u00c3\u00a9'), (length, unit) => {
        const outcome = canonicalTarget(`/${unit.repeat(length)}`);
        if (!outcome.ok) return;
        expect(outcome.path.length).toBeLessThanOrEqual(LIMITS.targetBytes);
        expect(outcome.path.split('/').length).toBeLessThanOrEqual(LIMITS.pathSegments + 1);
      }),
      { numRuns: 300 },
    );
  });
});
