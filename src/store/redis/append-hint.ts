import type { Cluster, Redis } from 'ioredis';

/**
 * Hears of appended entries by publish/subscribe on a connection of its own, which comes back by itself. What it
 * misses costs time only: the replica looks by itself several times per lease.
 */
export class AppendHint {
  readonly #channel: string;
  readonly #connect: () => Redis | Cluster;
  readonly #wakes = new Set<() => void>();
  #client: Redis | Cluster | null = null;

  constructor(connect: () => Redis | Cluster, channel: string) {
    this.#connect = connect;
    this.#channel = channel;
  }

  onAppend(wake: () => void): () => Promise<void> {
    this.#wakes.add(wake);
    this.#listen();
    return async () => {
      this.#wakes.delete(wake);
      if (this.#wakes.size === 0) this.close();
    };
  }

  close(): void {
    this.#client?.disconnect();
    this.#client = null;
  }

  #listen(): void {
    if (this.#client !== null) return;
    const client = this.#connect();
    this.#client = client;
    // Whether Redis can be reached is for the store's own connection to say.
    client.on('error', () => undefined);
    client.on('message', () => {
      for (const wake of this.#wakes) wake();
    });
    // After a gap there may be news that nobody told.
    client.on('ready', () => {
      client.subscribe(this.#channel).then(
        () => {
          for (const wake of this.#wakes) wake();
        },
        () => undefined,
      );
    });
    client.connect().catch(() => undefined);
  }
}
