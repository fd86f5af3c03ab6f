import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { request } from 'undici';
import { WebSocket, WebSocketServer } from 'ws';
import { loadConfig } from '../../src/config/load.ts';
import { createTokenInStore } from '../../src/main/admin-token.ts';
import { writeGatewayFiles } from '../support/gateway.ts';
import { GatewayProgram } from '../support/gateway-program.ts';
import { TestUpstream } from '../support/upstream.ts';

const POLICY = `api: orders
upstream: orders
base: /orders
rules:
  - { name: read, methods: [GET], path: [/, "/{rest...}"], scopes: [orders:read] }
`;

export interface Revocation {
  readonly propagation: {
    readonly replicas: number;
    readonly acknowledged: number;
    readonly streams_closed: number;
    readonly elapsed_ms: number;
  };
}

const LATE_TIMERS = {
  NODE_OPTIONS: `--import ${pathToFileURL(resolve(import.meta.dirname, '../support/late-timers.ts'))}`,
};

/** What a client has open, and what it has received. */
export interface OpenStream {
  readonly received: readonly string[];
  readonly closed: Promise<unknown>;
}

/** Several `portcullis serve` processes, each with a folder and an audit file of its own, on one store. */
export class Fleet {
  readonly folder: string;
  readonly upstream: TestUpstream;
  readonly programs: GatewayProgram[] = [];
  adminToken = '';
  /** What has reached the upstream through WebSockets. */
  readonly heard: string[];
  readonly #followers: Set<ServerResponse>;
  readonly #sockets: WebSocketServer;
  readonly #config: Readonly<Record<string, string>>;

  private constructor(
    folder: string,
    upstream: TestUpstream,
    open: { sockets: WebSocketServer; followers: Set<ServerResponse>; heard: string[] },
    config: Readonly<Record<string, string>>,
  ) {
    this.#config = config;
    this.folder = folder;
    this.upstream = upstream;
    this.#sockets = open.sockets;
    this.#followers = open.followers;
    this.heard = open.heard;
  }

