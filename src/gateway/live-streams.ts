import type { Metrics } from '../metrics/metrics.ts';
import type { Exchange } from './exchange.ts';

/** A request whose answer is still open, and the way to end it. */
export interface LiveStream {
  readonly exchange: Exchange;
  close(): void;
}

/** The open WebSockets and event streams of this process, by token. */
export class LiveStreams {
  readonly #byToken = new Map<string, Set<LiveStream>>();
  readonly #metrics: Metrics;

  constructor(metrics: Metrics) {
    this.#metrics = metrics;
  }

  open(stream: LiveStream): void {
    const key = stream.exchange.tokenId ?? '';
    const streams = this.#byToken.get(key);
    if (streams === undefined) this.#byToken.set(key, new Set([stream]));
    else streams.add(stream);
    this.#metrics.streamsOpen(stream.exchange.api?.name ?? '-', 1);
  }

  /** Called exactly once per opened stream, when it has ended by itself or was closed. */
  ended(stream: LiveStream): void {
    const key = stream.exchange.tokenId ?? '';
    const streams = this.#byToken.get(key);
    if (streams?.delete(stream) !== true) return;
    if (streams.size === 0) this.#byToken.delete(key);
    this.#metrics.streamsOpen(stream.exchange.api?.name ?? '-', -1);
  }

  /** Closes the open streams of one token; returns how many. */
  closeToken(tokenId: string): number {
    return this.#close([...(this.#byToken.get(tokenId) ?? [])]);
  }

  closeAll(): number {
    return this.#close([...this.#byToken.values()].flatMap((streams) => [...streams]));
  }

  #close(streams: readonly LiveStream[]): number {
    for (const stream of streams) stream.close();
    return streams.length;
  }
}
