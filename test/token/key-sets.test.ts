import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { JwsAlgorithm } from '../../src/base/jws-algorithm.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { AuthenticationOutcome } from '../../src/token/authenticator.ts';
import { FetchedKeySet, KEY_SET_TIMES, type KeySetTimes } from '../../src/token/key-sets.ts';
import { type KeySource, keysAt, keysByDiscovery, keysInFile } from '../../src/token/key-sources.ts';
import { createJwtTokens } from '../../src/token/verify-jwt.ts';
import { claimsOf, issuerOf, jwks, jwt, NOW, publicJwk, said, signingKey } from './jwt-fixture.ts';

const ALGORITHMS: readonly JwsAlgorithm[] = ['ES256', 'RS256'];
const [first, second, third] = ['first', 'second', 'third'].map((kid) => signingKey('ES256', kid)) as [
  ReturnType<typeof signingKey>,
  ReturnType<typeof signingKey>,
  ReturnType<typeof signingKey>,
];

const cleanUp: (() => void)[] = [];
afterEach(() => {
  for (const undo of cleanUp.splice(0).toReversed()) undo();
});

/** An issuer on this machine; what it answers can be changed at any time. */
class TestIssuer {
  asked: string[] = [];
  answer: RequestListener;
  readonly #server: Server;
  #onAsked: () => void = () => undefined;

  private constructor(server: Server, answer: RequestListener) {
    this.#server = server;
    this.answer = answer;
    server.on('request', (request, response) => {
      this.asked.push(request.url ?? '');
      this.#onAsked();
      this.answer(request, response);
    });
  }

