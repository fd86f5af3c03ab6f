import { describe, expect, it } from 'vitest';
import { HeaderKinds } from '../../src/gateway/header-kinds.ts';
import { isHost, RequestHeadReader } from '../../src/gateway/request-head.ts';

/*
 * Most of these never get here: node's parser refuses them first. They are refused once more, because a parser's mercy
 * is a matter of its version and of its options, and because HTTP/2 will not come through that parser.
 */
const ACCEPT = [
  { header: 'authorization', scheme: 'Bearer' },
  { header: 'x-api-key', scheme: null },
];
const reader = new RequestHeadReader(new HeaderKinds(ACCEPT.map(({ header }) => header)), ACCEPT);
const read = (fields: readonly string[], version = '1.1'): ReturnType<typeof reader.read> =>
  reader.read(fields, version);

describe('a request’s head', () => {
  it('has one reading, and goes on without what ends here', () => {
    const fields = [
      'Host',
      'a:80',
      'Authorization',
      'bearer  t1',
      'X-Kept',
      '1',
      'Connection',
      'close, X-Gone',
      'X-Gone',
      '1',
    ];
    expect(read([...fields, 'Content-Length', '5'])).toMatchObject({
      forwarded: ['X-Kept', '1'],
      host: 'a:80',
      framing: 'length',
      contentLength: 5,
      credential: 't1',
      credentialAmbiguous: false,
    });
  });

  it.each([
    ['two lengths', ['Content-Length', '5', 'Content-Length', '6']],
    ['the same length twice', ['Content-Length', '5', 'Content-Length', '5']],
    ['a length and a coding', ['Content-Length', '5', 'Transfer-Encoding', 'chunked']],
    ['a coding and a length', ['Transfer-Encoding', 'chunked', 'Content-Length', '5']],
    ['two codings', ['Transfer-Encoding', 'chunked', 'Transfer-Encoding', 'chunked']],
    ['a list of codings', ['Transfer-Encoding', 'gzip, chunked']],
    ['another coding', ['Transfer-Encoding', 'xchunked']],
    ['an empty coding', ['Transfer-Encoding', '']],
    ['a signed length', ['Content-Length', '+5']],
    ['a negative length', ['Content-Length', '-5']],
    ['a hexadecimal length', ['Content-Length', '0x5']],
    ['a length with a space', ['Content-Length', '5 ']],
    ['a list of lengths', ['Content-Length', '5, 5']],
    ['an empty length', ['Content-Length', '']],
    ['a length that a number cannot hold', ['Content-Length', '9007199254740993']],
    ['two hosts', ['Host', 'b']],
    ['a connection that names the host', ['Connection', 'Host']],
    ['a connection that names the framing', ['Connection', 'close, Content-Length']],
    ['two authorizations that are no credential', ['Authorization', 'Basic a', 'Authorization', 'Basic b']],
    ['two traces', ['traceparent', 'a', 'traceparent', 'b']],
  ])('is refused for %s', (_what, fields) => {
    expect(read(['Host', 'a', ...fields])).toBe(null);
  });

  it('is refused without a host, and for a coding in HTTP/1.0', () => {
    expect(read([])).toBe(null);
    expect(read([], '1.0')).toMatchObject({ host: '', framing: 'none' });
    expect(read(['Host', 'a', 'Transfer-Encoding', 'chunked'], '1.0')).toBe(null);
  });

  it('tells two credentials from one that was sent twice', () => {
    const both = (second: string): boolean | undefined =>
      read(['Host', 'a', 'Authorization', 'Bearer t1', 'X-Api-Key', second])?.credentialAmbiguous;
    expect([both('t1'), both('t2'), both('')]).toEqual([false, true, true]);
    expect(read(['Host', 'a', 'Authorization', 'Basic eDp5'])).toMatchObject({
      credential: null,
      forwarded: ['Authorization', 'Basic eDp5'],
    });
  });

  it.each(['a@b', 'a b', 'a,b', 'a/b', '..', 'a..b', 'a:99999', 'a:x', '[::1', '[x]', 'a\tb', 'a%00', '.a', ':80'])(
    'has no host like %j',
    (host) => expect(isHost(host)).toBe(false),
  );

  it.each(['a', 'a.b', 'a.b.', 'a:80', 'a:', '[::1]', '[::1]:80', '127.0.0.1', 'xn--bcher-kva.example', ''])(
    'may have the host %j',
    (host) => expect(isHost(host)).toBe(true),
  );
});

describe('the kinds of header fields', () => {
  it('are found again after ten thousand names that a client made up', () => {
    const kinds = new HeaderKinds(['x-api-key']);
    for (let i = 0; i < 10_000; i += 1) kinds.of(`x-made-up-${i}`);
    const names = [
      'X-Kept',
      'portcullis-subject',
      'Portcullis_Subject',
      'X_Api_Key',
      'x-forwarded-anything',
      'Keep-Alive',
    ];
    expect(names.map((name) => kinds.of(name))).toEqual([0, 1, 1, 1, 1, 1]);
  });

  it.each(['Portcullis-Token_Id', 'Portcullis.Subject', 'X~Forwarded~For', 'X.HTTP.Method.Override', 'X.Api-Key'])(
    'are not got round by another spelling: %s',
    (name) => expect(new HeaderKinds(['x-api-key']).of(name)).toBe(1),
  );

  it('leave other names alone, whatever they are made of', () => {
    const names = ['X.Request.Id', 'x_trace', 'Portcullis', 'My-Portcullis-Subject', '~'];
    expect(names.map((name) => new HeaderKinds(['x-api-key']).of(name))).toEqual([0, 0, 0, 0, 0]);
  });
});
