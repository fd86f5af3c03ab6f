import type { ServerResponse } from 'node:http';
import type { AuditLog } from '../audit/audit-log.ts';
import type { Logger } from '../metrics/log.ts';

/** Clients that may follow the events at the same time. */
const MAX_STREAMS = 64;
/** Bytes that may wait for one client; beyond, events are left out and counted. */
const MAX_BUFFERED_BYTES = 1024 * 1024;
/** A comment keeps proxies from closing an idle stream, and is when the token is looked at again. */
const HEARTBEAT_MS = 15_000;
/** How long a client may take to read the rest of an ended stream. */
const END_GRACE_MS = 1000;

export interface StreamOwner {
  readonly tokenId: string;
  /** False as soon as the token no longer allows the stream; asked at every heartbeat. */
  stillAllowed(): Promise<boolean>;
}

/** The open `GET /v1/events` (server-sent events, WHATWG HTML §9.2) of one listener. */
export class EventStreams {
  readonly #audit: AuditLog;
  readonly #log: Logger;
  readonly #heartbeatMs: number;
  readonly #open = new Set<() => void>();
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
      if (response.writableLength > MAX_BUFFERED_BYTES) {
        missed += 1;
        return;
      }
      if (missed > 0) response.write(`event: missed\ndata: {"count":${missed}}\n\n`);
      missed = 0;
      response.write(text);
    };
    const unsubscribe = this.#audit.subscribe((line) => {
      send(`event: audit\ndata: ${line.trimEnd()}\n\n`);
      if (line.includes(owner.tokenId) && endsToken(line, owner.tokenId)) end();
    });
    const heartbeat = setInterval(() => {
      send(': still here\n\n');
      this.#recheck(owner).then((allowed) => allowed || end(), end);
    }, this.#heartbeatMs).unref();
    const end = (): void => {
      if (!this.#open.delete(end)) return;
      clearInterval(heartbeat);
      unsubscribe();
      response.end();
      // A client that does not read would hold an orderly end for ever.
      setTimeout(() => response.destroy(), END_GRACE_MS).unref();
    };
    this.#open.add(end);
    response.on('close', end);
    response.on('error', end);
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    send(': connected\n\n');
  }

  /** Ends every stream and refuses new ones. */
  close(): void {
    this.#closed = true;
    for (const end of this.#open) end();
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

function endsToken(line: string, tokenId: string): boolean {
  const event: { type?: unknown; token_id?: unknown } = JSON.parse(line);
  return event.type === 'token.revoked' && event.token_id === tokenId;
}
