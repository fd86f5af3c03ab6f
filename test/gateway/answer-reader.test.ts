import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AnswerHeads } from '../../src/gateway/answer-heads.ts';
import { AnswerReader } from '../../src/gateway/answer-reader.ts';
import { UpstreamInvalid } from '../../src/gateway/upstream-failure.ts';

interface Read {
  readonly heads: readonly [status: number, phrase: string, fields: readonly string[]][];
  readonly body: string;
  readonly trailers: readonly string[] | null;
  readonly keepAlive: boolean;
  readonly invalid: string | null;
}

/** Reads the pieces, then the end of the connection. */
function read(pieces: readonly string[], headOnly = false, before = new AnswerHeads()): Read {
  const heads: [number, string, readonly string[]][] = [];
  let body = '';
  let trailers: readonly string[] | null = null;
  let invalid: string | null = null;
  const reader = new AnswerReader(before);
  reader.expect(
    {
      onHead: ({ status, reasonPhrase, fields }) => {
        heads.push([status, reasonPhrase, fields]);
      },
      onBody: (part) => {
        body += part.toString('latin1');
      },
      onWholeBody: (text) => {
        body += text;
      },
      onEnd: (given) => {
        trailers = given;
      },
    },
    headOnly,
  );
  try {
    for (const piece of pieces) reader.read(Buffer.from(piece, 'latin1'));
    reader.end();
  } catch (error) {
    if (!(error instanceof UpstreamInvalid)) throw error;
    invalid = error.message;
  }
  return { heads, body, trailers, keepAlive: reader.keepAlive, invalid };
}

const SOUND: readonly [name: string, answer: string, expected: Partial<Read>][] = [
  [
    'counted',
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A:  b c \t\r\nx-empty:\r\n\r\nhello',
    {
      heads: [[200, 'OK', ['Content-Length', '5', 'X-A', 'b c', 'x-empty', '']]],
      body: 'hello',
      trailers: [],
      keepAlive: true,
    },
  ],
  ['empty', 'HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n', { heads: [[200, '', ['Content-Length', '0']]], trailers: [] }],
  ['without content', 'HTTP/1.1 204 No Content\r\n\r\n', { body: '', trailers: [], keepAlive: true }],
  ['not modified', 'HTTP/1.1 304 NM\r\nContent-Length: 10\r\n\r\n', { body: '', trailers: [], keepAlive: true }],
  [
    'in chunks, with extensions and trailers',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n5;a=b\r\nhello\r\nA \t; x\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n',
    { body: 'hello0123456789', trailers: ['X-Sum', '1'], keepAlive: true },
  ],
  [
    'in chunks, without trailers',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n000\r\n\r\n',
    { body: 'abc', trailers: [] },
  ],
  ['until the end', 'HTTP/1.1 200 OK\r\n\r\nrest of it', { body: 'rest of it', trailers: [], keepAlive: false }],
  [
    'that closes',
    'HTTP/1.1 200 OK\r\nConnection: foo, Close\r\nContent-Length: 1\r\n\r\nx',
    { body: 'x', keepAlive: false },
  ],
  ['of HTTP/1.0', 'HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx', { body: 'x', keepAlive: false }],
  [
    'after interim ones',
    'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx',
    {
      heads: [
        [103, 'Early Hints', ['Link', '</a>']],
        [200, 'OK', ['Content-Length', '1']],
      ],
      body: 'x',
    },
  ],
];

