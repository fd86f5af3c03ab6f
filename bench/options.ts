import { parseArgs } from 'node:util';
import { nearest } from '../src/base/nearest.ts';
import { err, ok, type Result } from '../src/base/result.ts';

/** What is measured, in the order in which it is run and shown. */
export const MEASURES = {
  decision: 'one decision by itself: canonical path, route, scopes; no connection',
  throughput: 'requests a second on one core beside nginx, nginx with Lua, Caddy, fastify-http-proxy and http-proxy-3',
  latency: 'what the gateway adds to a call at 1,000 requests a second',
  refusals: 'what a refused request costs beside an allowed one',
  jwt: 'what a JWT costs beside an opaque token, seen before and for the first time',
  bodies: 'answers and uploads of 10 MB beside nginx, and the memory meanwhile',
  websockets: 'memory of 5,000 WebSockets on which nothing happens',
  scale: '100,000 tokens and 1,000 rules beside 10 and 10',
  workers: 'what a request costs with two workers beside one',
} as const;

export type MeasureName = keyof typeof MEASURES;

export interface BenchOptions {
  readonly only: readonly MeasureName[];
  readonly rounds: number;
  /** Length of one load of one subject, seconds. */
  readonly seconds: number;
  readonly quick: boolean;
  readonly json: boolean;
  readonly out: string | null;
  readonly help: boolean;
}

const MAX_ROUNDS = 50;

/** Reads the command line. An error tells everything that is wrong, a line each. */
export function parseOptions(argv: readonly string[]): Result<BenchOptions, string> {
  let given: ReturnType<typeof read>;
  try {
    given = read(argv);
  } catch (error) {
    return err(error instanceof Error ? error.message : String(error));
  }
  const errors: string[] = [];
  const quick = given.quick ?? false;
  const rounds = given.rounds === undefined ? (quick ? 1 : 3) : Number(given.rounds);
  if (!Number.isInteger(rounds) || rounds < 1 || rounds > MAX_ROUNDS) {
    errors.push(`--rounds: expected a number from 1 to ${MAX_ROUNDS}, got ${JSON.stringify(given.rounds)}`);
  }
  const names = (given.only ?? '').split(',').filter((name) => name !== '');
  for (const name of names.filter((each) => !isMeasure(each))) {
    const near = nearest(name, Object.keys(MEASURES));
    errors.push(
      `--only: there is no measure ${JSON.stringify(name)}${near === null ? '' : `; did you mean ${near}?`} (${Object.keys(MEASURES).join(', ')})`,
    );
  }
  if (errors.length > 0) return err(errors.join('\n'));
  return ok({
    only: (Object.keys(MEASURES) as MeasureName[]).filter((name) => names.length === 0 || names.includes(name)),
    rounds,
    seconds: quick ? 1 : 3,
    quick,
    json: given.json ?? false,
    out: given.out ?? null,
    help: given.help ?? false,
  });
}

function read(argv: readonly string[]) {
  return parseArgs({
    args: [...argv],
    options: {
      only: { type: 'string' },
      rounds: { type: 'string' },
      quick: { type: 'boolean' },
      json: { type: 'boolean' },
      out: { type: 'string' },
      help: { type: 'boolean', short: 'h' },
    },
  }).values;
}

function isMeasure(name: string): name is MeasureName {
  return Object.hasOwn(MEASURES, name);
}

export function helpText(): string {
  const measures = Object.entries(MEASURES).map(([name, about]) => `  ${name.padEnd(11)} ${about}`);
  return `Usage: npm run bench -- [options]

Measures the gateway beside its peers, one after another in turns, and prints one Markdown table.
The gateway serves on core 0; the load and the upstream have core 1. What is not installed is left
out, and the table says what to install. Progress goes to stderr.

Options:
  --only NAME[,NAME]  some of the measures below
  --rounds N          turns of each subject (default: 3; with --quick 1)
  --quick             short turns and small numbers, under a minute: to see that it works, not for figures
  --out FILE          write the table to this file too
  --json              print JSON instead of the table
  -h, --help          print this help

Measures:
${measures.join('\n')}

Examples:
  npm run bench -- --out bench.md
  npm run bench -- --only throughput,latency --rounds 5
`;
}
