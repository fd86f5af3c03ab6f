import { mintToken } from '../../src/token/opaque-format.ts';
import type { Bench } from '../bench.ts';
import { type BenchGateway, bearer, ENVIRONMENT, startGateway } from '../gateway.ts';
import { startRedis } from '../redis.ts';
import { count, leftOut, type Row, row } from '../report.ts';
import { startUpstream } from '../upstream.ts';
import { inTurns, type Subject, type Summary, summarise } from '../wrk.ts';

const MEASURE = 'cost of a refusal';
const CONNECTIONS = 64;
const ALLOWED = 'allowed';

export async function measureRefusals(bench: Bench): Promise<Row[]> {
  const upstream = await startUpstream(bench);
  if (upstream === null) return [leftOut(MEASURE, 'all', 'apt-get install nginx')];
  const redisUrl = await startRedis(bench);
  const gateway = await startGateway(bench, { name: 'refusals', redisUrl, upstreamUrl: upstream.url });
  const subjects = subjectsOf(gateway);
  for (const { name, load } of subjects) if (name !== ALLOWED) await expectReason(name, load.url, load.headers);
  const { quick, seconds } = bench.options;
  const each = Math.min(seconds, 2);
  const runs = await inTurns(bench, subjects, { warmUp: quick ? 1 : 2, warmRequests: 0, seconds: each });
  const summaries = [...runs].map(([name, list]): [string, Summary] => [name, summarise(list, name !== ALLOWED)]);
  const allowed = summaries.find(([name]) => name === ALLOWED)?.[1].cpuSeconds ?? Number.NaN;
  return summaries.map(([name, summary]) =>
    row({
      measure: MEASURE,
      subject: name,
      figure: `${count(summary.perSecond)} requests/s`,
      spread: summary.spread,
      cpuSeconds: summary.cpuSeconds,
      p50: summary.p50,
      p99: summary.p99,
      compared: name === ALLOWED ? null : `${(summary.cpuSeconds / allowed).toFixed(2)} × allowed (CPU)`,
      aim: name === ALLOWED ? null : 'less CPU than allowed',
      reached: name === ALLOWED ? null : summary.cpuSeconds < allowed,
      invalid: summary.invalid,
    }),
  );
}

function subjectsOf(gateway: BenchGateway): Subject[] {
  const { token, url } = gateway;
  const unknown = mintToken({ prefix: 'pct', environment: ENVIRONMENT }).token;
  const mistyped = `${token.slice(0, -1)}${token.endsWith('a') ? 'b' : 'a'}`;
  const subject = (name: string, path: string, headers: readonly string[]): Subject => ({
    name,
    process: gateway.process,
    load: { url: `${url}${path}`, headers, connections: CONNECTIONS },
  });
  return [
    subject(ALLOWED, '/items', [bearer(token)]),
    subject('token_missing', '/items', []),
    subject('token_malformed', '/items', [bearer(mistyped)]),
    subject('token_unknown', '/items', [bearer(unknown)]),
    subject('scope_insufficient', '/purge', [bearer(token)]),
    subject('route_not_declared', '/nowhere', [bearer(token)]),
  ];
}

/** So that what is measured is what the row says. */
async function expectReason(reason: string, url: string, headers: readonly string[]): Promise<void> {
  const fields = headers.map((line) => line.split(': ', 2) as [string, string]);
  const text = await (await fetch(url, { headers: fields })).text();
  const given = (JSON.parse(text) as { reason?: string }).reason;
  if (given !== reason) throw new Error(`expected to be refused with ${reason}, and was with ${given}`);
}
