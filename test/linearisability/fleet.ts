import { mkdtemp, rm } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { writeGatewayFiles } from '../support/gateway.ts';
import { HoldingRelay } from '../support/holding-relay.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { TestIssuer } from '../support/test-issuer.ts';
import { TestUpstream } from '../support/upstream.ts';
import { ReplicaProcess, runToEnd } from './replica-process.ts';

const POLICY = `api: orders
upstream: orders
base: /orders
rules:
  - { name: read, methods: [GET], path: [/, /events], scopes: [orders:read] }
`;

/** Nothing that Redis has acknowledged may be lost when it is killed: otherwise a revocation could be, too. */
const DURABLE = ['--appendonly', 'yes', '--appendfsync', 'always'];

/** How often an event stream says something, milliseconds. */
const EVENT_MS = 20;

/** Events that say when they were sent, on the clock of the driver, which is this process. */
function tellTheTime(response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  const timer = setInterval(() => response.write(`data: ${performance.now()}\n\n`), EVENT_MS);
  response.on('close', () => clearInterval(timer));
}

/** A place for a replica: its folder and its own line to Redis stay, the process in it may be another one. */
export interface Berth {
  readonly name: string;
  readonly config: string;
  /** Null with an embedded store. */
  readonly relay: HoldingRelay | null;
  readonly options: readonly string[];
  process: ReplicaProcess;
  /** Why it cannot be counted on now. */
  trouble: 'paused' | 'cut off' | 'dead' | null;
  /** When its last trouble ended. */
  troubledAt: number;
}

export interface FleetOptions {
  /** Each on one Redis through a relay of its own, or all on one file. */
  readonly store: 'redis' | 'embedded';
  readonly replicas: number;
  readonly leaseMs: number;
  /** Options of node, for each replica; none where there are none. */
  readonly node?: readonly (readonly string[])[];
}

/** Several replicas on one store, and everything that may happen to them. */
export class Fleet {
  readonly berths: readonly Berth[];
  readonly adminToken: string;
  /** Of tokens that the gateways have no records of. */
  readonly issuer: TestIssuer;
  /** When the last trouble ended, on the driver's clock. */
  lastTroubleAt = 0;
  redisAway = false;
  redisBackAt = 0;
  readonly #program: string;
  readonly #folder: string;
  readonly #upstream: TestUpstream;
  #redis: RedisServer | null;

  private constructor(fields: {
    berths: readonly Berth[];
    adminToken: string;
    issuer: TestIssuer;
    program: string;
    folder: string;
    upstream: TestUpstream;
    redis: RedisServer | null;
  }) {
    this.berths = fields.berths;
    this.adminToken = fields.adminToken;
    this.issuer = fields.issuer;
    this.#program = fields.program;
    this.#folder = fields.folder;
    this.#upstream = fields.upstream;
    this.#redis = fields.redis;
  }

  static async start(program: string, { store, replicas, leaseMs, node = [] }: FleetOptions): Promise<Fleet> {
    const folder = await mkdtemp(join(tmpdir(), 'portcullis-linearisability-'));
    const issuer = await TestIssuer.create('https://issuer.test');
    const redis = store === 'redis' ? await startRedis({ dir: folder, args: DURABLE }) : null;
    const upstream = await TestUpstream.start((request, response) => {
      if (request.url?.endsWith('/events') !== true) response.end('ok');
      else tellTheTime(response);
    });
    const prepared = await Promise.all(
      Array.from({ length: replicas }, async (_, index) => {
        const name = `replica ${index + 1}`;
        const relay = redis === null ? null : await HoldingRelay.start(redis.port);
        const place =
          relay === null
            ? `kind: embedded, path: "${join(folder, 'data')}"`
            : `kind: redis, url: "redis://127.0.0.1:${relay.port}/0"`;
        const home = join(folder, `replica-${index + 1}`);
        await writeGatewayFiles(home, {
          upstreams: { orders: upstream.url },
          policies: { 'orders.yaml': POLICY },
          config: { store: `{ ${place}, lease: ${leaseMs}ms }`, issuers: `[ ${issuer.yaml} ]` },
        });
        return { name, config: join(home, 'portcullis.yaml'), relay, options: node[index] ?? [] };
      }),
    );
    const first = prepared[0];
    if (first === undefined) throw new Error('a fleet has at least one replica');
    const admin = JSON.parse(await runToEnd(['admin-token', '--config', first.config, '--json'])) as { token: string };
    const berths = await Promise.all(
      prepared.map(async (berth): Promise<Berth> => {
        return {
          ...berth,
          process: await ReplicaProcess.start(program, berth.config, berth.options),
          trouble: null,
          troubledAt: 0,
        };
      }),
    );
    return new Fleet({ berths, adminToken: admin.token, issuer, program, folder, upstream, redis });
  }

  /** Between the replicas and their store there is a line. */
  get canBeCutOff(): boolean {
    return this.#redis !== null;
  }

  get healthy(): readonly Berth[] {
    return this.berths.filter(({ trouble }) => trouble === null);
  }

  /** SIGSTOP for so long: the process is there, its connections are open, and its clock goes on. */
  async pause(berth: Berth, ms: number): Promise<void> {
    await this.#trouble(berth, 'paused', async () => {
      berth.process.child.kill('SIGSTOP');
      await delay(ms);
      berth.process.child.kill('SIGCONT');
    });
  }

  /** No byte between the replica and Redis for so long. */
  async cutOff(berth: Berth, ms: number, isOver = (): boolean => false): Promise<void> {
    await this.#trouble(berth, 'cut off', async () => {
      berth.relay?.hold();
      const until = performance.now() + ms;
      while (performance.now() < until && !isOver()) await delay(Math.min(50, ms));
      berth.relay?.release();
    });
  }

  /** SIGKILL, and another process in its place. */
  async replace(berth: Berth): Promise<void> {
    await this.#trouble(berth, 'dead', async () => {
      await berth.process.kill();
      berth.process = await ReplicaProcess.start(this.#program, berth.config, berth.options);
    });
  }

  /** SIGKILL for Redis, and after so long another one with the same data. */
  async restartRedis(ms: number): Promise<void> {
    const redis = this.#redis;
    if (redis === null) return;
    this.redisAway = true;
    await redis.kill();
    await delay(ms);
    this.#redis = await startRedis({ dir: this.#folder, port: redis.port, args: DURABLE });
    this.redisAway = false;
    this.redisBackAt = performance.now();
    this.lastTroubleAt = this.redisBackAt;
  }

  async close(): Promise<void> {
    for (const { process, relay } of this.berths) {
      process.child.kill('SIGCONT');
      await process.kill();
      await relay?.close();
    }
    await this.#upstream.close();
    await this.issuer.close();
    await this.#redis?.kill();
    await rm(this.#folder, { recursive: true, force: true });
  }

  async #trouble(berth: Berth, kind: 'paused' | 'cut off' | 'dead', work: () => Promise<void>): Promise<void> {
    berth.trouble = kind;
    await work();
    berth.trouble = null;
    berth.troubledAt = performance.now();
    this.lastTroubleAt = berth.troubledAt;
  }
}
