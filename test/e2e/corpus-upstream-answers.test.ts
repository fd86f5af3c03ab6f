import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hasCorpus, NO_CORPUS, readCorpus } from '../support/corpus.ts';
import { TestGateway } from '../support/gateway.ts';
import { type RawAnswer, readAnswer, valuesOf } from '../support/raw-answer.ts';
import { sendRaw } from '../support/raw-client.ts';
import { RawUpstream } from '../support/raw-upstream.ts';

/*
 * Answers of an upstream that is broken, hostile or merely odd: response splitting, response-queue poisoning (CWE-444),
 * truncation passed off as completeness, floods. Each is served byte for byte, once by an upstream that then closes the
 * connection, and once by one that keeps it open for the next request to fall into.
 */

const FILE = 'misc/upstream_responses.jsonl';

interface Vector {
  readonly id: string;
  readonly request: string;
  readonly response_b64: string;
}

type Judge = (answer: RawAnswer) => boolean;

const ok: Judge = ({ status, body, complete }) => status === 200 && body === 'ok' && complete;
const refused: Judge = ({ status, complete }) => status === 502 && complete;
const either: Judge = (answer) => ok(answer) || refused(answer);
const cutOff: Judge = ({ status, complete }) => (status === 200 && !complete) || status === 502;
const status =
  (code: number, body: string | null = null): Judge =>
  (answer) =>
    answer.status === code && answer.complete && (body === null || answer.body === body);
const any =
  (...judges: Judge[]): Judge =>
  (answer) =>
    judges.some((judge) => judge(answer));
const all =
  (...judges: Judge[]): Judge =>
  (answer) =>
    judges.every((judge) => judge(answer));
const has =
  (name: string, ...values: string[]): Judge =>
  (answer) =>
    JSON.stringify(valuesOf(answer, name)) === JSON.stringify(values);
const lacks =
  (...names: string[]): Judge =>
  (answer) =>
    names.every((name) => valuesOf(answer, name).length === 0);

/** What a client may see of each; `refused` where nothing is named. */
const ACCEPTABLE: Readonly<Record<string, Judge>> = {
  'ok-cl': ok,
  'ok-chunked': ok,
  'ok-close': ok,
  trailers: all(ok, lacks('x-t')),
  // undici takes a `100` that nobody asked for as a broken answer; either is allowed, a desync is not.
  '100-then-200': either,
  '103-then-200': ok,
  'many-1xx': either,
  '204-with-body': status(204, ''),
  '204-te': all(status(204, ''), lacks('transfer-encoding')),
  '304-cl': status(304, ''),
  '205-body': any(status(205), refused),
  'cl-dup-same': either,
  'cl-te': any(refused, status(200, '')),
  'cl-short-close': cutOff,
  'chunk-trunc': cutOff,
  'chunk-no-last': cutOff,
  'extra-data': ok,
  unsolicited: ok,
  'te-identity': either,
  'te-10': any(refused, status(200, '')),
  'hdr-nul': either,
  'hdr-cr': either,
  'hdr-space-colon': either,
  'hdr-fold': either,
  'hdr-empty-name': either,
  'hdr-5000': either,
  'hdr-nonascii': all(ok, has('x', 'caf\xe9')),
  'status-noreason': ok,
  // undici reads `HTTP/2.0` as it reads `HTTP/1.1`, and says neither; it changes nothing about the message.
  'status-h2': either,
  'status-999': any(status(999), refused),
  'status-reason-crlf': either,
  'lf-only': either,
  'leading-crlf': either,
  'set-cookie-multi': has('set-cookie', 'a=1; Expires=Wed, 09 Jun 2100 10:18:14 GMT', 'b=2', 'c=3'),
  'conn-named': lacks('x-secret', 'proxy-authenticate'),
  'www-auth': all(status(401), has('www-authenticate', 'Basic realm="up"', 'Negotiate')),
  'alt-svc': all(ok, lacks('alt-svc')),
  'x-accel': ok,
  'gzip-noce': all(status(200, 'abc'), has('content-encoding', 'gzip')),
  'head-with-cl': all(status(200, ''), has('content-length', '1000')),
  'head-with-body': status(200, ''),
  'head-chunked': status(200, ''),
  'early-413': all(status(413), has('connection', 'close')),
  'early-200-keepalive': all(status(200, 'early'), has('connection', 'close')),
  'expect-417': status(417),
};

