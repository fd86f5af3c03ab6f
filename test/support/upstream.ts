import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';

/** A request as an upstream saw it. */
export interface SeenRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly rawHeaders: readonly string[];
  readonly body: Buffer;
}

export type UpstreamHandler = (request: IncomingMessage, response: ServerResponse, body: Buffer) => void;

/** A real HTTP server that remembers what it was asked. Without a handler it answers 200 `{"ok":true}`. */
export class TestUpstream {
  readonly seen: SeenRequest[] = [];
  readonly server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server) {
    this.server = server;
    server.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
    });
  }

  /** `collect` false: the handler reads the body itself. */
  static async start(
    handler: UpstreamHandler | null = null,
    options: { collect?: boolean; onUpgrade?: (request: IncomingMessage, socket: Duplex, head: Buffer) => void } = {},
  ): Promise<TestUpstream> {
    const server = createServer();
    const upstream = new TestUpstream(server);
    server.on('request', (request, response) => {
      const chunks: Buffer[] = [];
      const finish = (): void => {
        const body = Buffer.concat(chunks);
        upstream.seen.push({
          method: request.method ?? '',
          url: request.url ?? '',
          headers: request.headers,
          rawHeaders: request.rawHeaders,
          body,
        });
        if (handler === null) {
          response.writeHead(200, { 'content-type': 'application/json' });
          response.end('{"ok":true}');
        } else handler(request, response, body);
      };
      if (options.collect === false) {
        finish();
        return;
      }
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', finish);
    });
    if (options.onUpgrade !== undefined) server.on('upgrade', options.onUpgrade);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return upstream;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  get connections(): number {
    return this.#sockets.size;
  }

  /** Cuts every connection off, as a process that dies does. */
  cutConnections(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    for (const socket of this.#sockets) socket.destroy();
    if (this.server.listening) await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }
}
