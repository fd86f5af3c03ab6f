import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Bench, LOAD_CORE, ROOT } from '../bench.ts';
import { startGateway } from '../gateway.ts';
import { openFilesLimit } from '../processes.ts';
import { count, type Row, row } from '../report.ts';
import { startSilentWebSockets } from '../upstream.ts';

const MEASURE = 'WebSockets on which nothing happens';
const WANTED = 5_000;
const WANTED_QUICK = 500;

/** As a goal: KiB of resident memory for each, above the idle process. */
const MOST_KIB = 20;

/** Files that the gateway needs besides. */
const OTHER_FILES = 200;

/** How long the opening may take: a handshake is dearer than a request, and nobody waits for it here. */
const OPEN_MS = 120_000;

/** So that what the opening alone needed has been collected. */
const SETTLE_MS = 3_000;

export async function measureWebSockets(bench: Bench): Promise<Row[]> {
  const upstream = await startSilentWebSockets(bench);
  const gateway = await startGateway(bench, { name: 'websockets', redisUrl: null, upstreamUrl: upstream.url });
  const wanted = bench.options.quick ? WANTED_QUICK : WANTED;
  // Each takes two files: the client's connection and the upstream's.
  const many = Math.min(wanted, Math.floor((openFilesLimit() - OTHER_FILES) / 2));
  await sleep(bench.options.quick ? 500 : SETTLE_MS);
  const before = gateway.process.rssKib();
  const holder = join(ROOT, 'bench/websocket-holder.ts');
  const args = [holder, `${gateway.url}/socket`, String(many)];
  const env = { BENCH_TOKEN: gateway.token };
  const clients = await bench.processes.start(process.execPath, args, { core: LOAD_CORE, env });
  await clients.said(/^open \d+$/m, OPEN_MS);
  bench.tell(`  ${many} are open`);
  await sleep(bench.options.quick ? 500 : SETTLE_MS);
  const after = gateway.process.rssKib();
  const each = (after - before) / many;
  return [
    row({
      measure: MEASURE,
      subject: `portcullis, ${count(many)}${many < wanted ? ` (the limit on open files allows no more: ulimit -n)` : ''}`,
      figure: `${each.toFixed(1)} KiB each`,
      compared: `${Math.round(before / 1024)} MiB idle, ${Math.round(after / 1024)} MiB with them`,
      aim: `≤ ${MOST_KIB} KiB each`,
      reached: many < WANTED ? null : each <= MOST_KIB,
    }),
  ];
}
