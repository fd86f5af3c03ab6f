import { execFile } from 'node:child_process';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { ANSWER } from '../../bench/answer.ts';
import { DECISION_CASES, decisionMicroseconds } from '../../bench/decision-loop.ts';
import { helpText, MEASURES, parseOptions } from '../../bench/options.ts';
import { type Circumstances, count, duration, leftOut, markdownReport, row } from '../../bench/report.ts';
import { median, quantile, spread } from '../../bench/statistics.ts';
import { parseWrk, type Run, summarise } from '../../bench/wrk.ts';

const PROGRAM = resolve(import.meta.dirname, '../../bench/main.ts');

describe('the command line of the bench', () => {
  it('prints its help, with every measure and an example', async () => {
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [PROGRAM, '--help']);
    expect({ stdout, stderr }).toEqual({ stdout: helpText(), stderr: '' });
    for (const name of Object.keys(MEASURES)) expect(stdout).toContain(`\n  ${name} `);
    expect(stdout).toContain('npm run bench -- --out bench.md');
  });

  it('runs everything, three rounds', () => {
    const whole = { rounds: 3, seconds: 3, quick: false, json: false, out: null, help: false };
    expect(parseOptions([])).toEqual({ ok: true, value: { ...whole, only: Object.keys(MEASURES) } });
  });

  it('takes some measures, in the order of the table', () => {
    const given = parseOptions(['--quick', '--only', 'scale,decision', '--out', 'x.md', '--json']);
    expect(given).toEqual({
      ok: true,
      value: {
        only: ['decision', 'scale'],
        rounds: 1,
        seconds: 1,
        quick: true,
        json: true,
        out: 'x.md',
        help: false,
      },
    });
  });

  it('tells everything that is wrong, with the nearest valid name, and exits with 2', async () => {
    const failed = await promisify(execFile)(process.execPath, [PROGRAM, '--only', 'througput', '--rounds', '0']).catch(
      (error: unknown) => error,
    );
    expect(failed).toMatchObject({ code: 2, stdout: '' });
    const { stderr } = failed as { stderr: string };
    expect(stderr).toContain('--rounds: expected a number from 1 to 50, got "0"');
    expect(stderr).toContain('there is no measure "througput"; did you mean throughput?');
  });
});

describe('the report', () => {
  const quiet: Circumstances = {
    cores: 2,
    cpu: 'a processor',
    node: '26.0.0',
    loadBefore: 0.1,
    seconds: 61.4,
    rounds: 3,
    quick: false,
  };

  it('is one Markdown table under what it was measured with', () => {
    const rows = [
      row({
        measure: 'GET',
        subject: 'portcullis',
        figure: '12,300 requests/s',
        spread: 0.034,
        cpuSeconds: 3.456,
        p50: 850,
        p99: 2_345,
        compared: '0.5 × nginx | lua',
        aim: '≥ 0.45',
        reached: true,
      }),
      row({ measure: 'GET', subject: 'slow', figure: '1 request/s', aim: '≥ 2', reached: false }),
      row({ measure: 'GET', subject: 'wrong', figure: '9', aim: '≥ 2', reached: true, invalid: '3 were\nrefused' }),
      leftOut('GET', 'caddy', 'apt-get install caddy'),
    ];
    expect(markdownReport(quiet, rows)).toBe(
      `2 cores (a processor), Node.js 26.0.0, 3 rounds, 61 s in all. The machine was otherwise idle.

| measure | subject | figure | spread | CPU s / 100k | p50 | p99 | compared | aim | reached |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
| GET | portcullis | 12,300 requests/s | ± 3 % | 3.46 | 850 µs | 2.35 ms | 0.5 × nginx \\| lua | ≥ 0.45 | yes |
| GET | slow | 1 request/s |  |  |  |  |  | ≥ 2 | **no** |
| GET | wrong | 9 |  |  |  |  |  | ≥ 2 | invalid: 3 were refused |
| GET | caddy | left out: apt-get install caddy |  |  |  |  |  |  |  |
`,
    );
  });

  it('says when others were using the machine', () => {
    expect(markdownReport({ ...quiet, loadBefore: 3 }, [])).toContain('**Others were using the machine (load 3.0');
  });

  it('writes times and numbers for people', () => {
    expect([850, 1_250, 2_000_000, Number.NaN].map(duration)).toEqual(['850 µs', '1.25 ms', '2.0 s', '–']);
    expect([12_300.4, Number.POSITIVE_INFINITY].map(count)).toEqual(['12,300', '–']);
  });
});

const WRK = `Running 3s test @ http://127.0.0.1:1/items
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.51ms  839.70us  21.24ms   93.19%
    Req/Sec    43.51k     3.14k   46.81k    90.00%
  Latency Distribution
     50%  980.00us
     75%    1.62ms
     90%    1.91ms
     99%    1.20s 
  129982 requests in 3.00s, 38.55MB read
`;
const WRK_END = `Requests/sec:  43323.88
Transfer/sec:     12.85MB
`;

describe('a result of wrk', () => {
  it('is read', () => {
    expect(parseWrk(WRK + WRK_END)).toEqual({
      requests: 129_982,
      perSecond: 43_323.88,
      p50: 980,
      p99: 1_200_000,
      refused: 0,
      errors: 0,
    });
  });

  it('tells what was refused or failed', () => {
    const bad = '  Socket errors: connect 1, read 2, write 0, timeout 3\n  Non-2xx or 3xx responses: 7\n';
    expect(parseWrk(WRK + bad + WRK_END)).toMatchObject({ refused: 7, errors: 6 });
  });

  it('is not taken from anything else', () => {
    expect(() => parseWrk('unable to connect')).toThrow('this is not a result of wrk');
  });

  it('is invalid when anything was refused, or, where refusals are measured, let in', () => {
    const run: Run = { ...parseWrk(WRK + WRK_END), requests: 1_000, cpuSeconds: 0.05 };
    expect(summarise([run])).toMatchObject({ cpuSeconds: 5, invalid: null, spread: null });
    expect(summarise([run, { ...run, refused: 2 }]).invalid).toBe('2 requests were not answered 2xx');
    expect(summarise([{ ...run, errors: 1 }]).invalid).toBe('1 connections failed');
    expect(summarise([{ ...run, requests: 0 }]).invalid).toBe('nothing was answered');
    expect(summarise([{ ...run, refused: 1_000 }], true).invalid).toBeNull();
    expect(summarise([{ ...run, refused: 999 }], true).invalid).toBe('1 requests were let in');
  });
});

describe('the statistics', () => {
  it('take the middle, the spread and ranks', () => {
    expect([median([3, 1, 2]), median([4, 1, 2, 3]), median([])]).toEqual([2, 2.5, Number.NaN]);
    expect([spread([90, 100, 110]), spread([5])]).toEqual([0.1, null]);
    const hundred = Array.from({ length: 100 }, (_, i) => i + 1);
    expect([0.5, 0.99, 1].map((q) => quantile(hundred, q))).toEqual([50, 99, 100]);
  });
});

describe('the decision alone', () => {
  /** The goal is 3 µs. This only notices what grows out of all proportion, such as a walk over all rules. */
  const FAR_TOO_LONG_US = 150;

  it.each(DECISION_CASES)('takes no time that grows with the rules: $name', (each) => {
    expect(decisionMicroseconds(each, 1_000)).toBeLessThan(FAR_TOO_LONG_US);
  });
});

it('the small answer is one of 150 bytes', () => {
  expect(Buffer.byteLength(ANSWER)).toBe(150);
});
