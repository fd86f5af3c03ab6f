import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { Agent, type IncomingMessage, request as send } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { request } from 'undici';
import { loadConfig } from '../../src/config/load.ts';
import { createTokenInStore } from '../../src/main/admin-token.ts';
import { writeGatewayFiles } from './gateway.ts';
import { GatewayProgram } from './gateway-program.ts';
import { TestUpstream } from './upstream.ts';

const POLICY = `api: orders
upstream: orders
base: /orders
rules:
  - { name: read, methods: [GET], path: [/, "/{rest...}"], scopes: [orders:read] }
`;

export interface WorkerStatus {
  readonly worker: number;
  readonly pid: number;
}

/** A client's connection of which it is known which worker has it. */
export interface Connection {
  readonly worker: number;
  /** The status, or the code of the error that ended the connection. */
  get(path?: string): Promise<number | string>;
  /** Resolves when the answer has begun; `closed` when it is over, in whatever way. */
  stream(path: string): Promise<{ readonly closed: Promise<void> }>;
  close(): void;
}

/** `portcullis serve` with several workers, and an upstream that can hold its answers back. */
export class WorkerFleet {
  readonly folder: string;
  readonly configFile: string;
  readonly upstream: TestUpstream;
  readonly adminToken: string;
  /** Answers that `/orders/held` waits for. */
  readonly held: (() => void)[];
  log = '';
  #program: GatewayProgram | null = null;

  private constructor(parts: { folder: string; upstream: TestUpstream; adminToken: string; held: (() => void)[] }) {
    this.folder = parts.folder;
    this.configFile = join(parts.folder, 'portcullis.yaml');
    this.upstream = parts.upstream;
    this.adminToken = parts.adminToken;
    this.held = parts.held;
  }

  /** Writes the files; nothing runs before `serve`. */
  static async prepare(config: Readonly<Record<string, string>>): Promise<WorkerFleet> {
    const held: (() => void)[] = [];
    const upstream = await TestUpstream.start((incoming, response) => {
      if (incoming.url?.endsWith('/events') === true) {
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        response.write('data: first\n\n');
      } else if (incoming.url?.endsWith('/held') === true) held.push(() => response.end('{"ok":true}'));
      else response.end('{"ok":true}');
    });
    const folder = await mkdtemp(join(tmpdir(), 'portcullis-workers-'));
    await writeGatewayFiles(folder, {
      upstreams: { orders: upstream.url },
      policies: { 'orders.yaml': POLICY },
      config: { workers: '2', ...config },
    });
    const { config: loaded, diagnostics } = await loadConfig(join(folder, 'portcullis.yaml'), {});
    if (loaded === null) throw new Error(`the test's configuration is wrong: ${JSON.stringify(diagnostics)}`);
    const admin = { name: 'admin', owner: 'tests', class: 'admin', scopes: ['*'], ttlMs: null };
    const adminToken = (await createTokenInStore(loaded, admin)).token;
    return new WorkerFleet({ folder, upstream, adminToken, held });
  }

  async serve(): Promise<void> {
    this.log = '';
    this.#program = await GatewayProgram.start(this.configFile);
    this.#program.child.stderr?.on('data', (chunk: Buffer) => {
      this.log += chunk.toString();
    });
  }

  get program(): GatewayProgram {
    if (this.#program === null) throw new Error('the gateway does not run');
    return this.#program;
  }

  auditFile(worker: number): string {
    return join(this.folder, worker === 1 ? 'data/audit.jsonl' : `data/audit.w${worker}.jsonl`);
  }

  async admin(method: 'GET' | 'POST', path: string, body?: unknown): Promise<{ status: number; text: string }> {
    const { statusCode, body: answer } = await request(`${this.program.adminUrl}${path}`, {
      method,
      // A connection of its own: one that is kept may be to a worker that is about to end.
      reset: true,
      headers: { authorization: `Bearer ${this.adminToken}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return { status: statusCode, text: await answer.text() };
  }

  async workers(): Promise<readonly WorkerStatus[]> {
    return JSON.parse((await this.admin('GET', '/v1/status')).text).workers;
  }

  async issue(): Promise<{ readonly id: string; readonly token: string }> {
    const fields = { name: 'test', owner: 'tests', class: 'service', scopes: ['orders:read'] };
    const { text, status } = await this.admin('POST', '/v1/tokens', fields);
    if (status !== 201) throw new Error(`issue answered ${status}: ${text}`);
    return JSON.parse(text) as { id: string; token: string };
  }

  /** The sum of a counter's or gauge's series. */
  async metric(name: string): Promise<number> {
    const { text } = await this.admin('GET', '/metrics');
    const values = text
      .split('\n')
      .filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`))
      .map((line) => Number(line.slice(line.lastIndexOf(' ') + 1)));
    return values.reduce((sum, value) => sum + value, 0);
  }

  /** Opens connections until each worker has as many as asked for. */
  async connections(token: string, each: number): Promise<readonly (readonly Connection[])[]> {
    const of: Connection[][] = [[], []];
    while (of.some((connections) => connections.length < each)) {
      const connection = await this.#connect(token);
      const place = of[connection.worker - 1];
      if (place === undefined || place.length >= each) connection.close();
      else place.push(connection);
    }
    return of;
  }

  async close(): Promise<void> {
    for (const release of this.held.splice(0)) release();
    if (this.#program?.child.exitCode === null && this.#program.child.signalCode === null) {
      await this.#program.signal('SIGTERM');
    }
    await this.upstream.close();
    await rm(this.folder, { recursive: true, force: true });
  }

  async #connect(token: string): Promise<Connection> {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const open = (path: string): Promise<IncomingMessage> =>
      new Promise((resolve, reject) => {
        const options = { agent, headers: { authorization: `Bearer ${token}` } };
        send(`${this.program.trafficUrl}${path}`, options, resolve).on('error', reject).end();
      });
    const first = await open('/orders');
    first.resume();
    await once(first, 'end');
    const worker = await this.#workerOf(String(first.headers['portcullis-request-id']));
    return {
      worker,
      get: async (path = '/orders') => {
        try {
          const answer = await open(path);
          answer.resume();
          await once(answer, 'end');
          return answer.statusCode ?? 0;
        } catch (error) {
          return error instanceof Error && 'code' in error ? String(error.code) : String(error);
        }
      },
      stream: async (path) => {
        const answer = await open(path);
        answer.on('error', () => undefined);
        answer.resume();
        return { closed: new Promise((resolve) => void answer.on('close', resolve)) };
      },
      close: () => agent.destroy(),
    };
  }

  async #workerOf(requestId: string): Promise<number> {
    for (;;) {
      for (const worker of [1, 2]) {
        if ((await readFile(this.auditFile(worker), 'utf8')).includes(requestId)) return worker;
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}
