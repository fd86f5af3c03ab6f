import { once } from 'node:events';
import type { Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compilePolicy } from '../../src/policy/compile.ts';
import { Replay } from '../../src/policy/replay-report.ts';
import { type Answer, TestGateway } from '../support/gateway.ts';
import { openSocket, sendRaw, statusOf } from '../support/raw-client.ts';
import { type SeenRequest, TestUpstream } from '../support/upstream.ts';

const ALLOWED = '[initialize, tools/list, tools/call]';

const policyText = (tools: string): string => `api: mcp
upstream: mcp
rules:
  - { name: talk, methods: [POST], path: /mcp, scopes: [items:use], when: { mcp: { methods: ${ALLOWED}, tools: ${tools} } } }
  - { name: stream, methods: [GET], path: /mcp, scopes: [items:use] }
  - { name: any method, path: /any, scopes: [items:use], when: { mcp: { methods: [ping] } } }
  - { name: tried, methods: [POST], path: /tried, scopes: [items:use], mode: report, when: { mcp: { methods: [ping] } } }
  - { name: later, methods: [POST], path: /later, scopes: [items:use], when: { max_token_age: 1d, ip: [203.0.113.0/24], mcp: { methods: [ping] } } }
  - { name: limited, methods: [POST], path: /limited, scopes: [items:use], rate_limit: { requests: 1, per: 1h }, when: { mcp: { methods: [ping] } } }
`;
const POLICY = policyText('[search]');

const message = (method: string, params?: object): string => JSON.stringify({ jsonrpc: '2.0', id: 1, method, params });
const callOf = (name: string): string => message('tools/call', { name, arguments: { text: 'schön' } });
const JSON_TYPE = { 'content-type': 'application/json' };

const outcome = ({ status, problem }: Answer): string => (status === 200 ? 'ok' : `${status} ${problem?.reason}`);

