import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseTimestamp } from '../../src/lifecycle/timestamp.ts';

describe('a time of RFC 3339', () => {
  it.each([
    ['2030-01-01T00:00:00Z', Date.UTC(2030, 0, 1)],
    ['2030-01-01T01:30:00+01:30', Date.UTC(2030, 0, 1)],
    ['2029-12-31T16:00:00-08:00', Date.UTC(2030, 0, 1)],
    ['2030-01-01T00:00:00-00:00', Date.UTC(2030, 0, 1)],
    ['2028-02-29T12:34:56.789123Z', Date.UTC(2028, 1, 29, 12, 34, 56, 789)],
    ['2030-01-01T00:00:00.5Z', Date.UTC(2030, 0, 1, 0, 0, 0, 500)],
    ['0001-01-01T00:00:00Z', Date.parse('0001-01-01T00:00:00Z')],
  ])('%s', (text, value) => {
    expect(parseTimestamp(text)).toEqual({ ok: true, value });
  });

  it.each([
    '',
    '2030-01-01',
    '2030-01-01 00:00:00Z',
    '2030-01-01t00:00:00z',
    '2030-01-01T00:00:00',
    '2030-01-01T00:00Z',
    '2030-1-1T00:00:00Z',
    '2030-02-29T00:00:00Z',
    '2030-04-31T00:00:00Z',
    '2030-00-01T00:00:00Z',
    '2030-13-01T00:00:00Z',
    '2030-01-00T00:00:00Z',
    '2030-01-01T24:00:00Z',
    '2030-01-01T00:60:00Z',
    '2030-01-01T23:59:60Z',
    '2030-01-01T00:00:00+24:00',
    '2030-01-01T00:00:00+01:60',
    '+12030-01-01T00:00:00Z',
    '2030-01-01T00:00:00Z\n',
    '1893456000',
  ])('%j is none', (text) => {
    expect(parseTimestamp(text)).toEqual({ ok: false, error: expect.any(String) });
  });

  it('reads whatever the product writes', () => {
    fc.assert(
      fc.property(
        fc.date({ min: new Date(0), max: new Date('9999-12-31T23:59:59.999Z'), noInvalidDate: true }),
        (date) => {
          expect(parseTimestamp(date.toISOString())).toEqual({ ok: true, value: date.getTime() });
        },
      ),
    );
  });
});
