import { Pool } from 'undici';
import type { UpstreamOptions } from './options.ts';

/** One upstream with its connections. */
export interface Upstream {
  readonly options: UpstreamOptions;
  readonly pool: Pool;
  /** Path of the upstream's URL without its trailing slash. */
  readonly prefix: string;
}

/** The largest header section of an answer that is read, bytes; more is `upstream_invalid`. */
const MAX_ANSWER_HEADER_BYTES = 64 * 1024;

/** The connection pools, one for each upstream of the configuration. */
export class Upstreams {
  readonly #byName = new Map<string, Upstream>();

  constructor(options: ReadonlyMap<string, UpstreamOptions>, maxConnections: number) {
    for (const [name, upstream] of options) {
      const pool = new Pool(upstream.url.origin, {
        connections: maxConnections,
        // One request at a time on a connection: a slow answer holds up nobody else's.
        pipelining: 1,
        allowH2: false,
        connect: { timeout: upstream.connectTimeoutMs },
        headersTimeout: upstream.responseTimeoutMs,
        // A stream may be silent for as long as it likes; its client decides.
        bodyTimeout: 0,
        maxHeaderSize: MAX_ANSWER_HEADER_BYTES,
      });
      this.#byName.set(name, { options: upstream, pool, prefix: upstream.url.pathname.replace(/\/$/, '') });
    }
  }

  get(name: string): Upstream | null {
    return this.#byName.get(name) ?? null;
  }

  /** Ends every connection; what is still under way fails. */
  async close(): Promise<void> {
    await Promise.all([...this.#byName.values()].map(({ pool }) => pool.destroy()));
  }
}
