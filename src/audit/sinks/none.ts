import type { Opening, Sink } from './sink.ts';

/** For a configuration without sinks: the lines are made all the same, for those who listen to them live. */
export class NoSink implements Sink {
  readonly name = 'none';
  readonly durable = false;
  #opening: Opening | null = { cause: 'started', file: 'new' };

  async prepare(): Promise<Opening | null> {
    return this.#opening;
  }

  async append(): Promise<void> {
    this.#opening = null;
  }

  async reopen(): Promise<void> {}

  async close(): Promise<void> {}
}
