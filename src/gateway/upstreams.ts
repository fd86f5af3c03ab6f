import { Pool } from 'undici';
import type { Clock } from '../base/clock.ts';
import type { UpstreamOptions } from './options.ts';
import { UpstreamPool } from './upstream-pool.ts';

/** One upstream with its connections. */
export interface Upstream {
  readonly options: UpstreamOptions;
  readonly pool: UpstreamPool;
  /** Carries the handshakes of WebSockets; each takes its connection with it. */
  readonly handshakes: Pool;
  /** Value of `Host` where the client's is not kept. */
  readonly host: string;
  /** Path of the upstream's URL without its trailing slash. */
  readonly prefix: string;
}

/** The largest header section of an answer to a handshake that is read, bytes; more is `upstream_invalid`. */
const MAX_ANSWER_HEADER_BYTES = 64 * 1024;

/** The connection pools, one for each upstream of the configuration. */
export class Upstreams {
  readonly #byName = new Map<string, Upstream>();

  constructor(options: ReadonlyMap<string, UpstreamOptions>, maxConnections: number, clock: Clock) {
    for (const [name, upstream] of options) {
      const { url, connectTimeoutMs, responseTimeoutMs } = upstream;
      const pool = new UpstreamPool({
        url,
        timeouts: { connectMs: connectTimeoutMs, responseMs: responseTimeoutMs },
        maxConnections,
        clock,
      });
      const handshakes = new Pool(url.origin, {
        connections: maxConnections,
        pipelining: 1,
        allowH2: false,
        connect: { timeout: connectTimeoutMs },
        headersTimeout: responseTimeoutMs,
        // The answer of an upstream that refuses may be silent for as long as it likes; its client decides.
        bodyTimeout: 0,
        maxHeaderSize: MAX_ANSWER_HEADER_BYTES,
      });
      const prefix = url.pathname.replace(/\/$/, '');
      this.#byName.set(name, { options: upstream, pool, handshakes, host: url.host, prefix });
    }
  }

  get(name: string): Upstream | null {
    return this.#byName.get(name) ?? null;
  }

  /** Ends every connection; what is still under way fails. */
  async close(): Promise<void> {
    await Promise.all([...this.#byName.values()].flatMap((each) => [each.pool.close(), each.handshakes.destroy()]));
  }
}
