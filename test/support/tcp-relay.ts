import type { AddressInfo } from 'node:net';
import { connect, createServer, type Server, type Socket } from 'node:net';

/** Stands between a client and a server on loopback, and can hold back every byte without closing anything. */
export class TcpRelay {
  readonly #server: Server;
  #port: number;
  readonly #sockets = new Set<Socket>();
  #holding = false;
  /** Called with what the server answers; true holds this and everything after it. */
  #holdsFrom: ((bytes: string) => boolean) | null = null;
  #onHeld: (() => void) | null = null;

  private constructor(server: Server, port: number) {
    this.#server = server;
    this.#port = port;
    server.on('connection', (client) => this.#join(client));
  }

  static async start(port: number): Promise<TcpRelay> {
    const server = createServer();
    const relay = new TcpRelay(server, port);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return relay;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** New connections go to another server. */
  leadTo(port: number): void {
    this.#port = port;
  }

  /** Nothing passes in either direction; connections are taken and stay silent. */
  hold(): void {
    this.#holding = true;
    for (const socket of this.#sockets) socket.pause();
  }

  /** As `hold`, from the first answer of the server on that fits; resolves when it is held. */
  holdFrom(fits: (bytes: string) => boolean): Promise<void> {
    this.#holdsFrom = fits;
    return new Promise((resolve) => {
      this.#onHeld = resolve;
    });
  }

  release(): void {
    this.#holding = false;
    for (const socket of this.#sockets) {
      const held = this.#heldBytes.get(socket);
      if (held !== undefined) held();
      this.#heldBytes.delete(socket);
      socket.resume();
    }
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  readonly #heldBytes = new Map<Socket, () => void>();

  #join(client: Socket): void {
    const server = connect(this.#port, '127.0.0.1');
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      this.#sockets.add(from);
      from.on('data', (chunk) => {
        if (from === server && this.#holdsFrom?.(chunk.toString('latin1')) === true) {
          this.#holdsFrom = null;
          this.#heldBytes.set(server, () => to.write(chunk));
          this.hold();
          this.#onHeld?.();
          return;
        }
        to.write(chunk);
      });
      from.on('error', () => to.destroy());
      from.on('close', () => {
        this.#sockets.delete(from);
        to.destroy();
      });
      if (this.#holding) from.pause();
    }
  }
}
