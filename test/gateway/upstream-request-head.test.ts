import { describe, expect, it } from 'vitest';
import { RequestUnwritable } from '../../src/gateway/upstream-failure.ts';
import { requestHead } from '../../src/gateway/upstream-request-head.ts';

const REQUEST = {
  method: 'GET',
  target: '/a?b',
  lines: '',
  fields: ['host', 'a', 'x', 'b c'],
  body: null,
  chunked: false,
};

/*
 * `latin1` writes only the low byte of a character: U+010A would leave as a line feed. Whatever came into a field from
 * a token, a policy or a configuration ends the request here, not the line.
 */
describe('the head of a request to an upstream', () => {
  it('is what its parts say', () => {
    expect(requestHead(REQUEST)).toBe('GET /a?b HTTP/1.1\r\nhost: a\r\nx: b c\r\n\r\n');
  });

  it.each([
    ['a line feed', { fields: ['x', 'a\nb: c'] }],
    ['a whole line', { fields: ['x', 'a\r\nb: c'] }],
    ['a carriage return', { fields: ['x', 'a\rb'] }],
    ['a line feed in a name', { fields: ['x\r\ny', 'b'] }],
    ['a NUL', { fields: ['x', '\0'] }],
    ['a character whose low byte is a line feed', { fields: ['x', 'a\u010Ab'] }],
    ['a space in the target', { target: '/a HTTP/1.1' }],
    ['a line in the target', { target: '/a\r\nx:' }],
    ['a space in the method', { method: 'GET /b' }],
  ])('with %s is not written', (_what, part) => {
    expect(() => requestHead({ ...REQUEST, ...part })).toThrow(RequestUnwritable);
  });
});
