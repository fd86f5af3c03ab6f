import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hasCorpus, NO_CORPUS, readCorpus } from '../support/corpus.ts';
import { TestGateway } from '../support/gateway.ts';
import { sendRaw, statusOf } from '../support/raw-client.ts';
import { headersOf, type RawRequest, RawUpstream } from '../support/raw-upstream.ts';

/*
 * Headers that pretend to be somebody, to come from somewhere, or to ask for another method or path than they do; and
 * methods that a rule does not name. Each is sent to a path that the token may use and to one that it may not: it must
 * change neither decision, nor what the upstream or the audit trail is told.
 */

const FILE = 'misc/header_and_method_bypass.jsonl';

interface Vector {
  readonly id: string;
  readonly header?: string;
  readonly value?: string;
  readonly method?: string;
}

const POLICY = `api: everything
upstream: recorder
rules:
  - { name: open, path: "/open/{rest...}", scopes: [corpus] }
  - { name: read, methods: [GET], path: "/read/{rest...}", scopes: [corpus] }
  - { name: near, path: "/near/{rest...}", scopes: [corpus], when: { ip: [192.0.2.0/24] } }
  - { name: admin, path: [/admin, "/admin/{rest...}"], scopes: [admin-area] }
`;

/** Names that carry nothing but what a client may say: they pass as they came. */
// (`X-Forwarded-For` is compared as a whole above: the true address may be the one that was claimed.)
const HARMLESS =
  /^(referer|referrer|x-referrer|origin|x-wap-profile|via|x-request-id|x-auth-\w+|x-user(-id)?|x-internal|x-forwarded-for)$/;