  static async start(answer: string | RequestListener): Promise<TestIssuer> {
    const server = createServer();
    const issuer = new TestIssuer(server, typeof answer === 'string' ? text(answer) : answer);
    await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
    cleanUp.push(() => {
      server.closeAllConnections();
      server.close();
    });
    return issuer;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Resolves when it has been asked so often. */
  async askedTimes(times: number): Promise<void> {
    while (this.asked.length < times) await new Promise<void>((resolve) => (this.#onAsked = resolve));
  }
}

function text(body: string): RequestListener {
  return (_request, response) => response.end(body);
}

interface Observed {
  readonly clock: { now: number; monotonic(): number };
  readonly results: ('success' | 'failure')[];
  readonly errors: string[];
  /** Resolves with the next result. */
  next(): Promise<void>;
}

function observe(): Observed & { observer: ConstructorParameters<typeof FetchedKeySet>[3] } {
  const clock = {
    now: 0,
    monotonic: () => clock.now,
  };
  const results: ('success' | 'failure')[] = [];
  const errors: string[] = [];
  let told = Promise.withResolvers<void>();
  const tell = (result: 'success' | 'failure'): void => {
    results.push(result);
    const { resolve } = told;
    told = Promise.withResolvers();
    resolve();
  };
  return {
    clock,
    results,
    errors,
    next: () => told.promise,
    observer: {
      refreshed: () => tell('success'),
      failed: (error) => {
        errors.push(error instanceof Error ? error.message : String(error));
        tell('failure');
      },
    },
  };
}

/** Keys of a source, and tokens verified with them. */
function keysOf(source: KeySource, times: Partial<KeySetTimes> = {}) {
  const { observer, ...observed } = observe();
  const keys = new FetchedKeySet(source, ALGORITHMS, observed.clock, observer, { ...KEY_SET_TIMES, ...times });
  cleanUp.push(() => keys.close());
  const tokens = createJwtTokens([issuerOf([], { keys, algorithms: ALGORITHMS })]);
  const present = async (token: string): Promise<string> =>
    said((await tokens.authenticate(token, NOW)) as AuthenticationOutcome);
  return { keys, present, tokens, ...observed };
}

const UNKNOWN = 'token_untrusted: The key that it names (kid) is not among those of its issuer.';
const SILENT = "store_unavailable: The token's issuer cannot be asked for its keys at the moment. Try again soon.";

describe('keys that are fetched', () => {
  it('are waited for by the first tokens, which do not ask again', async () => {
    const issuer = await TestIssuer.start(jwks(first));
    const { keys, present, results } = keysOf(keysAt(new URL(issuer.url)));
    void keys.start();
    const answers = await Promise.all([jwt(first), jwt(first, claimsOf({ jti: '2' }))].map(present));
    expect([answers, issuer.asked.length, results]).toEqual([['ok', 'ok'], 1, ['success']]);
  });

  it('are fetched once more for thirty tokens with thirty unknown kids, at once or one after the other', async () => {
    const issuer = await TestIssuer.start(jwks(first));
    const { keys, present, clock } = keysOf(keysAt(new URL(issuer.url)));
    await keys.start();
    const strangers = Array.from({ length: 30 }, (_, i) => jwt(first, claimsOf(), { kid: `unknown-${i}` }));
    expect(new Set(await Promise.all(strangers.slice(0, 15).map(present)))).toEqual(new Set([UNKNOWN]));
    for (const stranger of strangers.slice(15)) expect(await present(stranger)).toBe(UNKNOWN);
    expect(issuer.asked.length).toBe(2);
    clock.now += 29_999;
    await present(strangers[0] ?? '');
    expect(issuer.asked.length).toBe(2);
    clock.now += 1;
    await present(strangers[0] ?? '');
    expect(issuer.asked.length).toBe(3);
  });

  it('are fetched at once when a token names a new one, and the old ones go on', async () => {
    const issuer = await TestIssuer.start(jwks(first));
    const { keys, present, tokens } = keysOf(keysAt(new URL(issuer.url)));
    await keys.start();
    const old = jwt(first);
    const remembered = await tokens.authenticate(old, NOW);
    issuer.answer = text(jwks(second, first));
    expect(await present(jwt(second))).toBe('ok');
    // The key is the same object, so what was verified with it stays known.
    expect(tokens.authenticate(old, NOW)).toBe(remembered);
    expect(issuer.asked.length).toBe(2);
  });

  it('are fetched again where a fetch was under way already that may have missed the new one', async () => {
    const held = Promise.withResolvers<void>();
    const issuer = await TestIssuer.start(
      (_request, response) => void held.promise.then(() => response.end(jwks(first))),
    );
    const { keys, present } = keysOf(keysAt(new URL(issuer.url)));
    void keys.start();
    await issuer.askedTimes(1);
    const answers = Promise.all([present(jwt(second)), present(jwt(second, claimsOf({ jti: '2' })))]);
    issuer.answer = text(jwks(second));
    held.resolve();
    expect(await answers).toEqual(['ok', 'ok']);
    expect(issuer.asked.length).toBe(2);
  });

  it('end with the set that withdraws them, also for tokens that are remembered', async () => {
    const issuer = await TestIssuer.start(jwks(first, second));
    const { keys, present, next } = keysOf({ ...keysAt(new URL(issuer.url)), everyMs: 20 });
    await keys.start();
    const token = jwt(first);
    expect(await present(token)).toBe('ok');
    issuer.answer = text(jwks(second));
    // The second answer is surely a newer one.
    await next();
    await next();
    expect(await present(token)).toBe(UNKNOWN);
    issuer.answer = text('{"keys":[]}');
    await next();
    await next();
    expect(await present(jwt(second))).toBe(UNKNOWN);
  });

  it('go on while the issuer is down, and no good token is called bad for it', async () => {
    const issuer = await TestIssuer.start(jwks(first));
    const { keys, present, results, clock } = keysOf(keysAt(new URL(issuer.url)));
    await keys.start();
    issuer.answer = (request) => request.socket.destroy();
    expect(await present(jwt(second))).toBe(SILENT);
    expect(await present(jwt(first))).toBe('ok');
    // Within the cool-down nobody asks again, and the answer is the same.
    expect(await present(jwt(third))).toBe(SILENT);
    expect([issuer.asked.length, results]).toEqual([2, ['success', 'failure']]);
    issuer.answer = text(jwks(first, second));
    clock.now += 30_000;
    expect(await present(jwt(second))).toBe('ok');
    expect(await present(jwt(third))).toBe(UNKNOWN);
    expect(results).toEqual(['success', 'failure', 'success']);
  });

  it('are tried for again and again while there are none, and until then no token is called bad', async () => {
    const issuer = await TestIssuer.start((request) => request.socket.destroy());
    const { keys, present, results, next } = keysOf(keysAt(new URL(issuer.url)), {
      firstRetryMs: 20,
      longestFirstRetryMs: 20,
    });
    await keys.start();
    expect(await present(jwt(first))).toBe(SILENT);
    await issuer.askedTimes(3);
    issuer.answer = text(jwks(first));
    while (results.at(-1) !== 'success') await next();
    expect(await present(jwt(first))).toBe('ok');
    expect(results.slice(0, 2)).toEqual(['failure', 'failure']);
  });

  it('of a token without a kid are fetched again too', async () => {
    const issuer = await TestIssuer.start(jwks(first));
    const { keys, present } = keysOf(keysAt(new URL(issuer.url)));
    await keys.start();
    issuer.answer = text(jwks(second));
    expect(await present(jwt(second, claimsOf(), { kid: undefined }))).toBe('ok');
    expect(await present(jwt(third, claimsOf(), { kid: undefined }))).toContain('None of the keys');
    expect(issuer.asked.length).toBe(2);
  });

  const many = { keys: Array.from({ length: 101 }, (_, i) => publicJwk(first, { kid: `k${i}` })) };
  it.each<[string, string | RequestListener, string]>([
    [
      'an answer that leads elsewhere',
      ({ url }, response) =>
        url === '/elsewhere'
          ? response.end(jwks(first, second))
          : response.writeHead(302, { location: '/elsewhere' }).end(),
      'fetch failed',
    ],
    ['an answer of 500', (_request, response) => response.writeHead(500).end(jwks(first)), 'answered 500'],
    ['what is no JSON', '<html>', 'the answer is no JWK Set: not JSON'],
    ['a set with a member twice', '{"keys":[],"keys":[]}', 'the answer is no JWK Set: a member stands twice'],
    ['more than 100 keys', JSON.stringify(many), 'the answer holds more than 100 keys'],
    ['more than 256 KiB', `${' '.repeat(256 * 1024)}${jwks(first)}`, 'answered with more than 256 KiB'],
    [
      'an endless answer',
      (_request, response) => {
        const write = (): void =>
          void (response.write('x'.repeat(65_536)) ? setImmediate(write) : response.once('drain', write));
        write();
      },
      'answered with more than 256 KiB',
    ],
    ['no answer in time', () => undefined, 'no answer within 200 ms'],
    ['an answer that never ends', (_request, response) => void response.write('{'), 'no answer within 200 ms'],
  ])('stay as they are with %s', async (_name, answer, error) => {
    const issuer = await TestIssuer.start(jwks(first));
    const { keys, present, errors } = keysOf(keysAt(new URL(issuer.url)), { timeoutMs: 200 });
    await keys.start();
    expect(errors).toEqual([]);
    issuer.answer = typeof answer === 'string' ? text(answer) : answer;
    expect(await present(jwt(second))).toBe(SILENT);
    expect(errors).toEqual([error]);
    expect(await present(jwt(first))).toBe('ok');
  });

  it('that nobody can close in on are given up with the gateway', async () => {
    const issuer = await TestIssuer.start(() => undefined);
    const { keys, results } = keysOf(keysAt(new URL(issuer.url)));
    const started = keys.start();
    await issuer.askedTimes(1);
    keys.close();
    await started;
    expect(results).toEqual([]);
  });
});

describe('keys by discovery', () => {
  const metadata = (issuer: string, jwksUri: string): string => JSON.stringify({ issuer, jwks_uri: jwksUri });

  function serve(paths: Readonly<Record<string, string>>): RequestListener {
    return (request, response) => {
      const body = paths[request.url ?? ''];
      if (body === undefined) response.writeHead(404).end();
      else response.end(body);
    };
  }

  it.each([
    ['OpenID Connect', '/tenant/.well-known/openid-configuration'],
    ['RFC 8414', '/.well-known/oauth-authorization-server/tenant'],
  ])('are where the metadata says (%s)', async (_name, place) => {
    const server = await TestIssuer.start('');
    const name = `${server.url}/tenant`;
    server.answer = serve({ [place]: metadata(name, `${server.url}/keys`), '/keys': jwks(first) });
    const { keys, present } = keysOf(keysByDiscovery(name, null));
    await keys.start();
    expect(await present(jwt(first))).toBe('ok');
  });

  it.each<[string, (url: string) => string, string]>([
    [
      'speaks for another issuer',
      (url) => metadata(`${url}/`, `${url}/keys`),
      'the discovery document is of another issuer',
    ],
    [
      'leads to http elsewhere',
      (url) => metadata(url, 'http://192.0.2.1/keys'),
      'the jwks_uri of the discovery document is not https',
    ],
    [
      'leads to a file',
      (url) => metadata(url, 'file:///etc/passwd'),
      'the jwks_uri of the discovery document is not https',
    ],
    ['leads nowhere', (url) => JSON.stringify({ issuer: url }), 'the discovery document has no usable jwks_uri'],
    ['names its issuer twice', (url) => `{"issuer":"x","issuer":"${url}"}`, 'the discovery document is no JSON object'],
  ])('are not had from metadata that %s', async (_name, document, error) => {
    const server = await TestIssuer.start('');
    server.answer = serve({ '/metadata': document(server.url), '/keys': jwks(first) });
    const { keys, errors } = keysOf(keysByDiscovery(server.url, new URL(`${server.url}/metadata`)));
    await keys.start();
    expect([errors, server.asked]).toEqual([[error], ['/metadata']]);
  });
});

describe('the newest keys', () => {
  it('are fetched for known callers past the cool-down, once for all who wait, and again for whoever comes later', async () => {
    const issuer = await TestIssuer.start(jwks(first));
    const { keys, present } = keysOf(keysAt(new URL(issuer.url)), { insistMs: 0 });
    await keys.start();
    const late = jwt(second);
    expect(await present(late)).toBe(UNKNOWN);
    issuer.answer = text(jwks(first, second));
    expect([await present(late), issuer.asked.length]).toEqual([UNKNOWN, 2]);
    expect(await Promise.all(Array.from({ length: 50 }, () => keys.newest()))).toEqual(Array(50).fill(true));
    expect([await present(late), issuer.asked.length]).toEqual(['ok', 3]);
    const held = Promise.withResolvers<void>();
    issuer.answer = (_request, response) => void held.promise.then(() => response.end(jwks(first)));
    const early = keys.newest();
    await issuer.askedTimes(4);
    // The answer that is on its way may be older than what this one knows.
    const later = keys.newest();
    held.resolve();
    expect([await early, await later, issuer.asked.length]).toEqual([true, true, 5]);
  });

  it('are fetched a second apart', async () => {
    const issuer = await TestIssuer.start(jwks(first));
    const { keys } = keysOf(keysAt(new URL(issuer.url)), { insistMs: 200 });
    await keys.start();
    await keys.newest();
    const began = performance.now();
    await Promise.all([keys.newest(), keys.newest()]);
    expect(performance.now() - began).toBeGreaterThan(190);
    expect([issuer.asked.length, KEY_SET_TIMES.insistMs]).toEqual([3, 1_000]);
  });

  it('are not said to be had from an issuer that fails, or after the end', async () => {
    const issuer = await TestIssuer.start(jwks(first));
    const { keys } = keysOf(keysAt(new URL(issuer.url)), { insistMs: 0 });
    await keys.start();
    issuer.answer = (_request, response) => response.writeHead(500).end();
    expect([await keys.newest(), await keys.newest()]).toEqual([false, false]);
    issuer.answer = text(jwks(first));
    expect(await keys.newest()).toBe(true);
    keys.close();
    expect([await keys.newest(), issuer.asked.length]).toEqual([false, 4]);
  });
});

describe('keys in a file', () => {
  it('are read again when it changes, and stay when it is broken or gone', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-keys-'));
    cleanUp.push(() => rmSync(folder, { recursive: true }));
    const file = join(folder, 'jwks.json');
    const write = (body: string): void => {
      writeFileSync(`${file}.new`, body);
      renameSync(`${file}.new`, file);
    };
    write(jwks(first));
    const { keys, present, next, errors, results } = keysOf(
      { ...keysInFile(file), everyMs: 10 },
      { retryMs: 10, coolDownMs: 0 },
    );
    await keys.start();
    expect(await present(jwt(first))).toBe('ok');
    let told = next();
    write(jwks(first, second));
    await told;
    expect(await present(jwt(second))).toBe('ok');
    told = next();
    write('{"keys":');
    await told;
    expect([await present(jwt(first)), await present(jwt(third))]).toEqual(['ok', SILENT]);
    expect(errors).toEqual(['the answer is no JWK Set: not JSON']);
    told = next();
    rmSync(file);
    await told;
    expect([await present(jwt(first)), await present(jwt(third))]).toEqual(['ok', SILENT]);
    write(jwks(third));
    await expect.poll(() => present(jwt(third)), { interval: 10 }).toBe('ok');
    expect(await present(jwt(first))).toBe(UNKNOWN);
    expect(results.filter((result) => result === 'success').length).toBe(3);
  });
});

describe('what is remembered', () => {
  it('is bounded', async () => {
    const { VerifiedJwts } = await import('../../src/token/verified-jwts.ts');
    const verified = new VerifiedJwts(100, 1_000);
    const entry = { bytes: 1 } as Parameters<typeof verified.set>[1];
    for (let i = 0; i < 1_000; i += 1) {
      verified.set(`t${i}`, entry);
      // Used all along, so never forgotten.
      if (i % 20 === 0) verified.set('used', verified.get('used') ?? entry);
      expect(verified.size).toBeLessThanOrEqual(100);
    }
    expect([verified.get('t999'), verified.get('used'), verified.get('t0')]).toEqual([entry, entry, undefined]);
    const large = new VerifiedJwts(100, 1_000);
    for (let i = 0; i < 100; i += 1) large.set(`t${i}`, { ...entry, bytes: 100 });
    expect(large.size).toBeLessThanOrEqual(10);
    expect(LIMITS.verifiedJwtBytes).toBeLessThanOrEqual(16 * 1024 * 1024);
  });
});