  /** `late`: the replica whose timers come after its sockets when it was stopped. `config`: more YAML, by top-level key. */
  static async start(
    stores: readonly string[],
    late = Number.NaN,
    config: Readonly<Record<string, string>> = {},
  ): Promise<Fleet> {
    const sockets = new WebSocketServer({ noServer: true });
    const followers = new Set<ServerResponse>();
    const heard: string[] = [];
    sockets.on('connection', (socket) => socket.on('message', (message) => heard.push(String(message))));
    const upstream = await TestUpstream.start(
      (incoming, response) => {
        if (incoming.url?.endsWith('/events') === true) {
          response.writeHead(200, { 'content-type': 'text/event-stream' });
          response.write('data: first\n\n');
          followers.add(response);
          response.on('close', () => followers.delete(response));
        } else if (incoming.url?.endsWith('/never') !== true) response.end('{"ok":true}');
      },
      {
        onUpgrade: (incoming, socket, head) =>
          sockets.handleUpgrade(incoming, socket, head, (joined) => sockets.emit('connection', joined)),
      },
    );
    const folder = await mkdtemp(join(tmpdir(), 'portcullis-fleet-'));
    const fleet = new Fleet(folder, upstream, { sockets, followers, heard }, config);
    const files = await Promise.all(stores.map((store, index) => fleet.#write(store, index)));
    const { config: loaded } = await loadConfig(files[0] ?? '', {});
    if (loaded === null) throw new Error('the configuration of the test is wrong');
    const admin = { name: 'admin', owner: 'tests', class: 'admin', scopes: ['*'], ttlMs: null };
    fleet.adminToken = (await createTokenInStore(loaded, admin)).token;
    fleet.programs.push(
      ...(await Promise.all(files.map((file, index) => GatewayProgram.start(file, index === late ? LATE_TIMERS : {})))),
    );
    return fleet;
  }

  /** One more replica. */
  async join(store: string): Promise<void> {
    this.programs.push(await GatewayProgram.start(await this.#write(store, this.programs.length)));
  }

  at(index: number): GatewayProgram {
    const program = this.programs[index];
    if (program === undefined) throw new Error(`there is no replica ${index}`);
    return program;
  }

  async issue(owner = 'tests'): Promise<{ readonly id: string; readonly token: string }> {
    const { text, status } = await this.admin(0, 'POST', '/v1/tokens', {
      name: 'test',
      owner,
      class: 'service',
      scopes: ['orders:read'],
    });
    if (status !== 201) throw new Error(`issue answered ${status}: ${text}`);
    return JSON.parse(text) as { id: string; token: string };
  }

  async revoke(id: string, at = 0): Promise<Revocation & { readonly tookMs: number }> {
    const began = performance.now();
    const { text, status } = await this.admin(at, 'POST', `/v1/tokens/${id}/revoke`, { reason: 'test' });
    if (status !== 200) throw new Error(`revoke answered ${status}: ${text}`);
    return { ...(JSON.parse(text) as Revocation), tookMs: performance.now() - began };
  }

  async admin(
    at: number,
    method: 'GET' | 'POST',
    path: string,
    body?: unknown,
  ): Promise<{ status: number; text: string }> {
    const { statusCode, body: answer } = await request(`${this.at(at).adminUrl}${path}`, {
      method,
      headers: { authorization: `Bearer ${this.adminToken}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return { status: statusCode, text: await answer.text() };
  }

  async status(at: number): Promise<{ lease: { valid: boolean; remaining_ms: number }; replicas: number }> {
    return JSON.parse((await this.admin(at, 'GET', '/v1/status')).text);
  }

  /** `200`, or `401 token_revoked`. */
  async call(at: number, token: string, path = '/orders'): Promise<string> {
    const { statusCode, body } = await request(`${this.at(at).trafficUrl}${path}`, {
      headers: { authorization: `Bearer ${token}` },
    });
    const text = await body.text();
    return statusCode === 200 ? '200' : `${statusCode} ${(JSON.parse(text) as { reason: string }).reason}`;
  }

  /** The upstream says something on everything that is open; it has left the upstream when that resolves. */
  async say(text: string): Promise<void> {
    await Promise.all([
      ...[...this.#followers].map(
        (response) => new Promise<void>((resolve) => response.write(`data: ${text}\n\n`, () => resolve())),
      ),
      ...[...this.#sockets.clients].map((socket) => new Promise<void>((resolve) => socket.send(text, () => resolve()))),
    ]);
  }

  async webSocket(
    at: number,
    token: string,
  ): Promise<OpenStream & { readonly socket: WebSocket; readonly closed: Promise<unknown[]> }> {
    const socket = new WebSocket(`${this.at(at).trafficUrl.replace('http', 'ws')}/orders/live`, {
      headers: { authorization: `Bearer ${token}` },
    });
    socket.on('error', () => undefined);
    const received: string[] = [];
    socket.on('message', (message) => received.push(String(message)));
    await once(socket, 'open');
    return { socket, received, closed: once(socket, 'close') };
  }

  async events(at: number, token: string): Promise<OpenStream> {
    const { body } = await request(`${this.at(at).trafficUrl}/orders/events`, {
      headers: { authorization: `Bearer ${token}` },
    });
    await once(body, 'readable');
    const received: string[] = [];
    const read = async (): Promise<string> => {
      try {
        for await (const part of body) received.push(String(part));
        return 'ended';
      } catch {
        return 'cut off';
      }
    };
    return { received, closed: read() };
  }

  async close(): Promise<void> {
    await Promise.all(
      this.programs.map((program) => {
        program.child.kill('SIGCONT');
        return program.signal('SIGKILL');
      }),
    );
    this.#sockets.close();
    await this.upstream.close();
    await rm(this.folder, { recursive: true, force: true });
  }

  async #write(store: string, index: number): Promise<string> {
    const folder = join(this.folder, String(index));
    await mkdir(folder);
    await writeGatewayFiles(folder, {
      upstreams: { orders: this.upstream.url },
      policies: { 'orders.yaml': POLICY },
      config: { store, ...this.#config },
    });
    return join(folder, 'portcullis.yaml');
  }
}

/** The states of other processes cannot be awaited as events: asked again until it is so. */
export async function eventually(isSo: () => Promise<boolean>, timeoutMs = 10_000): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await isSo())) {
    if (performance.now() > deadline) throw new Error(`it did not come to pass in ${timeoutMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
