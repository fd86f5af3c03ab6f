import { randomFillSync } from 'node:crypto';

const POOL_BYTES = 4096;

/** Ids for requests and traces, from a pool of random bytes: one system call serves many requests. */
export class IdSource {
  readonly #pool = Buffer.allocUnsafe(POOL_BYTES);
  #used = POOL_BYTES;

  /** 128 random bits in hexadecimal. Made here and never taken from a client. */
  requestId(): string {
    return this.#hex(16);
  }

  /** A `traceparent` that starts a trace (W3C Trace Context §3.2): sampled, with fresh ids. */
  traceparent(): string {
    const ids = this.#hex(24);
    return `00-${ids.slice(0, 32)}-${ids.slice(32)}-01`;
  }

  #hex(bytes: number): string {
    if (this.#used + bytes > POOL_BYTES) {
      randomFillSync(this.#pool);
      this.#used = 0;
    }
    this.#used += bytes;
    return this.#pool.toString('hex', this.#used - bytes, this.#used);
  }
}

/** Version 00 exactly (W3C Trace Context §3.2.2); an unknown version or all-zero ids start a new trace. */
export function isTraceparent(value: string): boolean {
  return (
    value.length === 55 &&
    /^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/.test(value) &&
    !value.startsWith('00-00000000000000000000000000000000') &&
    value.slice(36, 52) !== '0000000000000000'
  );
}

export function traceIdOf(traceparent: string): string {
  return traceparent.slice(3, 35);
}
