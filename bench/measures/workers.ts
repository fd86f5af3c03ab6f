import type { Bench } from '../bench.ts';
import { bearer, refusedSettings, startGateway } from '../gateway.ts';
import { INSTALL_REDIS, startRedis } from '../redis.ts';
import { count, leftOut, type Row, row } from '../report.ts';
import { startUpstream } from '../upstream.ts';
import { inTurns, type Subject, summarise } from '../wrk.ts';

const MEASURE = 'two workers beside one';
const CONNECTIONS = 64;

/** As a goal: CPU time of a request beside one worker's. */
const MOST_SHARE = 1.15;

/** All workers are on one core, because the load has the other: the CPU time of a request counts, not how many there are. */
export async function measureWorkers(bench: Bench): Promise<Row[]> {
  const upstream = await startUpstream(bench);
  if (upstream === null) return [leftOut(MEASURE, 'all', 'apt-get install nginx')];
  const redisUrl = await startRedis(bench);
  if (redisUrl === null) return [leftOut(MEASURE, 'all', INSTALL_REDIS)];
  const settings = (workers: number) => ({
    name: `workers-${workers}`,
    redisUrl,
    upstreamUrl: upstream.url,
    workers,
  });
  const refused = await refusedSettings(bench, settings(2));
  if (refused !== null) return [leftOut(MEASURE, 'workers: 2', `not in this version (${messageOf(refused)})`)];
  const subjects: Subject[] = [];
  for (const workers of [1, 2]) {
    const gateway = await startGateway(bench, settings(workers));
    const load = { url: `${gateway.url}/items`, headers: [bearer(gateway.token)], connections: CONNECTIONS };
    subjects.push({ name: `workers: ${workers}`, process: gateway.process, load });
  }
  const { seconds, quick } = bench.options;
  const runs = await inTurns(bench, subjects, { warmUp: quick ? 1 : 3, seconds });
  const summaries = [...runs].map(([name, each]) => ({ name, summary: summarise(each) }));
  const one = summaries[0]?.summary.cpuSeconds ?? Number.NaN;
  return summaries.map(({ name, summary }, index) =>
    row({
      measure: MEASURE,
      subject: name,
      figure: `${count(summary.perSecond)} requests/s`,
      spread: summary.spread,
      cpuSeconds: summary.cpuSeconds,
      p50: summary.p50,
      p99: summary.p99,
      compared: index === 0 ? null : `${(summary.cpuSeconds / one).toFixed(2)} × one worker (CPU)`,
      aim: index === 0 ? null : `≤ ${MOST_SHARE} × one worker (CPU)`,
      reached: index === 0 ? null : summary.cpuSeconds <= MOST_SHARE * one,
      invalid: summary.invalid,
    }),
  );
}

/** Without the place, which is a temporary file's. */
function messageOf(diagnostic: string): string {
  return diagnostic.replace(/^\S+:\d+:\d+:\s*/, '');
}