describe('a rule that looks at the message in the body', () => {
  let upstream: TestUpstream;
  let gateway: TestGateway;
  let token: string;

  beforeAll(async () => {
    upstream = await TestUpstream.start();
    gateway = await TestGateway.start({
      upstreams: { mcp: upstream.url },
      policies: { 'mcp.yaml': POLICY },
      config: {
        listen:
          '{ host: 127.0.0.1, port: 0, trusted_proxies: [127.0.0.1], limits: { mcp_message_bytes: 4KiB, request_timeout: 2s } }',
      },
    });
    ({ token } = await gateway.issue({ scopes: ['items:use'] }));
  });

  afterAll(async () => {
    await gateway?.close();
    await upstream?.close();
  });

  const post = (
    body: string | Buffer,
    more: { path?: string; token?: string; headers?: Record<string, string> } = {},
  ) =>
    gateway.call(more.path ?? '/mcp', {
      method: 'POST',
      token: more.token ?? token,
      body,
      headers: { ...JSON_TYPE, ...more.headers },
    });

  async function seenBy(work: () => Promise<unknown>): Promise<readonly SeenRequest[]> {
    const before = upstream.seen.length;
    await work();
    return upstream.seen.slice(before);
  }

  function head(path: string, more: string, presented: string | null = token): string {
    const authorization = presented === null ? '' : `authorization: Bearer ${presented}\r\n`;
    return `POST ${path} HTTP/1.1\r\nhost: mcp.test\r\n${authorization}content-type: application/json\r\n${more}\r\n`;
  }

  it('forwards what it has judged, to the byte, and records what that was', async () => {
    const body = `  {"id" : 1.0e0,"jsonrpc":"2.0",\n"params":{"name":"se\\u0061rch","arguments":{"z":"é","a":1}}, "method":"tools/call"} `;
    const answers: Answer[] = [];
    const seen = await seenBy(async () => {
      answers.push(await post(body), await post(message('tools/list')));
    });
    expect(answers.map(outcome)).toEqual(['ok', 'ok']);
    expect(seen[0]?.body.equals(Buffer.from(body))).toBe(true);
    expect(seen[0]?.headers['content-length']).toBe(String(Buffer.byteLength(body)));
    const events = await Promise.all(answers.map((answer) => gateway.eventOf(answer)));
    expect(events).toMatchObject([
      {
        type: 'access.allowed',
        rule: 'talk',
        bytes_in: Buffer.byteLength(body),
        details: { mcp: { method: 'tools/call', tool: 'search' } },
      },
      { type: 'access.allowed', rule: 'talk', details: { mcp: { method: 'tools/list' } } },
    ]);
  });

  it('forwards a body that comes in pieces like one that comes whole', async () => {
    const body = callOf('search');
    const pieces = [...Buffer.from(body)].map((byte) => `1\r\n${String.fromCharCode(byte)}\r\n`).join('');
    const seen = await seenBy(async () => {
      const bytes = Buffer.from(`${head('/mcp', 'transfer-encoding: chunked\r\n')}${pieces}0\r\n\r\n`, 'latin1');
      const { text } = await sendRaw(gateway.port, bytes, (all) => all.includes('{"ok":true}'));
      expect(statusOf(text)).toBe(200);
    });
    expect(seen[0]?.body.toString()).toBe(body);
    expect([seen[0]?.headers['transfer-encoding'], seen[0]?.headers['content-length']]).toEqual(['chunked', undefined]);
  });

  it('refuses another tool and another method, and the connection goes on', async () => {
    const seen = await seenBy(async () => {
      const refused = await post(callOf('delete'));
      expect([outcome(refused), JSON.parse(refused.text)]).toMatchObject([
        '403 condition_failed',
        { condition: 'mcp' },
      ]);
      expect(await gateway.eventOf(refused)).toMatchObject({
        type: 'access.denied',
        reason: 'condition_failed',
        bytes_in: Buffer.byteLength(callOf('delete')),
        details: { mcp: { method: 'tools/call', tool: 'delete' } },
      });
      expect(outcome(await post(message('resources/read', { name: 'search' })))).toBe('403 condition_failed');
      expect(outcome(await post('{"jsonrpc":"2.0","id":1,"result":{}}'))).toBe('403 condition_failed');
      const body = callOf('delete');
      const twice = `${head('/mcp', `content-length: ${Buffer.byteLength(body)}\r\n`)}${body}`.repeat(2);
      const { text } = await sendRaw(
        gateway.port,
        Buffer.from(twice),
        (all) => all.split('"condition":"mcp"').length > 2,
      );
      expect(text).not.toContain('connection: close');
    });
    expect(seen).toEqual([]);
  });

  it.each([
    ['no JSON', 'nonsense', JSON_TYPE],
    ['a batch', `[${message('tools/list')}]`, JSON_TYPE],
    ['a member twice', '{"jsonrpc":"2.0","method":"tools/list","method":"tools/call"}', JSON_TYPE],
    ['another type', message('tools/list'), { 'content-type': 'text/plain' }],
    ['another charset', message('tools/list'), { 'content-type': 'application/json; charset=utf-16' }],
    ['an encoding', message('tools/list'), { 'content-encoding': 'gzip' }],
    ['nothing', '', JSON_TYPE],
    ['a header that says another method', message('tools/list'), { 'mcp-method': 'tools/call' }],
    ['a header that says another tool', callOf('search'), { 'mcp-name': 'delete' }],
    ['an encoded header that says another tool', callOf('search'), { 'mcp-name': '=?base64?ZGVsZXRl?=' }],
    ['a header with an underscore', callOf('search'), { mcp_name: 'delete' }],
  ])('refuses %s', async (_, body, headers) => {
    const seen = await seenBy(async () => expect(outcome(await post(body, { headers }))).toBe('400 request_malformed'));
    expect(seen).toEqual([]);
  });

  it('takes headers that repeat what the message says', async () => {
    const headers = {
      'mcp-method': 'tools/call',
      'mcp-name': '=?base64?c2VhcmNo?=',
      'content-type': 'application/json; charset=UTF-8',
    };
    expect(outcome(await post(callOf('search'), { headers }))).toBe('ok');
  });

  it('takes no more than a stated size, announced or not', async () => {
    const seen = await seenBy(async () => {
      const long = message('tools/call', { name: 'search', arguments: { text: 'x'.repeat(5000) } });
      const refused = await post(long);
      expect([outcome(refused), refused.problem?.detail]).toEqual([
        '413 body_too_large',
        expect.stringContaining('4096'),
      ]);
      const chunk = `400\r\n${'x'.repeat(0x400)}\r\n`;
      const endless = `${head('/mcp', 'transfer-encoding: chunked\r\n')}${chunk.repeat(5)}`;
      const { text, closed } = await sendRaw(gateway.port, endless);
      expect([statusOf(text), closed]).toEqual([413, true]);
    });
    expect(seen).toEqual([]);
    const fits = message('tools/call', { name: 'search', arguments: {} });
    const padded = `${fits}${' '.repeat(4096 - fits.length)}`;
    expect(outcome(await post(padded))).toBe('ok');
    expect(outcome(await post(`${padded} `))).toBe('413 body_too_large');
  });

  it('reads nothing of whom it refuses anyhow', async () => {
    const { token: weak } = await gateway.issue({ scopes: ['items:other'] });
    const announced = 'content-length: 100\r\nexpect: 100-continue\r\n';
    const answers = [
      await sendRaw(gateway.port, head('/mcp', announced, null)),
      await sendRaw(gateway.port, head('/mcp', announced, weak)),
      // Another condition of the rule does not hold.
      await sendRaw(gateway.port, head('/later', announced)),
      // A GET has no message, whatever follows.
      await sendRaw(gateway.port, head('/any', announced).replace('POST', 'GET')),
      // Nor has the question of another proxy.
      await sendRaw(gateway.port, head('/.portcullis/authz/mcp', announced)),
    ];
    expect(
      answers.map(({ text }) => [statusOf(text), /"reason":"(\w+)"/.exec(text)?.[1], /100 Continue/.test(text)]),
    ).toEqual([
      [401, 'token_missing', false],
      [403, 'scope_insufficient', false],
      [403, 'condition_failed', false],
      [403, 'condition_failed', false],
      [403, 'condition_failed', false],
    ]);
  });

  it('invites the body of whom it may let in', async () => {
    const body = callOf('search');
    const socket = await openSocket(gateway.port);
    try {
      let text = '';
      const answer = new Promise<void>((resolve, reject) => {
        socket.on('error', reject);
        socket.on('data', (part) => {
          text += part.toString('latin1');
          if (text === 'HTTP/1.1 100 Continue\r\n\r\n') socket.write(body);
          if (text.includes('{"ok":true}')) resolve();
        });
      });
      socket.write(head('/mcp', `content-length: ${Buffer.byteLength(body)}\r\nexpect: 100-continue\r\n`));
      await answer;
      expect(text.match(/100 Continue/g)).toHaveLength(1);
    } finally {
      socket.destroy();
    }
  });

  it('waits for a body no longer than for any request', async () => {
    const seen = await seenBy(async () => {
      const { text, closed } = await sendRaw(
        gateway.port,
        `${head('/mcp', 'content-length: 100\r\n')}{`,
        undefined,
        15_000,
      );
      expect([statusOf(text), closed]).toEqual([408, true]);
    });
    expect(seen).toEqual([]);
  });

  it('forgets a client that leaves in the middle', async () => {
    const { token: own, id } = await gateway.issue({ scopes: ['items:use'] });
    const socket = await openSocket(gateway.port);
    socket.write(`${head('/mcp', 'content-length: 100\r\n', own)}{`);
    await gateway.event((line) => line.type === 'token.issued' && line['token_id'] === id);
    socket.resetAndDestroy();
    const event = await gateway.event((line) => line.type === 'access.denied' && line['token_id'] === id);
    expect(event.rule).toBe('talk');
    expect(upstream.seen.filter(({ body }) => body.length < 10)).toEqual([]);
  });

  it.each([
    ['is revoked', 'POST', '/revoke', { reason: 'test' }, 'token_revoked'],
    ['loses its scope', 'PATCH', '', { scopes: ['items:other'] }, 'scope_insufficient'],
  ])('does not let in a token that %s while its message is still coming', async (_, method, path, change, reason) => {
    const { token: own, id } = await gateway.issue({ scopes: ['items:use', 'items:other'] });
    const body = callOf('search');
    const seen = await seenBy(async () => {
      const socket = await openSocket(gateway.port);
      let text = '';
      let invited: () => void = () => undefined;
      const waiting = new Promise<void>((resolve) => {
        invited = resolve;
      });
      const answered = new Promise<void>((resolve) => {
        socket.on('data', (part) => {
          text += part.toString('latin1');
          if (text.includes('100 Continue')) invited();
          if (text.includes('"reason"')) resolve();
        });
      });
      socket.write(head('/mcp', `content-length: ${Buffer.byteLength(body)}\r\nexpect: 100-continue\r\n`, own));
      await waiting;
      expect((await gateway.admin(method, `/v1/tokens/${id}${path}`, change)).status).toBe(200);
      socket.write(body);
      await answered;
      expect(/"reason":"(\w+)"/.exec(text)?.[1]).toBe(reason);
      socket.destroy();
    });
    expect(seen).toEqual([]);
  });

  it('counts a rate limit only for what it lets in', async () => {
    expect(outcome(await post(callOf('search'), { path: '/limited' }))).toBe('403 condition_failed');
    expect(outcome(await post(message('ping'), { path: '/limited' }))).toBe('ok');
    expect(outcome(await post(message('ping'), { path: '/limited' }))).toBe('429 rate_limited');
  });

  it('lets everything through under report mode, as it came, and says what it would have refused', async () => {
    const long = message('ping', { text: 'x'.repeat(200_000) });
    const bodies = [callOf('search'), 'nonsense', long, message('ping')];
    const answers: Answer[] = [];
    const seen = await seenBy(async () => {
      for (const body of bodies) answers.push(await post(body, { path: '/tried' }));
    });
    expect(answers.map(outcome)).toEqual(['ok', 'ok', 'ok', 'ok']);
    expect(seen.map(({ body }) => body.toString())).toEqual(bodies);
    const events = await Promise.all(answers.map((answer) => gateway.eventOf(answer)));
    expect(events.map(({ type, reason }) => [type, reason])).toEqual([
      ['access.would_deny', 'condition_failed'],
      ['access.would_deny', 'condition_failed'],
      ['access.would_deny', 'condition_failed'],
      ['access.allowed', undefined],
    ]);
    expect(events[2]?.['bytes_in']).toBe(long.length);
  });

  it('is replayed as it was, and under other policies', async () => {
    const replayed = async (text: string) => {
      const { policy } = compilePolicy([{ name: 'mcp.yaml', text }], { upstreams: new Set(['mcp']) });
      if (policy === null) throw new Error('the policy does not load');
      const replay = new Replay(policy, { enforce: false });
      const lines = (await gateway.auditLines()) as unknown as Parameters<Replay['add']>[0][];
      for (const line of lines.filter(({ type }) => type.startsWith('access.'))) replay.add(line);
      return replay.report();
    };
    const same = await replayed(POLICY);
    expect([same.flips, same.requests > 20]).toEqual([[], true]);
    const other = await replayed(policyText('[search, delete]'));
    expect(other.flips).toMatchObject([
      { change: 'deny-to-allow', to: { rule: 'talk' }, from: { reason: 'condition_failed' } },
    ]);
    // A new condition on what was not looked at then cannot be judged.
    const stricter = await replayed(
      POLICY.replace('name: stream, methods: [GET]', 'name: stream, methods: [GET, PUT]'),
    );
    expect(stricter.flips).toEqual([]);
  });
});

