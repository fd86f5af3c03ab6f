import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import type { RedisBench } from './redis-bench.ts';

/** A replica is in step at once, and a primary without any is not written to for long. */
const QUICK = ['--repl-diskless-sync-delay', '0', '--repl-ping-replica-period', '1'];

/** Pause between two looks at something that no event tells of. */
const LOOK_MS = 20;

/** Resolves when `look` says true; rejects after `timeoutMs` with what it was about. */
export async function until(what: string, look: () => Promise<boolean>, timeoutMs = 20_000): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!(await look().catch(() => false))) {
    if (performance.now() > end) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

/** One primary with replicas that are in step. */
export async function startReplicas(
  bench: RedisBench,
  count: number,
): Promise<{ readonly primary: RedisServer; readonly replicas: readonly RedisServer[] }> {
  const primary = await bench.redis({ args: QUICK });
  const args = [...QUICK, '--replicaof', '127.0.0.1', String(primary.port)];
  const replicas = await Promise.all(Array.from({ length: count }, () => bench.redis({ args })));
  await inStep(bench.client(primary.url), count);
  return { primary, replicas };
}

/** Resolves when so many replicas have what the primary has. */
async function inStep(primary: Redis, count: number): Promise<void> {
  await until('the replicas are in step', async () => {
    // WAIT speaks of the last write of its connection, and publishing is one that leaves nothing behind.
    await primary.publish('in-step', '');
    return (await primary.wait(count, 1000)) >= count;
  });
}

/** Which of the servers is the primary now: on a busy machine a failover may have come early. */
export async function primaryOf(bench: RedisBench, servers: readonly RedisServer[]): Promise<RedisServer> {
  for (const server of servers) {
    const [role] = [await bench.client(server.url).call('ROLE')].flat();
    if (role === 'master') return server;
  }
  throw new Error('there is no primary');
}

/** Three sentinels over one primary and two replicas; they know each other when it resolves. */
export async function startSentinels(bench: RedisBench): Promise<{
  readonly primary: RedisServer;
  readonly replicas: readonly RedisServer[];
  readonly sentinels: readonly RedisServer[];
}> {
  const { primary, replicas } = await startReplicas(bench, 2);
  const sentinels = await Promise.all(
    Array.from({ length: 3 }, async () => {
      const dir = await bench.folder();
      const config = join(dir, 'sentinel.conf');
      const lines = [
        `sentinel monitor main 127.0.0.1 ${primary.port} 2`,
        'sentinel down-after-milliseconds main 2000',
        'sentinel failover-timeout main 3000',
      ];
      await writeFile(config, `${lines.join('\n')}\n`);
      return await bench.redis({ config, dir, args: ['--sentinel'] });
    }),
  );
  for (const sentinel of sentinels) {
    const client = bench.client(sentinel.url.replace(/\/0$/, ''));
    await until('the sentinel knows all', async () => {
      const facts = String(await client.info('sentinel'));
      return facts.includes('status=ok') && facts.includes('slaves=2,sentinels=3');
    });
  }
  return { primary, replicas, sentinels };
}

export interface ClusterNode {
  readonly server: RedisServer;
  readonly client: Redis;
  readonly id: string;
}

/** Three primaries with a third of the slots each, and a replica for each of them, in that order. */
export async function startCluster(bench: RedisBench): Promise<readonly ClusterNode[]> {
  const nodes = await Promise.all(
    Array.from({ length: 6 }, async (): Promise<ClusterNode> => {
      const bus = ['--cluster-port', String(await unusedPort()), '--cluster-announce-ip', '127.0.0.1'];
      const args = [...QUICK, ...bus, '--cluster-enabled', 'yes', '--cluster-node-timeout', '1500'];
      const server = await bench.redis({ args });
      const client = bench.client(server.url);
      return { server, client, id: String(await client.cluster('MYID')) };
    }),
  );
  const [first] = nodes;
  for (const [index, { client }] of nodes.entries()) {
    await client.call('CONFIG', 'SET', 'cluster-replica-validity-factor', '0');
    // Different from the start, so that no time goes by until the nodes have agreed on it.
    await client.call('CLUSTER', 'SET-CONFIG-EPOCH', String(index + 1));
  }
  const ports = await Promise.all(nodes.map(({ client }) => busPort(client)));
  for (const [index, { server }] of nodes.entries()) {
    if (index > 0) await first?.client.call('CLUSTER', 'MEET', '127.0.0.1', String(server.port), ports[index] ?? '');
  }
  for (const [index, { client }] of nodes.slice(0, 3).entries()) {
    const from = Math.floor((16_384 * index) / 3);
    const to = Math.floor((16_384 * (index + 1)) / 3) - 1;
    await client.call('CLUSTER', 'ADDSLOTSRANGE', String(from), String(to));
  }
  for (const [index, { client }] of nodes.slice(3).entries()) {
    const primary = nodes[index];
    if (primary === undefined) throw new Error('a replica without a primary');
    await until('the node knows its primary', async () => {
      await client.call('CLUSTER', 'REPLICATE', primary.id);
      return true;
    });
  }
  for (const { client } of nodes) {
    await until('the cluster is whole', async () => {
      const facts = String(await client.cluster('INFO'));
      const list = String(await client.cluster('NODES'));
      return (
        facts.includes('cluster_state:ok') && facts.includes('cluster_size:3') && list.split('slave ').length === 4
      );
    });
  }
  for (const { client } of nodes.slice(0, 3)) {
    await inStep(client, 1);
  }
  return nodes;
}

async function busPort(client: Redis): Promise<string> {
  return String(Object.values([await client.call('CONFIG', 'GET', 'cluster-port')].flat())[1] ?? '');
}

/** A port that nobody uses now, for the cluster's bus: Redis would take its own plus 10000, which may be no port at all. */
export async function unusedPort(): Promise<number> {
  const probe = await startRedis();
  await probe.stop();
  return probe.port;
}
