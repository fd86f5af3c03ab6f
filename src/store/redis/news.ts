import type { Cluster, Redis } from 'ioredis';
import type { LogEntry, LogListener } from '../change-log.ts';

export interface NewsChannels {
  readonly appended: string;
  readonly reported: string;
}

/**
 * Hears of appended entries and of reports by publish/subscribe on a connection of its own, which comes back by itself.
 * What it misses, and what somebody makes up, costs time only: the log has the last word.
 */
export class News {
  readonly #channels: NewsChannels;
  readonly #connect: () => Redis | Cluster;
  readonly #listeners = new Set<LogListener>();
  #client: Redis | Cluster | null = null;

  constructor(connect: () => Redis | Cluster, channels: NewsChannels) {
    this.#connect = connect;
    this.#channels = channels;
  }

  listen(listener: LogListener): () => Promise<void> {
    this.#listeners.add(listener);
    this.#subscribe();
    return async () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) this.close();
    };
  }

  close(): void {
    this.#client?.disconnect();
    this.#client = null;
  }

  #subscribe(): void {
    if (this.#client !== null) return;
    const { appended, reported } = this.#channels;
    const client = this.#connect();
    this.#client = client;
    // Whether Redis can be reached is for the store's own connection to say.
    client.on('error', () => undefined);
    client.on('message', (channel: string, text: string) => {
      if (channel === appended) this.#tellAppended(entryOf(text));
      else for (const listener of this.#listeners) listener.reported(Number(text));
    });
    // After a gap there may be news that nobody told.
    client.on('ready', () => {
      client.subscribe(appended, reported).then(
        () => this.#tellAppended(null),
        () => undefined,
      );
    });
    client.connect().catch(() => undefined);
  }

  #tellAppended(entry: LogEntry | null): void {
    for (const listener of this.#listeners) listener.appended(entry);
  }
}

/** `<position> <kind> <id>`; null for anything else. */
function entryOf(text: string): LogEntry | null {
  const [, position, kind, id] = /^(\d+-\d+) (changed|revoked) (.*)$/s.exec(text) ?? [];
  if (position === undefined || id === undefined) return null;
  return { position, kind: kind === 'revoked' ? 'revoked' : 'changed', id };
}
