import { join } from 'node:path';
import { type Bench, LOAD_CORE, ROOT, SERVER_CORE } from '../bench.ts';
import { startGateway } from '../gateway.ts';
import { startRedis } from '../redis.ts';
import { duration, leftOut, type Row, row } from '../report.ts';
import { median, spread } from '../statistics.ts';
import { startUpstream } from '../upstream.ts';

const MEASURE = 'added latency, 1,000 requests/s';
const RATE = 1_000;
const CONNECTIONS = 16;

/** As a goal: over the direct call, microseconds. */
const MOST_P50 = 150;
const MOST_P99 = 1_000;

interface Latencies {
  readonly p50: number;
  readonly p99: number;
  readonly bad: number;
}

/**
 * The client turns without a pause on its own core, so that what it sends is on time. The upstream is on the gateway's
 * core therefore: neither has much to do at this rate.
 */
export async function measureLatency(bench: Bench): Promise<Row[]> {
  const upstream = await startUpstream(bench, SERVER_CORE);
  if (upstream === null) return [leftOut(MEASURE, 'all', 'apt-get install nginx')];
  const redisUrl = await startRedis(bench);
  const gateway = await startGateway(bench, { name: 'latency', redisUrl, upstreamUrl: upstream.url });
  const direct: Latencies[] = [];
  const through: Latencies[] = [];
  const { quick } = bench.options;
  const seconds = quick ? 1 : 4;
  await call(bench, gateway.url, gateway.token, quick ? 1 : 6);
  for (let round = 0; round < bench.options.rounds; round += 1) {
    direct.push(await call(bench, upstream.url, '', seconds));
    through.push(await call(bench, gateway.url, gateway.token, seconds));
    bench.tell(
      `  round ${round + 1}: p50 ${duration(direct.at(-1)?.p50 ?? 0)} → ${duration(through.at(-1)?.p50 ?? 0)}`,
    );
  }
  const of = (runs: readonly Latencies[], key: 'p50' | 'p99'): number => median(runs.map((run) => run[key]));
  const added = { p50: of(through, 'p50') - of(direct, 'p50'), p99: of(through, 'p99') - of(direct, 'p99') };
  const bad = [...direct, ...through].reduce((sum, run) => sum + run.bad, 0);
  const lines = { direct, through };
  return [
    ...Object.entries(lines).map(([name, runs]) =>
      row({
        measure: MEASURE,
        subject:
          name === 'direct' ? 'the direct call' : `through portcullis, ${redisUrl === null ? 'embedded' : 'Redis'}`,
        figure: `${RATE} requests/s`,
        spread: spread(runs.map((run) => run.p50)),
        p50: of(runs, 'p50'),
        p99: of(runs, 'p99'),
      }),
    ),
    row({
      measure: MEASURE,
      subject: 'the difference',
      figure: `${duration(added.p50)} at p50`,
      p50: added.p50,
      p99: added.p99,
      aim: `p50 ≤ ${duration(MOST_P50)}, p99 ≤ ${duration(MOST_P99)}`,
      reached: added.p50 <= MOST_P50 && added.p99 <= MOST_P99,
      invalid: bad > 0 ? `${bad} requests were not answered 200` : null,
    }),
  ];
}

async function call(bench: Bench, url: string, token: string, seconds: number): Promise<Latencies> {
  const client = join(ROOT, 'bench/open-loop-client.ts');
  const args = [client, `${url}/items`, String(RATE), String(seconds), String(CONNECTIONS)];
  return JSON.parse(
    await bench.processes.run(process.execPath, args, { core: LOAD_CORE, env: { BENCH_TOKEN: token } }),
  ) as Latencies;
}
