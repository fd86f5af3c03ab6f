import type { Metrics } from '../metrics/metrics.ts';
import type { Reason } from '../model/reason.ts';
import type { Exchange } from './exchange.ts';

/** A request whose answer is still open, and the way to end it. */
export interface LiveStream {
  readonly exchange: Exchange;
  close(): void;
}

/** Revoked tokens that are remembered; older ones have long no request left that began before its revocation. */
const MAX_REVOKED = 10_000;

/**
 * The open answers of this process, by token: all that are too large or too long to be written at once. Those without
 * an end of their own (`exchange.streaming`: WebSockets and event streams) are counted, and closed by a drain.
 */
export class LiveStreams {
  readonly #byToken = new Map<string, Set<LiveStream>>();
  /** Tokens whose streams were closed: a request that was let in before may open its stream only now. */
  readonly #revoked = new Set<string>();
  readonly #metrics: Metrics;
  #draining = false;

  constructor(metrics: Metrics) {
    this.#metrics = metrics;
  }

  /** Why the stream must not open after all: things have changed since the request was let in. Null when it is open. */
  open(stream: LiveStream): Reason | null {
    const { tokenId, streaming, api } = stream.exchange;
    const key = tokenId ?? '';
    if (this.#revoked.has(key)) return 'token_revoked';
    if (this.#draining && streaming) return 'draining';
    const streams = this.#byToken.get(key);
    if (streams === undefined) this.#byToken.set(key, new Set([stream]));
    else streams.add(stream);
    if (streaming) this.#metrics.streamsOpen(api?.name ?? '-', 1);
    return null;
  }

  /** Called when a stream has ended by itself or was closed; of one that never opened, nothing is known. */
  ended(stream: LiveStream): void {
    const { tokenId, streaming, api } = stream.exchange;
    const key = tokenId ?? '';
    const streams = this.#byToken.get(key);
    if (streams?.delete(stream) !== true) return;
    if (streams.size === 0) this.#byToken.delete(key);
    if (streaming) this.#metrics.streamsOpen(api?.name ?? '-', -1);
  }

  /** Closes the open streams of a revoked token, now and from now on; returns how many were open. */
  closeToken(tokenId: string): number {
    this.#revoked.delete(tokenId);
    this.#revoked.add(tokenId);
    if (this.#revoked.size > MAX_REVOKED) {
      const [oldest = ''] = this.#revoked;
      this.#revoked.delete(oldest);
    }
    return this.#close([...(this.#byToken.get(tokenId) ?? [])]);
  }

  /** Closes what would not end by itself, and lets nothing of the kind open any more. */
  drain(): number {
    this.#draining = true;
    const all = [...this.#byToken.values()].flatMap((streams) => [...streams]);
    return this.#close(all.filter(({ exchange }) => exchange.streaming));
  }

  #close(streams: readonly LiveStream[]): number {
    for (const stream of streams) stream.close();
    return streams.length;
  }
}
