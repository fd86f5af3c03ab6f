import { writeFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg } from 'node:os';
import { Bench } from './bench.ts';
import { measureBodies } from './measures/bodies.ts';
import { measureDecision } from './measures/decision.ts';
import { measureJwt } from './measures/jwt.ts';
import { measureLatency } from './measures/latency.ts';
import { measureRefusals } from './measures/refusals.ts';
import { measureScale } from './measures/scale.ts';
import { measureThroughput } from './measures/throughput.ts';
import { measureWebSockets } from './measures/websockets.ts';
import { measureWorkers } from './measures/workers.ts';
import { type BenchOptions, helpText, type MeasureName, parseOptions } from './options.ts';
import { findProgram } from './processes.ts';
import { type Circumstances, leftOut, markdownReport, type Row } from './report.ts';

const EXIT = { ok: 0, failed: 1, usage: 2, interrupted: 130 } as const;

const RUNNERS: Readonly<Record<MeasureName, (bench: Bench) => Promise<Row[]>>> = {
  decision: measureDecision,
  throughput: measureThroughput,
  latency: measureLatency,
  refusals: measureRefusals,
  jwt: measureJwt,
  bodies: measureBodies,
  websockets: measureWebSockets,
  scale: measureScale,
  workers: measureWorkers,
};

/** Those that load with wrk. */
const NEED_WRK: ReadonlySet<MeasureName> = new Set(['throughput', 'refusals', 'jwt', 'bodies', 'scale', 'workers']);

async function main(argv: readonly string[]): Promise<number> {
  const parsed = parseOptions(argv);
  if (!parsed.ok) {
    process.stderr.write(`bench: ${parsed.error.replaceAll('\n', '\nbench: ')}\nbench: --help tells more\n`);
    return EXIT.usage;
  }
  const options = parsed.value;
  if (options.help) {
    process.stdout.write(helpText());
    return EXIT.ok;
  }
  if (process.platform !== 'linux') {
    process.stderr.write('bench: needs Linux, whose /proc tells the CPU time and memory of every process\n');
    return EXIT.failed;
  }
  const { rows, circumstances, failed } = await run(options);
  const report = options.json
    ? `${JSON.stringify({ circumstances, rows }, null, 2)}\n`
    : markdownReport(circumstances, rows);
  process.stdout.write(report);
  if (options.out !== null) writeFileSync(options.out, report);
  return failed ? EXIT.failed : EXIT.ok;
}

interface Outcome {
  readonly rows: readonly Row[];
  readonly circumstances: Circumstances;
  /** A measure could not be finished. */
  readonly failed: boolean;
}

async function run(options: BenchOptions): Promise<Outcome> {
  const begun = performance.now();
  const loadBefore = loadavg()[0] ?? 0;
  const rows: Row[] = [];
  let failed = false;
  for (const name of options.only) {
    if (NEED_WRK.has(name) && findProgram('wrk') === null) {
      rows.push(leftOut(name, 'all', 'apt-get install wrk'));
      continue;
    }
    try {
      rows.push(...(await measure(name, options)));
    } catch (error) {
      failed = true;
      const message = error instanceof Error ? error.message : String(error);
      process.stderr.write(`bench: ${name} failed: ${message}\n`);
      rows.push(leftOut(name, 'all', `it failed: ${message.split('\n')[0] ?? ''}`));
    }
  }
  return { rows, circumstances: circumstancesOf(options, loadBefore, (performance.now() - begun) / 1000), failed };
}

/** Each measure begins with nothing running and leaves nothing running. */
async function measure(name: MeasureName, options: BenchOptions): Promise<Row[]> {
  const tell = (line: string): void => {
    process.stderr.write(`${line}\n`);
  };
  tell(`bench: ${name}`);
  const bench = new Bench(options, tell);
  const abandon = (): void => {
    bench.processes.killAll();
    bench.removeFolders();
  };
  const interrupted = (): void => {
    abandon();
    process.exit(EXIT.interrupted);
  };
  process.once('exit', abandon);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, interrupted);
  try {
    return await RUNNERS[name](bench);
  } finally {
    await bench.processes.endAll();
    bench.removeFolders();
    process.off('exit', abandon);
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.off(signal, interrupted);
  }
}

function circumstancesOf(options: BenchOptions, loadBefore: number, seconds: number): Circumstances {
  return {
    cores: availableParallelism(),
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    node: process.versions.node,
    loadBefore,
    seconds,
    rounds: options.rounds,
    quick: options.quick,
  };
}

process.exitCode = await main(process.argv.slice(2));
