import type { ServerResponse } from 'node:http';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import type { AuthenticationOutcome } from '../../src/token/authenticator.ts';
import { IntrospectedTokens, type IntrospectionOptions } from '../../src/token/introspection.ts';
import { TestUpstream } from '../support/upstream.ts';

const NOW = Date.parse('2030-01-01T00:00:00Z');
const SECONDS = NOW / 1000;

type Respond = (token: string, response: ServerResponse) => void;

const json = (response: ServerResponse, body: unknown, status = 200): void => {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
};

describe('tokens that a server is asked about', () => {
  let server: TestUpstream;
  let respond: Respond;
  let now = NOW;
  let monotonic = 0;
  let secret = 's3cret: +%/ü';
  const results: string[] = [];
  const asked: string[] = [];

  beforeAll(async () => {
    server = await TestUpstream.start((_request, response, body) => {
      const token = new URLSearchParams(body.toString()).get('token') ?? '';
      asked.push(token);
      respond(token, response);
    });
  });
  beforeEach(() => {
    respond = (_token, response) =>
      json(response, { active: true, scope: 'orders:read', sub: 'svc', exp: SECONDS + 3600 });
    now = NOW;
    monotonic = 0;
    results.length = 0;
    asked.length = 0;
  });
  afterAll(() => server.close());

  function kind(changes: Partial<IntrospectionOptions> = {}): IntrospectedTokens {
    return new IntrospectedTokens({
      prefix: 'ext_',
      ownPrefix: 'pct_',
      endpoint: new URL(`${server.url}/introspect?realm=a`),
      clientId: 'gate:way',
      clientSecret: { reveal: () => secret },
      audiences: null,
      requireTokenType: false,
      cacheMs: 30_000,
      negativeCacheMs: 10_000,
      timeoutMs: 10_000,
      clock: { now: () => now, monotonic: () => monotonic },
      observe: (result, why) => results.push(why === null ? result : `${result}: ${why}`),
      ...changes,
    });
  }

  it('are identified for whoever wants one revoked, by a fresh answer, also before their time', async () => {
    const tokens = kind();
    respond = (_token, response) => json(response, { active: false });
    expect(await said(tokens.authenticate('ext_abc', now))).toBe('token_unknown');
    respond = (_token, response) =>
      json(response, { active: true, jti: 'id-1', scope: 'orders:read', nbf: SECONDS + 600 });
    for (const name of ['ext_abc', 'ext_def']) {
      expect(await tokens.identify(name, now)).toMatchObject({
        ok: true,
        principal: { tokenId: expect.stringMatching(/^ext:/), scopes: [], foreign: { jti: 'id-1' } },
      });
    }
    expect(await said(tokens.authenticate('ext_def', now))).toBe('token_not_yet_valid');
    expect(await said(tokens.identify('ext_def', now))).toBe('ok');
    expect(asked).toEqual(['ext_abc', 'ext_abc', 'ext_def']);
    respond = (_token, response) => json(response, {}, 500);
    expect(await said(tokens.identify('ext_ghi', now))).toBe('store_unavailable');
    expect(await said(tokens.identify('other', now))).toBe('not mine');
  });

  const said = async (outcome: ReturnType<IntrospectedTokens['authenticate']>): Promise<string> => {
    const settled = await outcome;
    return settled === null ? 'not mine' : settled.ok ? 'ok' : settled.reason;
  };

  it('become principals', async () => {
    respond = (_token, response) =>
      json(response, {
        active: true,
        scope: 'orders:read orders:write',
        roles: ['support'],
        sub: 'svc',
        iss: 'https://idp',
        jti: 'id-1',
        iat: SECONDS - 60,
        exp: SECONDS + 60,
        tenant: 't1',
      });
    const outcome = (await kind().authenticate('ext_abc', now)) as AuthenticationOutcome;
    expect(outcome).toEqual({
      ok: true,
      generation: 0,
      principal: {
        tokenType: 'introspected',
        tokenId: expect.stringMatching(/^ext:[A-Za-z0-9_-]{22}$/),
        subject: 'svc',
        owner: null,
        class: null,
        scopes: ['orders:read', 'orders:write'],
        roles: ['support'],
        claims: { iss: 'https://idp', roles: ['support'], tenant: 't1' },
        ip: [],
        issuedAt: NOW - 60_000,
        expiresAt: NOW + 60_000,
        supersededUntil: null,
        foreign: { issuer: 'https://idp', jti: 'id-1', subject: 'svc', issuedAt: NOW - 60_000 },
        confirmation: null,
      },
    });
  });

  it('are sent with the gateway’s own credentials, form-encoded before they are joined (RFC 6749 §2.3.1)', async () => {
    await kind().authenticate('ext_a+b/c=', now);
    const [request] = server.seen.slice(-1);
    expect([request?.method, request?.url, request?.headers['accept']]).toEqual([
      'POST',
      '/introspect?realm=a',
      'application/json',
    ]);
    expect(Object.fromEntries(new URLSearchParams(request?.body.toString()))).toEqual({
      token: 'ext_a+b/c=',
      token_type_hint: 'access_token',
    });
    const basic = Buffer.from(String(request?.headers.authorization).replace('Basic ', ''), 'base64').toString();
    expect(basic).toBe('gate%3Away:s3cret%3A+%2B%25%2F%C3%BC');
    secret = 'next';
    await kind().authenticate('ext_b', now);
    expect(Buffer.from(String(server.seen.at(-1)?.headers.authorization).slice(6), 'base64').toString()).toBe(
      'gate%3Away:next',
    );
  });

  it('are told from others by their beginning alone; those of this installation are never sent anywhere', async () => {
    expect(kind().authenticate('abc', now)).toBe(null);
    expect(kind().authenticate('EXT_abc', now)).toBe(null);
    const rest = kind({ prefix: '' });
    expect(rest.authenticate('pct_test_whatever it is', now)).toBe(null);
    expect(rest.authenticate('eyJhbGciOiJub25lIn0.e30.', now)).toBe(null);
    expect(await said(rest.authenticate('anything-else', now))).toBe('ok');
    for (const text of ['ext_a b', 'ext_a\r\nx', 'ext_ä', 'ext_a&b', 'ext_=a', 'ext_"']) {
      expect([text, await said(kind().authenticate(text, now))]).toEqual([text, 'token_malformed']);
    }
    expect(asked).toEqual(['anything-else']);
  });

  it('are remembered, at once and as the same principal, for as long as the configuration says, from when they were sent', async () => {
    const tokens = kind();
    respond = (_token, response) => {
      monotonic = 5_000;
      json(response, { active: true, exp: SECONDS + 3600 });
    };
    const first = await tokens.authenticate('ext_a', now);
    monotonic = 29_999;
    const second = tokens.authenticate('ext_a', now);
    expect(second).not.toBeInstanceOf(Promise);
    expect(second).toBe(first);
    expect(asked.length).toBe(1);
    monotonic = 30_000;
    respond = (_token, response) => json(response, { active: false });
    expect(await said(tokens.authenticate('ext_a', now))).toBe('token_unknown');
    monotonic = 39_999;
    expect(await said(tokens.authenticate('ext_a', now))).toBe('token_unknown');
    expect(asked.length).toBe(2);
    monotonic = 40_000;
    await tokens.authenticate('ext_a', now);
    expect([asked.length, results]).toEqual([3, ['active', 'inactive', 'inactive']]);
  });

  it('are not remembered at all where the cache is off', async () => {
    const tokens = kind({ cacheMs: 0, negativeCacheMs: 0 });
    for (const _ of [1, 2]) expect(await said(tokens.authenticate('ext_a', now))).toBe('ok');
    expect(asked.length).toBe(2);
  });

  it('end with their exp, also in memory; begin with their nbf', async () => {
    const tokens = kind();
    await tokens.authenticate('ext_a', now);
    now = NOW + 3_600_000;
    const over = await tokens.authenticate('ext_a', now);
    expect(over).toEqual({
      ok: false,
      reason: 'token_expired',
      tokenId: expect.stringMatching(/^ext:/),
      generation: 0,
    });
    now = NOW;
    respond = (_token, response) => json(response, { active: true, exp: SECONDS });
    expect(await said(tokens.authenticate('ext_b', now))).toBe('token_expired');
    respond = (_token, response) => json(response, { active: true, nbf: SECONDS + 61 });
    expect(await said(tokens.authenticate('ext_c', now))).toBe('token_not_yet_valid');
    respond = (_token, response) => json(response, { active: true, iat: SECONDS + 61 });
    expect(await said(tokens.authenticate('ext_future', now))).toBe('token_not_yet_valid');
    now = NOW + 1_000;
    expect(await said(tokens.authenticate('ext_c', now))).toBe('ok');
  });

  it('without an end of their own have the latest, and without a beginning the oldest', async () => {
    respond = (_token, response) => json(response, { active: true });
    expect(await kind().authenticate('ext_a', now)).toMatchObject({
      principal: {
        expiresAt: Date.parse('9999-12-31T23:59:59Z'),
        issuedAt: 0,
        foreign: { issuedAt: null, issuer: null },
      },
    });
  });

  it('have an id that neither leads back to them nor changes', async () => {
    const ids = await Promise.all(
      ['ext_a', 'ext_a', 'ext_b'].map(async (token) => {
        const outcome = await kind().authenticate(token, now);
        return outcome?.ok === true ? outcome.principal.tokenId : '';
      }),
    );
    expect(ids[0]).toBe(ids[1]);
    expect(ids[0]).not.toBe(ids[2]);
  });

  it('are asked about once at a time, however many requests wait', async () => {
    const held: ServerResponse[] = [];
    respond = (_token, response) => held.push(response);
    const tokens = kind();
    const waiting = Array.from({ length: 50 }, () => tokens.authenticate('ext_a', now));
    const other = tokens.authenticate('ext_b', now);
    await expect.poll(() => held.length, { timeout: 20_000 }).toBe(2);
    for (const response of held) json(response, { active: true });
    const outcomes = await Promise.all([...waiting, other]);
    expect(new Set(outcomes.slice(0, 50)).size).toBe(1);
    expect(asked.toSorted()).toEqual(['ext_a', 'ext_b']);
  });

  /*
   * A client that makes up tokens could otherwise have as many connections opened as it sends requests, and push the answers
   * about good tokens out of memory.
   */
  it('of a flood wait in a bounded number, and displace no good one', { timeout: 60_000 }, async () => {
    const tokens = kind();
    await tokens.authenticate('ext_good', now);
    const held: ServerResponse[] = [];
    respond = (_token, response) => held.push(response);
    const flood = Array.from({ length: 150 }, (_, index) => tokens.authenticate(`ext_${index}`, now));
    await expect.poll(() => held.length, { timeout: 20_000 }).toBe(LIMITS.introspectionsInFlight);
    const refused = flood.filter((outcome) => !(outcome instanceof Promise));
    expect(refused.length).toBe(50);
    expect(refused[0]).toMatchObject({
      ok: false,
      reason: 'store_unavailable',
      detail: expect.stringContaining('Too many'),
    });
    expect(await said(tokens.authenticate('ext_good', now))).toBe('ok');
    for (const response of held) json(response, { active: false });
    await Promise.all(flood);
    expect(await said(tokens.authenticate('ext_good', now))).toBe('ok');
    expect(results.filter((result) => result === 'overloaded').length).toBe(50);
    respond = (_token, response) => json(response, { active: false });
    expect(await said(tokens.authenticate('ext_new', now))).toBe('token_unknown');
  });

  const failures: [string, Respond, string][] = [
    ['500', (_t, response) => json(response, { active: true }, 500), 'failure: answered 500'],
    ['404', (_t, response) => json(response, { active: true }, 404), 'failure: answered 404'],
    ['201', (_t, response) => json(response, { active: true }, 201), 'failure: answered 201'],
    [
      'its own credentials refused',
      (_t, response) => json(response, { error: 'invalid_client' }, 401),
      'rejected: answered 401',
    ],
    ['forbidden', (_t, response) => json(response, {}, 403), 'rejected: answered 403'],
    ['garbage', (_t, response) => response.end('<html>'), 'failure: the JSON of the answer: not JSON'],
    ['a yes that is none', (_t, response) => json(response, { active: 'true' }), 'failure: active is not a boolean'],
    [
      'not UTF-8',
      (_t, response) => response.end(Buffer.from([0x7b, 0xff])),
      'failure: the JSON of the answer: not JSON',
    ],
    [
      'an answer without end',
      (_t, response) => {
        response.write('{"active":true,"x":"');
        const more = setInterval(() => response.write('x'.repeat(32 * 1024)), 5);
        response.on('close', () => clearInterval(more));
      },
      'failure: the answer is too large',
    ],
    [
      'a redirect, which would carry token and secret elsewhere',
      (_t, response) => response.writeHead(307, { location: '/elsewhere' }).end(),
      'failure: unexpected redirect',
    ],
    ['a connection that breaks', (_t, response) => response.destroy(), 'failure: UND_ERR_SOCKET'],
  ];
  it.each(failures)(
    'are neither let in nor called bad when there is no usable answer: %s',
    async (_what, broken, result) => {
      respond = broken;
      const tokens = kind();
      const outcome = await tokens.authenticate('ext_a', now);
      expect(outcome).toEqual({
        ok: false,
        reason: 'store_unavailable',
        tokenId: null,
        generation: null,
        detail: "The token's server cannot be asked about it at the moment. Try again soon.",
      });
      // A connection that breaks may only have been kept open for too long: then it is asked once more, and no oftener.
      expect([results, new Set(asked), asked.length <= 2]).toEqual([[result], new Set(['ext_a']), true]);
      // It is asked again at once when somebody asks again: a failure is not remembered.
      respond = (_token, response) => json(response, { active: true });
      expect(await said(tokens.authenticate('ext_a', now))).toBe('ok');
    },
  );

  it('do not wait longer than the time-out, also in the middle of an answer', async () => {
    const closed: Promise<unknown>[] = [];
    const tokens = kind({ timeoutMs: 100 });
    for (const partial of ['', '{"active":']) {
      respond = (_token, response) => {
        closed.push(new Promise((resolve) => response.on('close', resolve)));
        if (partial !== '') response.write(partial);
      };
      expect(await said(tokens.authenticate('ext_a', now))).toBe('store_unavailable');
    }
    expect(results).toEqual(['failure: did not answer in time', 'failure: did not answer in time']);
    await Promise.all(closed);
  });

  it('keep what was said of them while the server is down, and no longer', async () => {
    const port = await TestUpstream.start();
    const gone = new URL(port.url);
    await port.close();
    const tokens = kind();
    await tokens.authenticate('ext_a', now);
    expect(await said(kind({ endpoint: gone }).authenticate('ext_a', now))).toBe('store_unavailable');
    expect(results.at(-1)).toBe('failure: ECONNREFUSED');
    respond = (_token, response) => response.destroy();
    monotonic = 29_999;
    expect(await said(tokens.authenticate('ext_a', now))).toBe('ok');
    monotonic = 30_000;
    expect(await said(tokens.authenticate('ext_a', now))).toBe('store_unavailable');
  });

  it('never show in what operators are told', async () => {
    respond = (token, response) => json(response, { error: token, sub: secret }, 500);
    await kind().authenticate('ext_very-secret', now);
    respond = (token, response) => response.end(`{"active": ${token}`);
    await kind().authenticate('ext_very-secret', now);
    expect(results.join()).not.toMatch(/very-secret|s3cret|next/);
  });

  it('that may not be used here are refused, and remembered as that', async () => {
    respond = (_token, response) => json(response, { active: true, aud: 'elsewhere' });
    const tokens = kind({ audiences: ['here'] });
    for (const _ of [1, 2]) {
      expect(await tokens.authenticate('ext_a', now)).toMatchObject({
        reason: 'token_untrusted',
        detail: 'The token is not trusted here. It is for another audience (aud).',
      });
    }
    expect(asked.length).toBe(1);
  });
});