describe.skipIf(!hasCorpus(FILE))(`the corpus of spoofed headers and methods (${NO_CORPUS})`, () => {
  let upstream: RawUpstream;
  let gateway: TestGateway;
  let token: string;
  let tokenId: string;

  beforeAll(async () => {
    upstream = await RawUpstream.start();
    gateway = await TestGateway.start({
      upstreams: { recorder: upstream.url },
      policies: { 'everything.yaml': POLICY },
    });
    ({ token, id: tokenId } = await gateway.issue({ scopes: ['corpus'], subject: 'zoe' }));
  });

  afterAll(async () => {
    await gateway?.close();
    await upstream?.close();
  });

  const headers = (): Vector[] => readCorpus<Vector>(FILE).filter(({ header }) => header !== undefined);
  const methods = (): string[] =>
    readCorpus<Vector>(FILE).flatMap(({ method }) => (method === undefined ? [] : [method]));

  function request(method: string, path: string, field: string): string {
    const host = /^host:/i.test(field) ? '' : 'Host: gw.test\r\n';
    return `${method} ${path} HTTP/1.1\r\n${host}Authorization: Bearer ${token}\r\n${field}\r\nConnection: close\r\n\r\n`;
  }

  async function sent(method: string, path: string, field: string): Promise<{ status: number; seen: RawRequest[] }> {
    upstream.forget();
    const { text } = await sendRaw(gateway.port, request(method, path, field));
    return { status: statusOf(text), seen: upstream.requests };
  }

  it('changes no decision: what the token may not do stays refused, whatever the header says', async () => {
    const passed: string[] = [];
    for (const { id, header, value } of headers()) {
      for (const path of ['/admin/secret', '/near/by', '/undeclared']) {
        const { status, seen } = await sent('GET', path, `${header}: ${value}`);
        if (seen.length > 0 || (status !== 403 && status !== 400 && status !== 401))
          passed.push(`${id} ${path} ${status}`);
      }
    }
    expect(passed).toEqual([]);
  }, 30_000);

  it('tells the upstream nothing that only a gateway may say', async () => {
    const wrong: string[] = [];
    for (const { id, header = '', value = '' } of headers()) {
      const name = header.toLowerCase();
      const { status, seen } = await sent('GET', '/open/x', `${header}: ${value}`);
      if (name.endsWith(' ')) {
        if (status !== 400 || seen.length > 0) wrong.push(`${id}: a space before the colon got ${status}`);
        continue;
      }
      const [got] = seen;
      if (got === undefined) {
        if (status !== 400 && status !== 401) wrong.push(`${id}: ${header} got ${status}`);
        continue;
      }
      const said = (field: string): string => headersOf(got, field).join('|');
      const own = {
        line: `${got.method} ${got.target}`,
        id: said('portcullis-token-id'),
        subject: said('portcullis-subject'),
        for: said('x-forwarded-for'),
        proto: said('x-forwarded-proto'),
        by: said('forwarded').split(';')[0],
        trace: said('traceparent').length,
        auth: said('authorization'),
      };
      const right = {
        line: 'GET /open/x',
        id: tokenId,
        subject: 'zoe',
        for: '127.0.0.1',
        proto: 'http',
        by: 'for=127.0.0.1',
        trace: 55,
        auth: '',
      };
      if (JSON.stringify(own) !== JSON.stringify(right)) wrong.push(`${id}: ${JSON.stringify(own)}`);
      const folded = name.replaceAll('_', '-');
      const survived = got.headers.some(([field, text]) => field.replaceAll('_', '-') === folded && text === value);
      if (survived && !HARMLESS.test(folded) && name !== 'host') wrong.push(`${id}: ${header}: ${value} went on`);
    }
    expect(wrong).toEqual([]);
  }, 30_000);

  it('takes no header’s word for the client’s address in the audit trail', async () => {
    const lines = await gateway.auditLines();
    const addresses = new Set(lines.filter(({ type }) => type.startsWith('access.')).map((line) => line['ip']));
    expect([...addresses]).toEqual(['127.0.0.1']);
  });

  it('ends what Connection names, and refuses a request whose framing it names', async () => {
    const wrong: string[] = [];
    const names = headers().filter(({ header }) => header === 'Connection');
    for (const { value = '' } of names) {
      upstream.forget();
      const fields = 'X-Auth-Subject: a\r\nX-Auth-Scopes: b\r\nX-Request-Id: c\r\nCookie: d=1\r\n';
      const { text } = await sendRaw(
        gateway.port,
        `GET /open/x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\n${fields}Connection: ${value}\r\n\r\n`,
        (got) => got.includes('\r\n\r\n'),
      );
      const [got] = upstream.requests;
      const framing = /host|content-length|transfer-encoding/i.test(value);
      if (framing ? statusOf(text) !== 400 || got !== undefined : statusOf(text) !== 200) {
        wrong.push(`${value} got ${statusOf(text)}`);
      }
      for (const name of value.toLowerCase().split(/,\s*/)) {
        const own = ['x-forwarded-for', 'connection', 'close', 'keep-alive'].includes(name);
        if (got !== undefined && !own && headersOf(got, name).length > 0) wrong.push(`${value} left ${name}`);
      }
      if (got !== undefined && headersOf(got, 'x-forwarded-for').join() !== '127.0.0.1')
        wrong.push(`${value} took away`);
    }
    expect(wrong).toEqual([]);
    expect(names.length).toBeGreaterThan(5);
  });

  it('lets only the method through that the rule names, to the letter', async () => {
    const passed: string[] = [];
    for (const method of methods()) {
      const { status, seen } = await sent(method, '/read/x', 'X: y');
      const allowed = method === 'GET';
      if (allowed !== (seen.length === 1) || (allowed ? status !== 200 : status < 400))
        passed.push(`${method} ${status}`);
      if (seen.some((got) => got.method !== method)) passed.push(`${method} became ${seen[0]?.method}`);
    }
    expect(passed).toEqual([]);
    expect(methods().length).toBeGreaterThan(30);
  });

  it('never forwards CONNECT, TRACE or the preface of HTTP/2, where a rule allows every method', async () => {
    for (const line of ['CONNECT /open/x', 'CONNECT open:80', 'TRACE /open/x', 'PRI /open/x', 'trace /open/x']) {
      const { seen } = await sent(...(line.split(' ') as [string, string]), 'X: y');
      expect({ line, seen }).toEqual({ line, seen: [] });
    }
  });

  it('survives all of them at once', async () => {
    const socket = connect(gateway.port, '127.0.0.1');
    socket.on('error', () => undefined);
    for (const { header, value } of headers())
      socket.write(`GET /open/x HTTP/1.1\r\nHost: a\r\n${header}: ${value}\r\n\r\n`, 'latin1');
    await new Promise((resolve) => socket.once('data', resolve));
    socket.destroy();
    expect((await gateway.call('/open/x', { token })).status).toBe(200);
  });
});
