import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import { canonicalTarget } from '../../src/gateway/canonical-path.ts';

const becomes = (path: string, query = '', authority: string | null = null) => ({ ok: true, path, query, authority });
const ambiguous = { ok: false, reason: 'path_ambiguous' };
const malformed = { ok: false, reason: 'request_malformed' };
const bytes = (text: string): string => Buffer.from(text, 'utf8').toString('latin1');

describe('canonicalTarget', () => {
  it.each([
    ['/', '/'],
    ['/orders/1', '/orders/1'],
    ['/orders/', '/orders/'],
    ['/.well-known/x', '/.well-known/x'],
    ['/...', '/...'],
    ['/..a/.b', '/..a/.b'],
    ['/a;v=1/b', '/a;v=1/b'],
    ["/a:@!$&'()*+,=b", "/a:@!$&'()*+,=b"],
    ['/%61%2D%5f', '/a-_'],
    ['/%7euser', '/~user'],
    ['/a%3ab', '/a%3Ab'],
    ['/a%20b', '/a%20b'],
    ['/a%252e%252e', '/a%252e%252e'],
    ['/a//b///c', '/a/b/c'],
    ['//host/path', '/host/path'],
    ['/a//', '/a/'],
    ['/a/./b', '/a/b'],
    ['/a/.', '/a/'],
    ['/a/b/..', '/a/'],
    ['/a/%2e%2E/b', '/b'],
    ['/a/../', '/'],
    ['/a|b^c"<>{}`[]', '/a%7Cb%5Ec%22%3C%3E%7B%7D%60%5B%5D'],
    ['/caf%c3%a9', '/caf%C3%A9'],
    [bytes('/café/日本/😀'), '/caf%C3%A9/%E6%97%A5%E6%9C%AC/%F0%9F%98%80'],
    ['/%c3\u00a9', '/%C3%A9'],
  ])('%j is forwarded as %j', (target, path) => {
    expect(canonicalTarget(target)).toEqual(becomes(path));
  });

  it.each([
    ['/a%2fb'],
    ['/a%2Fb'],
    ['/a%5cb'],
    ['/a\\b'],
    ['/\\..\\admin'],
    ['/a%00'],
    ['/a\u0000'],
    ['/a%0d%0aX:y'],
    ['/a\tb'],
    ['/a%7f'],
    ['/a\u007f'],
    ['/%c2%85'],
    ['/\u00c2\u0085'],
    ['/%'],
    ['/%4'],
    ['/%zz'],
    ['/%u002f'],
    ['/a%%32%65'],
    ['/%c0%af'],
    ['/%c0%ae%c0%ae/admin'],
    ['/\u00c0\u00af'],
    ['/%e0%80%af'],
    ['/%ff'],
    ['/\u00e9'],
    ['/%ed%a0%80'],
    ['/%f4%90%80%80'],
    ['/%c3'],
    ['/%c3/%a9'],
    ['/%f0%8f%bf%bf'],
    ['/..'],
    ['/../a'],
    ['/a/../../b'],
    ['/%2e%2e/a'],
    ['/./..'],
    ['/a/..;/b'],
    ['/a/..;x=1/b'],
    ['/a/.;x/b'],
    ['/a/%2e%2e;/b'],
    ['/a/..%3bx/b'],
    ['/a/.%2E%3B'],
  ])('%j is ambiguous', (target) => {
    expect(canonicalTarget(target)).toEqual(ambiguous);
  });

  it.each([
    [''],
    ['*'],
    ['a/b'],
    ['example.com:443'],
    ['?a'],
    ['#'],
    ['/a#b'],
    ['/a?b#c'],
    ['/a b'],
    ['/a?b c'],
    ['/a?\u0000'],
    ['/a?b\r\nc'],
    ['/a?\u00e9'],
    ['/a?%'],
    ['/a?100%&b'],
    ['/a?\u2028'],
    ['ftp://h/'],
    ['http:/a'],
    ['http://'],
    ['http:///a'],
    ['http://u:p@h/'],
    ['http://h:65536/'],
    ['http://h:1:2/'],
    ['http://h:x/'],
    ['http://[::1/'],
    ['http://[::1]a/'],
    ['http://[zz]/'],
    ['http://./'],
    ['http://a..b/'],
    ['http://h\\a/'],
    ['http://a%2fb/'],
    ['http:// h/'],
  ])('%j is malformed', (target) => {
    expect(canonicalTarget(target)).toEqual(malformed);
  });

  it.each([
    ['http://h', '/', '', 'h'],
    ['HTTP://Example.com:8080/a/../b?x', '/b', '?x', 'Example.com:8080'],
    ['https://h.?x', '/', '?x', 'h.'],
    ['http://h:/', '/', '', 'h:'],
    ['http://[::1]:80/a', '/a', '', '[::1]:80'],
    ['http://a_b-c.example//x', '/x', '', 'a_b-c.example'],
  ])('absolute form %j', (target, path, query, authority) => {
    expect(canonicalTarget(target)).toEqual(becomes(path, query, authority));
  });

  it.each([
    ['/a?', '?'],
    ['/a?b=/../%2f%5c%00;c[]=1?d', '?b=/../%2f%5c%00;c[]=1?d'],
    ['/a?q=a|b\\"{}', '?q=a%7Cb%5C%22%7B%7D'],
  ])('the query of %j is kept', (target, query) => {
    expect(canonicalTarget(target)).toEqual(becomes('/a', query));
  });

  it('bounds length and segments, of what comes and of what would go out', () => {
    const most = LIMITS.targetBytes - 1;
    expect(canonicalTarget(`/${'a'.repeat(most)}`)).toMatchObject({ ok: true });
    expect(canonicalTarget(`/${'a'.repeat(most + 1)}`)).toEqual(malformed);
    expect(canonicalTarget(`/${'|'.repeat(most)}`)).toEqual(malformed);
    expect(canonicalTarget('/a'.repeat(LIMITS.pathSegments))).toMatchObject({ ok: true });
    expect(canonicalTarget('/a'.repeat(LIMITS.pathSegments + 1))).toEqual(malformed);
    expect(canonicalTarget('/'.repeat(LIMITS.pathSegments))).toEqual(becomes('/'));
    expect(canonicalTarget('/'.repeat(LIMITS.pathSegments + 1))).toEqual(malformed);
    expect(canonicalTarget('/./'.repeat(LIMITS.pathSegments))).toEqual(malformed);
  });
});
