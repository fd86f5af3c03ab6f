import { describe, expect, it } from 'vitest';
import { Secret } from '../../src/base/secret.ts';
import { createLogger, type Logger, type LogLevel } from '../../src/metrics/log.ts';

const ID = 'A1b2C3d4E5f6';
const SECRET = `${'z8'.repeat(21)}Q`;
const TOKEN = `pct_prod_${ID}${SECRET}Ab12Cd`;
const JWT = 'eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJlc2lnbmF0dXJl';

function logger(level: LogLevel = 'debug'): { log: Logger; lines: string[] } {
  const lines: string[] = [];
  return { log: createLogger({ level, destination: { write: (line) => lines.push(line) } }), lines };
}

describe('the log', () => {
  it('writes one JSON object a line, with time, level, fields and message', () => {
    const { log, lines } = logger();
    log.warn({ file: 'a.yaml', count: 3, nothing: null }, 'policies rejected');
    expect(lines).toHaveLength(1);
    expect(lines[0]?.endsWith('}\n')).toBe(true);
    expect(JSON.parse(lines[0] ?? '')).toEqual({
      level: 'warn',
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      pid: process.pid,
      file: 'a.yaml',
      count: 3,
      nothing: null,
      msg: 'policies rejected',
    });
  });

  it('says no more than its level', () => {
    const { log, lines } = logger('warn');
    log.debug({}, 'd');
    log.info({}, 'i');
    log.warn({}, 'w');
    log.error({}, 'e');
    expect(lines.map((line) => JSON.parse(line).msg)).toEqual(['w', 'e']);
    const silent = logger('silent');
    silent.log.error({}, 'e');
    expect(silent.lines).toEqual([]);
  });

  it('takes a message as it is', () => {
    const { log, lines } = logger();
    log.info({}, '100 %s %d %j %');
    expect(JSON.parse(lines[0] ?? '').msg).toBe('100 %s %d %j %');
  });

  const error = new Error(`refused ${TOKEN}`, { cause: new AggregateError([new Error(JWT)], `again ${TOKEN}`) });
  const cycle: Record<string, unknown> = { token: TOKEN };
  cycle['self'] = cycle;

  it.each<[string, Record<string, unknown>, string]>([
    ['a message', {}, `no ${TOKEN}`],
    ['a field', { path: `/x/${TOKEN}` }, ''],
    [
      'a field of a telling name',
      { authorization: `Bearer ${SECRET}`, token: SECRET, 'x-api-key': SECRET, client_secret: SECRET },
      '',
    ],
    ['headers', { headers: { Authorization: `Basic ${SECRET}`, Cookie: SECRET } }, ''],
    ['raw headers', { rawHeaders: ['Host', 'a', 'Authorization', SECRET, 'X-Api-Key', SECRET] }, ''],
    ['nested objects and arrays', { a: [{ b: { c: [TOKEN, [JWT]] } }] }, ''],
    ['the name of a field', { [TOKEN]: 1 }, ''],
    ['an error, its stack, cause and errors', { err: error }, ''],
    ['an error in a list', { errors: [error] }, ''],
    ['maps and sets', { map: new Map([['password', SECRET]]), set: new Set([TOKEN]) }, ''],
    ['bytes', { raw: Buffer.from(TOKEN), list: new Uint8Array(Buffer.from(SECRET)) }, ''],
    ['URLs', { url: new URL(`redis://user:${SECRET}@host:6379/0`), text: `redis://:${SECRET}@host` }, ''],
    ['a secret that refuses to be printed', { pepper: new Secret(SECRET), other: new Secret(SECRET) }, ''],
    ['what toJSON gives', { value: { toJSON: () => ({ password: SECRET, note: TOKEN }) } }, ''],
    ['a cycle', { cycle }, ''],
    ['a quoted header', { line: `Authorization: Bearer ${SECRET}` }, ''],
  ])('lets no secret out in %s', (_name, fields, message) => {
    const { log, lines } = logger();
    log.error(fields, message);
    expect(lines).toHaveLength(1);
    expect(() => JSON.parse(lines[0] ?? '')).not.toThrow();
    expect(lines[0]).not.toContain(SECRET.slice(0, 12));
    expect(lines[0]).not.toContain('c2lnbmF0dXJl');
    expect(lines[0]).not.toContain('122, 56');
  });

  it('keeps what is public: the id of a token, and what an error says', () => {
    const { log, lines } = logger();
    log.error({ err: error, token_id: ID }, 'failed');
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({
      token_id: ID,
      err: {
        type: 'Error',
        message: `refused pct_prod_${ID}…`,
        stack: expect.stringContaining('log.test.ts'),
        cause: { type: 'AggregateError', errors: [{ message: '[jwt]' }] },
      },
    });
  });

  it('survives whatever it is given', () => {
    const { log, lines } = logger();
    const hostile = {
      get trap(): never {
        throw new Error('trap');
      },
    };
    let deep: unknown = 'end';
    for (let i = 0; i < 10_000; i += 1) deep = { deep };
    const wide = Object.fromEntries(Array.from({ length: 10_000 }, (_, i) => [`k${i}`, i]));
    log.info({ hostile, deep, wide, big: 1n, symbol: Symbol('s'), f: () => 1, date: new Date(Number.NaN) }, 'x');
    log.info(
      {
        long: 'x'.repeat(1_000_000),
        json: {
          toJSON: () => {
            throw new Error('no');
          },
        },
      },
      'y',
    );
    log.info(hostile, 'z');
    expect(lines.map((line) => JSON.parse(line).msg)).toEqual(['x', 'y', 'z']);
    for (const line of lines) expect(line.length).toBeLessThan(20_000);
  });
});
