import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LARGE_BYTES } from '../answer.ts';
import type { Bench } from '../bench.ts';
import { bearer, startGateway } from '../gateway.ts';
import { isMissing, startPeer } from '../peers/start.ts';
import { leftOut, type Row, row } from '../report.ts';
import { startUpstream } from '../upstream.ts';
import { inTurns, type Run, type Subject, summarise } from '../wrk.ts';

const CONNECTIONS = 4;

/** As a goal: beside nginx. */
const LEAST_SHARE = 0.7;

/** What counts as flat: growth after the first round, MiB. A leak of one body in a hundred would be more. */
const FLAT_MIB = 16;

const MIB = 1024 ** 2;

/** What is sent and answered, the other way round for uploads. */
const DIRECTIONS = [
  { measure: 'answers of 10 MB', path: '/large', upload: false },
  { measure: 'uploads of 10 MB', path: '/upload', upload: true },
] as const;

export async function measureBodies(bench: Bench): Promise<Row[]> {
  const upstream = await startUpstream(bench);
  const peer = upstream === null ? null : await startPeer(bench, 'nginx', upstream);
  if (upstream === null || peer === null || isMissing(peer)) {
    return DIRECTIONS.map(({ measure }) => leftOut(measure, 'all', 'apt-get install nginx'));
  }
  const gateway = await startGateway(bench, { name: 'bodies', redisUrl: null, upstreamUrl: upstream.url });
  const file = join(bench.folder, 'upload.lua');
  writeFileSync(file, `wrk.method = "POST"\nwrk.body = string.rep("u", ${LARGE_BYTES})\n`);
  const rows: Row[] = [];
  for (const { measure, path, upload } of DIRECTIONS) {
    const subject = (name: string, process: Subject['process'], url: string, headers: readonly string[]): Subject => ({
      name,
      process,
      load: {
        url: `${url}${path}`,
        headers,
        connections: CONNECTIONS,
        ...(upload ? { script: { file, args: [] } } : {}),
      },
    });
    const subjects = [
      subject('nginx', peer.process, peer.url, []),
      subject('portcullis', gateway.process, gateway.url, [bearer(gateway.token)]),
    ];
    bench.tell(`  ${measure}`);
    rows.push(...(await measureDirection(bench, measure, subjects)));
  }
  return rows;
}

async function measureDirection(bench: Bench, measure: string, subjects: readonly Subject[]): Promise<Row[]> {
  const { quick } = bench.options;
  // A request counts when it is complete: in a moment too few are.
  const seconds = 2;
  const idle = subjects.at(-1)?.process.rssKib() ?? 0;
  const peaks: number[] = [];
  const runs = await inTurns(bench, subjects, {
    warmUp: quick ? 1 : 2,
    warmRequests: 0,
    seconds,
    around: async (subject, work) => {
      const watch = watchRss(subject);
      try {
        return await work();
      } finally {
        const peak = watch();
        if (subject.name === 'portcullis') peaks.push(peak);
      }
    },
  });
  const rate = (list: readonly Run[] | undefined): number => summarise(list ?? []).perSecond * LARGE_BYTES;
  const nginx = rate(runs.get('nginx'));
  const rows = [...runs].map(([name, list]) => {
    const summary = summarise(list);
    const share = rate(list) / nginx;
    const own = name === 'portcullis';
    return row({
      measure,
      subject: name,
      figure: `${Math.round(rate(list) / MIB)} MiB/s`,
      spread: summary.spread,
      cpuSeconds: null,
      compared: own
        ? `${share.toFixed(2)} × nginx; ${cpuPerGib(list, summary.perSecond, seconds)}`
        : cpuPerGib(list, summary.perSecond, seconds),
      aim: own ? `≥ ${LEAST_SHARE} × nginx` : null,
      reached: own ? share >= LEAST_SHARE : null,
      invalid: summary.perSecond === 0 ? 'too few were complete in time' : summary.invalid,
    });
  });
  const growth = (Math.max(...peaks) - (peaks[0] ?? 0)) / 1024;
  rows.push(
    row({
      measure,
      subject: 'portcullis, memory',
      figure: `${Math.round(idle / 1024)} MiB before, ${Math.round(Math.max(...peaks) / 1024)} MiB at most`,
      compared: peaks.length > 1 ? `${Math.round(growth)} MiB more than in the first round` : null,
      aim: `flat: at most ${FLAT_MIB} MiB more in later rounds`,
      reached: peaks.length > 1 ? growth <= FLAT_MIB : null,
    }),
  );
  return rows;
}

function cpuPerGib(list: readonly Run[], perSecond: number, seconds: number): string {
  if (perSecond === 0) return '';
  const cpu = list.reduce((sum, run) => sum + run.cpuSeconds, 0) / list.length;
  return `${((cpu / (perSecond * seconds * LARGE_BYTES)) * 1024 ** 3).toFixed(2)} CPU s/GiB`;
}

/** The largest resident memory until the returned function is called, KiB. */
function watchRss({ process }: Subject): () => number {
  let peak = process.rssKib();
  const look = (): void => {
    peak = Math.max(peak, process.rssKib());
  };
  const timer = setInterval(look, 100);
  return () => {
    clearInterval(timer);
    look();
    return peak;
  };
}
