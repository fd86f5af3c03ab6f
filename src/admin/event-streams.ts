import type { ServerResponse } from 'node:http';
import type { AuditLog } from '../audit/audit-log.ts';
import type { Logger } from '../metrics/log.ts';

/** Clients that may follow the events at the same time. */
const MAX_STREAMS = 64;
/** Bytes that may wait for one client; beyond, events are left out and counted. */
const MAX_BUFFERED_BYTES = 1024 * 1024;
/** A comment keeps proxies from closing an idle stream, and is when the token is looked at again, say for its expiry. */
const HEARTBEAT_MS = 15_000;
/** How long a client may take to read the rest of an ended stream. */
const END_GRACE_MS = 1000;

export interface StreamOwner {
  readonly tokenId: string;
  /** False as soon as the token no longer allows the stream; asked at its beginning, at changes and heartbeats. */
  stillAllowed(): Promise<boolean>;
  /** Whether this process may vouch for the token at this very moment; asked before anything is written. */
  vouchedFor(): boolean;
}

/** The open `GET /v1/events` (server-sent events, WHATWG HTML §9.2) of one listener. */
export class EventStreams {
  readonly #audit: AuditLog;
  readonly #log: Logger;
  readonly #heartbeatMs: number;
  readonly #open = new Map<() => void, StreamOwner>();
  #closed = false;

  constructor(audit: AuditLog, log: Logger, heartbeatMs: number = HEARTBEAT_MS) {
    this.#audit = audit;
    this.#log = log;
    this.#heartbeatMs = heartbeatMs;
  }

  get full(): boolean {
    return this.#closed || this.#open.size >= MAX_STREAMS;
  }

  /** Writes events to `response` until the client leaves, the token ends or the listener closes. */
  start(response: ServerResponse, owner: StreamOwner): void {
    let missed = 0;
    const send = (text: string): void => {
      if (!owner.vouchedFor()) {
        end();
        return;
      }
      if (response.writableLength > MAX_BUFFERED_BYTES) {
        missed += 1;
        return;
      }
      if (missed > 0) response.write(`event: missed\ndata: {"count":${missed}}\n\n`);
      missed = 0;
      response.write(text);
    };
    let unsubscribe: (() => void) | null = null;
    let heartbeat: NodeJS.Timeout | undefined;
    const begin = (): void => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      send(': connected\n\n');
      if (!this.#open.has(end)) return;
      unsubscribe = this.#audit.subscribe(
        (line) => send(`event: audit\ndata: ${line.trimEnd()}\n\n`),
        (count) => {
          missed += count;
        },
      );
      heartbeat = setInterval(() => {
        send(': still here\n\n');
        void this.#recheck(owner).then((allowed) => allowed || end());
      }, this.#heartbeatMs).unref();
    };
    const end = (): void => {
      if (!this.#open.delete(end)) return;
      clearInterval(heartbeat);
      unsubscribe?.();
      if (response.headersSent) response.end();
      else response.destroy();
      // A client that does not read would hold an orderly end for ever.
      setTimeout(() => response.destroy(), END_GRACE_MS).unref();
    };
    this.#open.set(end, owner);
    response.on('close', end);
    response.on('error', end);
    // Between the look at the token that let the call in and the stream's being found here, the token may have ended.
    void this.#recheck(owner).then((allowed) => {
      if (this.#open.has(end)) (allowed ? begin : end)();
    });
  }

  /** Ends the streams of a revoked token, at once; returns how many. */
  closeToken(tokenId: string): number {
    const ends = [...this.#open].filter(([, owner]) => owner.tokenId === tokenId).map(([end]) => end);
    for (const end of ends) end();
    return ends.length;
  }

  /** Looks again at the tokens whose records have changed (null: any may have); returns how many streams had to end. */
  async review(tokenId: string | null): Promise<number> {
    let ended = 0;
    const concerned = [...this.#open].filter(([, owner]) => tokenId === null || owner.tokenId === tokenId);
    await Promise.all(
      concerned.map(async ([end, owner]) => {
        if ((await this.#recheck(owner)) || !this.#open.has(end)) return;
        ended += 1;
        end();
      }),
    );
    return ended;
  }

  /** Ends every stream: nobody can vouch for their tokens. */
  closeAll(): void {
    for (const end of this.#open.keys()) end();
  }

  /** Ends every stream and refuses new ones. */
  close(): void {
    this.#closed = true;
    this.closeAll();
  }

  async #recheck(owner: StreamOwner): Promise<boolean> {
    try {
      return await owner.stillAllowed();
    } catch (error) {
      this.#log.warn({ err: error }, 'closing an event stream: its token could not be checked again');
      return false;
    }
  }
}