/** These say themselves where they end, so the connection may stay open, and the next request must not suffer. */
const ENDLESS = new Set([
  'close-immediately',
  'ok-close',
  'cl-short-close',
  'chunk-trunc',
  'chunk-no-last',
  'status-0.9',
  'te-identity',
]);

const POLICY = `api: everything
upstream: raw
rules:
  - { name: all, path: [/, "/{rest...}"], scopes: [corpus] }
`;

describe.skipIf(!hasCorpus(FILE))(`the corpus of upstream answers (${NO_CORPUS})`, () => {
  let upstream: RawUpstream;
  let gateway: TestGateway;
  let token: string;

  beforeAll(async () => {
    upstream = await RawUpstream.start();
    gateway = await TestGateway.start({
      upstreams: { raw: upstream.url },
      upstreamOptions: { raw: 'response_timeout: 5s' },
      policies: { 'everything.yaml': POLICY },
    });
    ({ token } = await gateway.issue({ scopes: ['corpus'] }));
  });

  afterAll(async () => {
    await gateway?.close();
    await upstream?.close();
  });

  /** The client's bytes for what a vector's `request` says. */
  function requestFor({ request }: Vector): string {
    const [method = 'GET', path = '/'] = request.split(' ');
    const length = /Content-Length: (\d+)/.exec(request)?.[1];
    const expects = request.includes('Expect:');
    const body = length === undefined ? (expects ? 'ok' : '') : 'x';
    const framing = body === '' ? '' : `Content-Length: ${length ?? body.length}\r\n`;
    const expectation = expects ? 'Expect: 100-continue\r\n' : '';
    return `${method} ${path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\n${framing}${expectation}\r\n${body}`;
  }

  async function judge(vector: Vector, close: boolean): Promise<string[]> {
    const method = vector.request.split(' ')[0] ?? '';
    const bytes = Buffer.from(vector.response_b64, 'base64').toString('latin1');
    const early = vector.id.startsWith('early-');
    // An early answer comes before the request is complete: with the first byte of its body.
    for (const { socket } of upstream.connections) socket.destroy();
    upstream.connections.length = 0;
    upstream.answerPartial = early ? () => bytes : null;
    upstream.answer = (_request, socket) => {
      if (close) {
        socket.end(bytes, 'latin1');
        return null;
      }
      return bytes;
    };
    const wrong: string[] = [];
    const request = requestFor(vector).replace('\r\n\r\n', early ? '\r\n\r\n' : '\r\nConnection: close\r\n\r\n');
    const { text } = await sendRaw(gateway.port, request);
    const answer = readAnswer(text, method);
    if (!(ACCEPTABLE[vector.id] ?? refused)(answer))
      wrong.push(`${vector.id} gave ${JSON.stringify(text.slice(0, 300))}`);
    if (answer.rest !== '') wrong.push(`${vector.id} is followed by ${JSON.stringify(answer.rest.slice(0, 100))}`);
    upstream.answerPartial = null;
    upstream.answer = () => 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext';
    const next = await gateway.call('/next', { token });
    if (next.text !== 'next')
      wrong.push(`after ${vector.id} the next client got ${next.status} ${next.text.slice(0, 100)}`);
    return wrong;
  }

  it('gives no client more, less or other than one whole answer, or one that is visibly cut off', async () => {
    const wrong: string[] = [];
    const vectors = readCorpus<Vector>(FILE);
    for (const vector of vectors) wrong.push(...(await judge(vector, true)));
    expect(wrong).toEqual([]);
    expect(vectors.length).toBeGreaterThan(60);
  }, 30_000);

  it('leaves nothing behind on a connection that is used again', async () => {
    const wrong: string[] = [];
    for (const vector of readCorpus<Vector>(FILE)) {
      if (!ENDLESS.has(vector.id)) wrong.push(...(await judge(vector, false)));
    }
    expect(wrong).toEqual([]);
  }, 60_000);
});
