import type { Clock } from '../base/clock.ts';
import { AnswerHeads } from './answer-heads.ts';
import type { UpstreamCall, UpstreamHandler, UpstreamRequest } from './upstream-call.ts';
import {
  type ConnectionOwner,
  type UpstreamAddress,
  UpstreamConnection,
  type UpstreamTimeouts,
} from './upstream-connection.ts';
import { UpstreamFull } from './upstream-failure.ts';
import { requestHead } from './upstream-request-head.ts';

const READ_BYTES = 64 * 1024;
/** Between two looks at what is past its time, milliseconds. */
const LONGEST_TICK_MS = 500;
const SHORTEST_TICK_MS = 10;

const NO_CALL: UpstreamCall = { pause: () => undefined, resume: () => undefined, abort: () => undefined };

export interface UpstreamPoolOptions {
  readonly url: URL;
  readonly timeouts: UpstreamTimeouts;
  readonly maxConnections: number;
  readonly clock: Pick<Clock, 'monotonic'>;
}

/**
 * The connections to one upstream. The one used last is used next, so that those too many come to be idle and end. A
 * request is sent once: nobody knows what became of one whose connection died (RFC 9110 §9.2.2).
 */
export class UpstreamPool implements ConnectionOwner {
  readonly address: UpstreamAddress;
  readonly timeouts: UpstreamTimeouts;
  readonly buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  readonly heads = new AnswerHeads();
  readonly #options: UpstreamPoolOptions;
  readonly #all = new Set<UpstreamConnection>();
  readonly #idle: UpstreamConnection[] = [];
  #timer: NodeJS.Timeout | null = null;
  #whenEmpty: (() => void) | null = null;

  constructor(options: UpstreamPoolOptions) {
    const { url } = options;
    const encrypted = url.protocol === 'https:';
    const host = url.hostname.startsWith('[') ? url.hostname.slice(1, -1) : url.hostname;
    this.#options = options;
    this.timeouts = options.timeouts;
    this.address = {
      host,
      port: url.port === '' ? (encrypted ? 443 : 80) : Number(url.port),
      tlsName: encrypted ? host : null,
    };
  }

  /** Throws RequestUnwritable; every other failure is told to the handler, before this returns where there is no place. */
  dispatch(request: UpstreamRequest, handler: UpstreamHandler): UpstreamCall {
    const head = requestHead(request);
    for (let connection = this.#idle.pop(); connection !== undefined; connection = this.#idle.pop()) {
      if (connection.usable) return connection.send(request, head, handler);
    }
    if (this.#all.size >= this.#options.maxConnections) {
      handler.onFailure(new UpstreamFull());
      return NO_CALL;
    }
    const connection = new UpstreamConnection(this);
    this.#all.add(connection);
    this.#timer ??= this.#startChecking();
    return connection.send(request, head, handler);
  }

  idle(connection: UpstreamConnection): void {
    this.#idle.push(connection);
  }

  gone(connection: UpstreamConnection): void {
    this.#all.delete(connection);
    const position = this.#idle.indexOf(connection);
    if (position >= 0) this.#idle.splice(position, 1);
    if (this.#all.size > 0) return;
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
    this.#whenEmpty?.();
  }

  /** Ends every connection; what is still under way fails. Resolves when all are gone. */
  async close(): Promise<void> {
    if (this.#all.size === 0) return;
    const empty = new Promise<void>((resolve) => {
      this.#whenEmpty = resolve;
    });
    for (const connection of [...this.#all]) connection.destroy();
    await empty;
  }

  /** One timer for all connections. */
  #startChecking(): NodeJS.Timeout {
    const { connectMs, responseMs } = this.timeouts;
    const tick = Math.min(LONGEST_TICK_MS, Math.max(SHORTEST_TICK_MS, Math.min(connectMs, responseMs) / 8));
    const timer = setInterval(() => {
      const moment = this.#options.clock.monotonic();
      for (const connection of this.#all) connection.check(moment, tick);
    }, tick);
    timer.unref();
    return timer;
  }
}