/** Each has, for some recipient, another meaning than for another; or none. */
const UNSOUND: readonly [name: string, answer: string][] = [
  ['bare LF', 'HTTP/1.1 200 OK\nContent-Length: 1\n\nx'],
  ['one bare LF', 'HTTP/1.1 200 OK\r\nA: b\nContent-Length: 1\r\n\r\nx'],
  ['a folded line', 'HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 1\r\n\r\nx'],
  ['a space before the colon', 'HTTP/1.1 200 OK\r\nContent-Length : 1\r\n\r\nx'],
  ['a NUL', 'HTTP/1.1 200 OK\r\nA: b\0\r\nContent-Length: 1\r\n\r\nx'],
  ['a bare CR', 'HTTP/1.1 200 OK\r\nA: b\rB: c\r\nContent-Length: 1\r\n\r\nx'],
  ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx'],
  ['a list of lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\nx'],
  ['a signed length', 'HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx'],
  ['a length and chunks', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
  ['chunks twice', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
  ['another coding', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n'],
  ['chunks in HTTP/1.0', 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
  ['a size with a sign', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+1\r\nx\r\n0\r\n\r\n'],
  ['a size with 0x', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\nx\r\n0\r\n\r\n'],
  ['a size that is too large', `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${'1'.repeat(14)}\r\nx`],
  ['a size with a bare LF', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\n'],
  ['a chunk longer than its size', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n'],
  ['a trailer that is no field', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nGET / HTTP/1.1\r\n\r\n'],
  ['no version', 'ICY 200 OK\r\n\r\n'],
  ['another version', 'HTTP/2.0 200 OK\r\n\r\n'],
  ['a status of two digits', 'HTTP/1.1 20 OK\r\n\r\n'],
  ['more than the answer', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\n\r\n'],
  ['a head without end', `HTTP/1.1 200 OK\r\n${'A: b\r\n'.repeat(20_000)}`],
  [
    'a trailer section without end',
    `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n${'A: b\r\n'.repeat(3000)}`,
  ],
  ['a size line without end', `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;${'a'.repeat(5000)}`],
];

describe('an answer of an upstream', () => {
  it.each(SOUND)('%s is read', (_name, answer, expected) => {
    expect(read([answer])).toMatchObject({ invalid: null, ...expected });
  });

  it.each([
    ['HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n'],
    ['HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n'],
  ])('without content that announces some is the last of its connection: %j', (answer) => {
    expect(read([answer])).toMatchObject({ body: '', trailers: [], keepAlive: false, invalid: null });
  });

  it('to HEAD has no body, whatever it says', () => {
    const answer = 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n';
    expect(read([answer], true)).toMatchObject({ body: '', trailers: [], keepAlive: true, invalid: null });
    expect(read(['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'], true)).toMatchObject({ trailers: [] });
  });

  it.each(UNSOUND)('with %s is refused', (_name, answer) => {
    expect(read([answer]).invalid).not.toBeNull();
  });

  it('that breaks off is not complete', () => {
    for (const [, answer] of SOUND.filter(([name]) => name !== 'until the end')) {
      for (let length = 0; length < answer.length; length += 1) {
        expect({ answer, length, trailers: read([answer.slice(0, length)]).trailers }).toMatchObject({
          trailers: null,
        });
      }
    }
  });

  it('is read alike in whatever pieces it comes', () => {
    const answers = [...SOUND, ...UNSOUND].map(([, answer]) => answer).filter(({ length }) => length < 1000);
    fc.assert(
      fc.property(fc.constantFrom(...answers), fc.array(fc.nat(300), { maxLength: 40 }), (answer, cuts) => {
        const places = [...new Set(cuts.map((cut) => cut % answer.length))].toSorted((a, b) => a - b);
        const pieces = [...places, answer.length].map((end, i) => answer.slice(i === 0 ? 0 : places[i - 1], end));
        const whole = read([answer]);
        const parts = read(pieces);
        expect({ ...parts, invalid: parts.invalid !== null }).toEqual({ ...whole, invalid: whole.invalid !== null });
      }),
      { numRuns: 2000 },
    );
  });

  it('is read alike whatever heads came before it', () => {
    const answers = [...SOUND, ...UNSOUND].map(([, answer]) => answer);
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...answers), { minLength: 100, maxLength: 200 }), (sequence) => {
        const before = new AnswerHeads();
        for (const answer of sequence) expect(read([answer], false, before)).toEqual(read([answer]));
      }),
      { numRuns: 20 },
    );
  });

  it('is remembered by its head only, and forgotten', () => {
    const before = new AnswerHeads();
    const answer = (n: number): string => `HTTP/1.1 200 OK\r\nX: ${n}\r\nContent-Length: 1\r\n\r\n${n % 10}`;
    for (let n = 0; n < 500; n += 1) {
      expect(read([answer(n)], false, before)).toMatchObject({
        body: String(n % 10),
        heads: [[200, 'OK', expect.arrayContaining([String(n)])]],
      });
      expect(read([answer(0)], false, before).heads).toEqual([[200, 'OK', ['X', '0', 'Content-Length', '1']]]);
    }
  });

  it('is told no further once it is stopped in the middle', () => {
    for (const when of ['onHead', 'onBody'] as const) {
      const heard: string[] = [];
      const reader = new AnswerReader();
      const note = (what: string) => (): void => {
        heard.push(what);
        if (what === when) reader.stop();
      };
      reader.expect(
        { onHead: note('onHead'), onBody: note('onBody'), onWholeBody: note('onWholeBody'), onEnd: note('onEnd') },
        false,
      );
      const answer = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n1\r\ny\r\n0\r\n\r\n';
      expect(() => reader.read(Buffer.from(answer))).toThrow(UpstreamInvalid);
      expect({ last: heard.at(-1), keepAlive: reader.keepAlive }).toEqual({ last: when, keepAlive: false });
    }
  });
});
