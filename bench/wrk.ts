import type { Bench } from './bench.ts';
import { LOAD_CORE } from './bench.ts';
import type { Started } from './processes.ts';
import { median, spread } from './statistics.ts';

/** One run of wrk. */
export interface WrkResult {
  readonly requests: number;
  readonly perSecond: number;
  /** Microseconds. */
  readonly p50: number;
  readonly p99: number;
  /** Answers that were neither 2xx nor 3xx. */
  readonly refused: number;
  /** Connections that failed, or took too long. */
  readonly errors: number;
}

export interface Load {
  readonly url: string;
  /** `name: value` */
  readonly headers: readonly string[];
  readonly connections: number;
  readonly seconds: number;
  /** A Lua script, and what it is given. */
  readonly script?: { readonly file: string; readonly args: readonly string[] };
}

/** A load and what it cost its subject. */
export interface Run extends WrkResult {
  readonly cpuSeconds: number;
}

/** Loads one subject once. */
export async function load(bench: Bench, subject: Started, { seconds, connections, ...rest }: Load): Promise<Run> {
  const args = ['-t1', `-c${connections}`, `-d${seconds}s`, '--timeout', '20s', '--latency'];
  for (const header of rest.headers) args.push('-H', header);
  if (rest.script !== undefined) args.push('-s', rest.script.file);
  args.push(rest.url, ...(rest.script === undefined ? [] : ['--', ...rest.script.args]));
  const before = subject.cpuSeconds();
  const output = await bench.processes.run('wrk', args, { core: LOAD_CORE });
  return { ...parseWrk(output), cpuSeconds: subject.cpuSeconds() - before };
}

/** Reads what wrk prints with --latency. Throws where it is not that. */
export function parseWrk(text: string): WrkResult {
  const value = (pattern: RegExp): string | null => pattern.exec(text)?.[1] ?? null;
  const requests = value(/^\s*(\d+) requests in /m);
  if (requests === null) throw new Error(`this is not a result of wrk:\n${text.slice(0, 500)}`);
  const failed = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(text);
  return {
    requests: Number(requests),
    perSecond: Number(value(/^Requests\/sec:\s+([\d.]+)/m) ?? 0),
    p50: microseconds(value(/^\s+50%\s+(\S+)/m) ?? ''),
    p99: microseconds(value(/^\s+99%\s+(\S+)/m) ?? ''),
    refused: Number(value(/Non-2xx or 3xx responses: (\d+)/) ?? 0),
    errors: (failed ?? []).slice(1).reduce((sum, part) => sum + Number(part), 0),
  };
}

function microseconds(text: string): number {
  const [, number = '', unit = ''] = /^([\d.]+)(us|ms|s|m|h)$/.exec(text) ?? [];
  const factors: Readonly<Record<string, number>> = { us: 1, ms: 1e3, s: 1e6, m: 6e7, h: 3.6e9 };
  return Number(number) * (factors[unit] ?? Number.NaN);
}

/** What several runs of one subject come to. */
export interface Summary {
  readonly perSecond: number;
  readonly spread: number | null;
  readonly p50: number;
  readonly p99: number;
  /** CPU seconds per 100,000 requests. */
  readonly cpuSeconds: number;
  readonly refused: number;
  readonly invalid: string | null;
}

/** Middle values. `refusals`: every answer has to be one, instead of none. */
export function summarise(runs: readonly Run[], refusals = false): Summary {
  const of = (pick: (run: Run) => number): number => median(runs.map(pick));
  const sum = (pick: (run: Run) => number): number => runs.reduce((total, run) => total + pick(run), 0);
  const requests = sum((run) => run.requests);
  const refused = sum((run) => run.refused);
  const errors = sum((run) => run.errors);
  const wrong = refusals ? requests - refused : refused;
  const what = refusals ? 'were let in' : 'were not answered 2xx';
  return {
    perSecond: of((run) => run.perSecond),
    spread: spread(runs.map((run) => run.perSecond)),
    p50: of((run) => run.p50),
    p99: of((run) => run.p99),
    cpuSeconds: of((run) => (run.cpuSeconds / run.requests) * 100_000),
    refused,
    invalid:
      requests === 0
        ? 'nothing was answered'
        : wrong > 0
          ? `${wrong} requests ${what}`
          : errors > 0
            ? `${errors} connections failed`
            : null,
  };
}

/** What is loaded in turns. */
export interface Subject {
  readonly name: string;
  readonly process: Started;
  readonly load: Omit<Load, 'seconds'>;
}

/** What a just-in-time compiler wants to see before it has made up its mind. */
const WARM_REQUESTS = 40_000;

/** Turns of the warm-up at most: on a busy machine that many requests would take too long. */
const WARM_TURNS = 2;

async function warmUp(
  bench: Bench,
  subject: Subject,
  options: { readonly warmUp: number; readonly warmRequests?: number },
): Promise<void> {
  bench.tell(`  warming up ${subject.name}`);
  const enough = bench.options.quick ? 0 : (options.warmRequests ?? WARM_REQUESTS);
  let requests = 0;
  for (let turn = 0; turn < WARM_TURNS && (turn === 0 || requests < enough); turn += 1) {
    requests += (await load(bench, subject.process, { ...subject.load, seconds: options.warmUp })).requests;
  }
}

/** Loads all of them, one after another, round after round, each round beginning with another one. */
export async function inTurns(
  bench: Bench,
  subjects: readonly Subject[],
  options: {
    /** Seconds of one turn of the warm-up. */
    readonly warmUp: number;
    /** Requests that it should come to; 0: one turn is enough. */
    readonly warmRequests?: number;
    readonly seconds: number;
    readonly around?: (subject: Subject, work: () => Promise<Run>) => Promise<Run>;
  },
): Promise<Map<string, Run[]>> {
  const runs = new Map<string, Run[]>(subjects.map(({ name }) => [name, []]));
  for (const subject of subjects) await warmUp(bench, subject, options);
  for (let round = 0; round < bench.options.rounds; round += 1) {
    const first = round % Math.max(1, subjects.length);
    for (const subject of [...subjects.slice(first), ...subjects.slice(0, first)]) {
      const work = (): Promise<Run> => load(bench, subject.process, { ...subject.load, seconds: options.seconds });
      const run = await (options.around === undefined ? work() : options.around(subject, work));
      runs.get(subject.name)?.push(run);
      bench.tell(`  round ${round + 1}, ${subject.name}: ${Math.round(run.perSecond)} requests/s`);
    }
  }
  return runs;
}
