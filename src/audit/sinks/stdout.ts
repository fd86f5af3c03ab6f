import type { Writable } from 'node:stream';
import type { Opening, Sink } from './sink.ts';

/**
 * Lines to a stream, by default standard output. One write is under way at a time, and the next waits for it: a reader that is
 * slow makes the queue grow, which is bounded. When the reader is gone (EPIPE), every write fails.
 */
export class StdoutSink implements Sink {
  readonly name = 'stdout';
  readonly durable = false;
  readonly #stream: Writable;
  #opening: Opening | null = { cause: 'started', file: 'new' };
  #broken: Error | null = null;
  readonly #onError = (error: Error): void => {
    this.#broken = error;
  };

  constructor(stream: Writable) {
    this.#stream = stream;
    // Without a listener the error of a vanished reader would end the process.
    stream.on('error', this.#onError);
  }

  async prepare(): Promise<Opening | null> {
    if (this.#broken !== null) throw this.#broken;
    return this.#opening;
  }

  async append(data: Buffer): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#stream.write(data, (error) => {
        if (error === null || error === undefined) resolve();
        else reject(error);
      });
    });
    this.#opening = null;
  }

  async reopen(): Promise<void> {}

  async close(): Promise<void> {
    // The listener stays: the error of a write under way may arrive later, and the stream is not ours to end.
  }
}
