import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Secret } from '../../src/base/secret.ts';
import { introspectedTokens } from '../../src/main/introspection.ts';
import { SecretFiles } from '../../src/main/secret-files.ts';
import { createLogger } from '../../src/metrics/log.ts';
import { TestUpstream } from '../support/upstream.ts';

describe('a server that cannot be asked', () => {
  let server: TestUpstream;
  let status = 200;
  beforeAll(async () => {
    server = await TestUpstream.start((_request, response) => response.writeHead(status).end('{"active":false}'));
  });
  afterAll(() => server.close());

  it('is complained about once in a while, with what is wrong and without a token, and once when it is back', async () => {
    const lines: string[] = [];
    let monotonic = 0;
    const log = createLogger({ level: 'info', destination: { write: (line) => void lines.push(line) } });
    const clock = { now: () => 0, monotonic: () => monotonic };
    const config = {
      endpoint: new URL(`${server.url}/introspect?key=in-the-query`),
      clientId: 'gateway',
      clientSecret: { value: new Secret('client-s3cret'), file: null },
      audiences: null,
      requireTokenType: false,
      cacheMs: 0,
      negativeCacheMs: 0,
      timeoutMs: 10_000,
    };
    const counted: string[] = [];
    const kinds = introspectedTokens(
      [
        { ...config, prefix: '' },
        { ...config, prefix: 'ext_' },
      ],
      {
        ownPrefix: 'pct',
        clock,
        metrics: { introspection: (name, result) => counted.push(`${name} ${result}`) },
        log,
        secrets: new SecretFiles(log),
      },
    );
    const [first] = kinds;
    // The one with a prefix is asked before the one that takes the rest.
    expect(first?.authenticate('other', 0)).toBe(null);
    const ask = async (answered: number): Promise<void> => {
      status = answered;
      await first?.authenticate('ext_t0ken', 0);
    };
    for (let i = 0; i < 5; i += 1) await ask(500);
    await ask(200);
    for (let i = 0; i < 5; i += 1) await ask(500);
    await ask(200);
    monotonic = 10_000;
    await ask(401);
    const said = lines.map((line) => {
      const { level, msg, why } = JSON.parse(line) as { level: string; msg: string; why?: string };
      return [level, msg, why];
    });
    expect(said).toEqual([
      ['error', 'an introspection server cannot be asked', 'answered 500'],
      ['info', 'an introspection server answers again', undefined],
      ['error', 'an introspection server refuses client_id and client_secret', 'answered 401'],
    ]);
    expect(lines.join()).not.toMatch(/t0ken|s3cret|in-the-query/);
    expect(new Set(counted)).toEqual(
      new Set(['failure', 'inactive', 'rejected'].map((result) => `${server.url}/introspect ${result}`)),
    );
  });
});