describe('messages that are held', () => {
  it('are bounded for each holder, so that others go on', async () => {
    const upstream = await TestUpstream.start();
    const gateway = await TestGateway.start({
      upstreams: { mcp: upstream.url },
      policies: { 'mcp.yaml': POLICY },
      config: { listen: '{ host: 127.0.0.1, port: 0, limits: { mcp_message_bytes: 4MiB } }' },
    });
    const sockets: Socket[] = [];
    try {
      const { token: greedy } = await gateway.issue({ scopes: ['items:use'] });
      const { token: other } = await gateway.issue({ scopes: ['items:use'] });
      const size = 3 * 1024 * 1024;
      // All but the last byte, so that each is held for as long as a request may take.
      const begin = async (): Promise<{ answered: Promise<number>; end: () => void }> => {
        const socket = await openSocket(gateway.port);
        sockets.push(socket);
        const answered = once(socket, 'data').then(async ([part]) => {
          const id = /portcullis-request-id: (\w+)/i.exec(String(part))?.[1];
          // Recorded, and so free again.
          await gateway.event((line) => line.request_id === id);
          return statusOf(String(part));
        });
        const fields = `authorization: Bearer ${greedy}\r\ncontent-type: application/json\r\ncontent-length: ${size}`;
        socket.write(`POST /mcp HTTP/1.1\r\nhost: mcp.test\r\n${fields}\r\n\r\n${message('tools/list')}`);
        socket.write(Buffer.alloc(size - 1 - message('tools/list').length, ' '));
        return { answered, end: () => socket.write(' ') };
      };
      const begun = [await begin(), await begin(), await begin()];
      const first = await Promise.race(begun.map(async ({ answered }, at) => ({ at, status: await answered })));
      expect(first.status).toBe(503);
      const post = (token: string): Promise<Answer> =>
        gateway.call('/mcp', { method: 'POST', token, headers: JSON_TYPE, body: message('tools/list') });
      expect(outcome(await post(other))).toBe('ok');
      const rest = begun.filter((_, at) => at !== first.at);
      for (const { end } of rest) end();
      expect(await Promise.all(rest.map(({ answered }) => answered))).toEqual([200, 200]);
      expect(outcome(await post(greedy))).toBe('ok');
      const again = [await begin(), await begin()];
      for (const { end } of again) end();
      expect(await Promise.all(again.map(({ answered }) => answered))).toEqual([200, 200]);
    } finally {
      for (const socket of sockets) socket.destroy();
      await gateway.close();
      await upstream.close();
    }
  });

  it('are bounded together', async () => {
    const upstream = await TestUpstream.start();
    const gateway = await TestGateway.start({
      upstreams: { mcp: upstream.url },
      policies: { 'mcp.yaml': POLICY },
      config: { listen: '{ host: 127.0.0.1, port: 0, limits: { mcp_message_bytes: 100MiB } }' },
    });
    try {
      const { token } = await gateway.issue({ scopes: ['items:use'] });
      const post = (size: number): Promise<Answer> =>
        gateway.call('/mcp', {
          method: 'POST',
          token,
          headers: JSON_TYPE,
          body: Buffer.concat([Buffer.from(message('tools/list')), Buffer.alloc(size, ' ')]),
        });
      const refused = await post(33 * 1024 * 1024);
      expect([outcome(refused), refused.headers['retry-after']]).toEqual(['503 overloaded', '1']);
      expect(upstream.seen).toEqual([]);
      // Held bodies take their time, and the connection to the upstream waits.
      upstream.server.keepAliveTimeout = 60_000;
      // What one request held is free again for the next ones.
      expect(outcome(await post(20 * 1024 * 1024))).toBe('ok');
      expect(outcome(await post(20 * 1024 * 1024))).toBe('ok');
    } finally {
      await gateway.close();
      await upstream.close();
    }
  });
});
