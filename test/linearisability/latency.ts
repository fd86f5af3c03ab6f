/*
 * How long a revoke takes with three healthy `portcullis serve` processes on one Redis while each serves requests:
 *
 *   node test/linearisability/latency.ts [--revocations 100] [--rate 300] [--durable]
 *
 * `--rate` is requests per second at each replica; `--durable` makes Redis flush its disk for every write. The revoke goes
 * to each replica in turn, one at a time, by HTTP; the token has been used at all three. Prints one line.
 */

import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { request } from 'undici';
import { writeGatewayFiles } from '../support/gateway.ts';
import { startRedis } from '../support/redis-server.ts';
import { PROGRAM, ReplicaProcess, runToEnd } from './replica-process.ts';

const REPLICAS = 3;
const TICK_MS = 10;
const POLICY = `api: orders
upstream: orders
base: /orders
rules:
  - { name: read, methods: [GET], path: /, scopes: [orders:read] }
`;

const { values } = parseArgs({
  options: {
    revocations: { type: 'string', default: '100' },
    rate: { type: 'string', default: '300' },
    durable: { type: 'boolean', default: false },
  },
});
const revocations = Number(values.revocations);
const rate = Number(values.rate);

const folder = await mkdtemp(join(tmpdir(), 'portcullis-latency-'));
const redis = await startRedis(values.durable ? { args: ['--appendonly', 'yes', '--appendfsync', 'always'] } : {});
const upstream = createServer((_request, response) => response.end('ok')).listen(0, '127.0.0.1');
await new Promise((resolve) => upstream.once('listening', resolve));
const homes = Array.from({ length: REPLICAS }, (_, index) => join(folder, String(index)));
for (const home of homes) {
  await writeGatewayFiles(home, {
    upstreams: { orders: `http://127.0.0.1:${(upstream.address() as AddressInfo).port}` },
    policies: { 'orders.yaml': POLICY },
    config: { store: `{ kind: redis, url: "${redis.url}", lease: 2s }` },
  });
}
const configs = homes.map((home) => join(home, 'portcullis.yaml'));
const admin = JSON.parse(await runToEnd(['admin-token', '--config', configs[0] ?? '', '--json'])) as { token: string };
const replicas = await Promise.all(configs.map((config) => ReplicaProcess.start(PROGRAM, config)));

async function call(replica: ReplicaProcess, path: string, body: object): Promise<Record<string, unknown>> {
  const answer = await request(`${replica.adminUrl}${path}`, {
    method: 'POST',
    dispatcher: replica.agent,
    headers: { authorization: `Bearer ${admin.token}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const text = await answer.body.text();
  if (answer.statusCode > 299) throw new Error(`${path} answered ${answer.statusCode}: ${text}`);
  return JSON.parse(text);
}

async function use(replica: ReplicaProcess, token: string): Promise<number> {
  const { statusCode, body } = await request(`${replica.trafficUrl}/orders`, {
    dispatcher: replica.agent,
    headers: { authorization: `Bearer ${token}` },
  });
  await body.dump();
  return statusCode;
}

async function issue(replica: ReplicaProcess): Promise<{ id: string; token: string }> {
  const made = await call(replica, '/v1/tokens', { name: 'x', owner: 'x', class: 'service', scopes: ['orders:read'] });
  return { id: String(made['id']), token: String(made['token']) };
}

const [first] = replicas;
if (first === undefined) throw new Error('no replica');
const used = await issue(first);
let answered = 0;
let over = false;
const began = performance.now();
const load = replicas.map(async (replica) => {
  let sent = 0;
  const start = performance.now();
  const underWay = new Set<Promise<void>>();
  while (!over) {
    for (const due = ((performance.now() - start) * rate) / 1000; sent < due; sent += 1) {
      if (underWay.size >= 64) continue;
      const one: Promise<void> = use(replica, used.token).then((status) => {
        underWay.delete(one);
        if (status === 200) answered += 1;
      });
      underWay.add(one);
    }
    await delay(TICK_MS);
  }
  await Promise.all(underWay);
});

const whole: number[] = [];
const reached: number[] = [];
await delay(1000);
for (let round = 0; round < revocations; round += 1) {
  const { id, token } = await issue(first);
  for (const replica of replicas) while ((await use(replica, token)) !== 200) await delay(1);
  await delay(20 + Math.random() * 30);
  const replica = replicas[round % REPLICAS] ?? first;
  const sent = performance.now();
  const { propagation } = await call(replica, `/v1/tokens/${id}/revoke`, { reason: 'x' });
  whole.push(performance.now() - sent);
  const { replicas: all, acknowledged, elapsed_ms } = propagation as Record<string, number>;
  if (all !== REPLICAS || acknowledged !== REPLICAS) throw new Error(`acknowledged by ${acknowledged} of ${all}`);
  reached.push(elapsed_ms ?? Number.NaN);
  for (const each of replicas) if ((await use(each, token)) !== 401) throw new Error('a revoked token was let in');
}
over = true;
await Promise.all(load);
const perSecond = answered / ((performance.now() - began) / 1000) / REPLICAS;
const spread = (times: number[]): string => {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (part: number): string => (sorted[Math.floor((sorted.length - 1) * part)] ?? Number.NaN).toFixed(1);
  return `p10 ${at(0.1)} p50 ${at(0.5)} p90 ${at(0.9)} ms`;
};
process.stdout.write(
  `${revocations} revocations, ${perSecond.toFixed(0)} requests/s at each of ${REPLICAS} replicas${values.durable ? ', Redis flushes each write' : ''}: ` +
    `whole call ${spread(whole)}; to all replicas ${spread(reached)}; load average ${(loadavg()[0] ?? 0).toFixed(1)}\n`,
);
for (const replica of replicas) await replica.kill();
upstream.closeAllConnections();
upstream.close();
await redis.kill();
await rm(folder, { recursive: true, force: true });
