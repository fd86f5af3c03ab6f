import { PEER_TOKEN } from '../answer.ts';
import type { Bench } from '../bench.ts';
import { bearer, startGateway } from '../gateway.ts';
import { isMissing, type PeerName, startPeer } from '../peers/start.ts';
import { INSTALL_REDIS, startRedis } from '../redis.ts';
import { count, leftOut, type Row, row } from '../report.ts';
import { startUpstream } from '../upstream.ts';
import { inTurns, type Subject, type Summary, summarise } from '../wrk.ts';

const MEASURE = 'GET, 150 bytes, per core';
const CONNECTIONS = 64;
const PEERS: readonly PeerName[] = ['nginx', 'nginx-lua', 'caddy', 'node-undici', 'fastify-http-proxy', 'http-proxy-3'];

export async function measureThroughput(bench: Bench): Promise<Row[]> {
  const upstream = await startUpstream(bench);
  if (upstream === null) return [leftOut(MEASURE, 'all', 'apt-get install nginx')];
  const rows: Row[] = [];
  const subjects: Subject[] = [];
  const add = (name: string, process: Subject['process'], url: string, token: string): void => {
    const load = { url: `${url}/items`, headers: [bearer(token)], connections: CONNECTIONS };
    subjects.push({ name, process, load });
  };
  for (const name of PEERS) {
    const peer = await startPeer(bench, name, upstream);
    if (isMissing(peer)) rows.push(leftOut(MEASURE, name, peer.missing));
    else add(name, peer.process, peer.url, PEER_TOKEN);
  }
  const redisUrl = await startRedis(bench);
  if (redisUrl === null) rows.push(leftOut(MEASURE, 'portcullis, Redis', INSTALL_REDIS));
  else {
    const gateway = await startGateway(bench, { name: 'throughput-redis', redisUrl, upstreamUrl: upstream.url });
    add('portcullis, Redis', gateway.process, gateway.url, gateway.token);
  }
  const embedded = await startGateway(bench, { name: 'throughput', redisUrl: null, upstreamUrl: upstream.url });
  add('portcullis, embedded', embedded.process, embedded.url, embedded.token);

  const { seconds, quick } = bench.options;
  const runs = await inTurns(bench, subjects, { warmUp: quick ? 1 : 3, seconds });
  const summaries = new Map([...runs].map(([name, each]): [string, Summary] => [name, summarise(each)]));
  return [...[...summaries].map(([name, summary]) => throughputRow(name, summary, summaries)), ...rows];
}

function throughputRow(name: string, summary: Summary, all: ReadonlyMap<string, Summary>): Row {
  const common = {
    measure: MEASURE,
    subject: name,
    figure: `${count(summary.perSecond)} requests/s`,
    spread: summary.spread,
    cpuSeconds: summary.cpuSeconds,
    p50: summary.p50,
    p99: summary.p99,
    invalid: summary.invalid,
  };
  const lua = all.get('nginx-lua');
  const fastify = all.get('fastify-http-proxy');
  const compared = [
    ...(lua === undefined ? [] : [`${ratio(summary, lua)} × nginx-lua (by CPU ${ratioByCpu(summary, lua)})`]),
    ...(fastify === undefined
      ? []
      : [`${ratio(summary, fastify)} × fastify-http-proxy (by CPU ${ratioByCpu(summary, fastify)})`]),
    ...(lua === undefined ? [] : [`p99 ${(summary.p99 / lua.p99).toFixed(1)} × nginx-lua's`]),
  ].join(', ');
  if (!name.startsWith('portcullis')) return row({ ...common, compared });
  const complete = lua !== undefined && fastify !== undefined;
  return row({
    ...common,
    compared,
    aim: "≥ 0.45 × nginx-lua, ≥ 2 × fastify-http-proxy, p99 ≤ 4 × nginx-lua's",
    reached: complete
      ? summary.perSecond >= 0.45 * lua.perSecond &&
        summary.perSecond >= 2 * fastify.perSecond &&
        summary.p99 <= 4 * lua.p99
      : null,
  });
}

function ratio(one: Summary, other: Summary): string {
  return (one.perSecond / other.perSecond).toFixed(2);
}

/** The same by CPU time, which others on the machine disturb less. */
function ratioByCpu(one: Summary, other: Summary): string {
  return (other.cpuSeconds / one.cpuSeconds).toFixed(2);
}
