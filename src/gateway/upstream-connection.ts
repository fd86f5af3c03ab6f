import { connect as connectTcp, isIP, type OnReadOpts, type Socket } from 'node:net';
import { connect as connectTls, type ConnectionOptions as TlsOptions } from 'node:tls';
import type { AnswerHead, AnswerHeads } from './answer-heads.ts';
import { AnswerReader, type AnswerSink } from './answer-reader.ts';
import { BodyUpload } from './body-upload.ts';
import type { UpstreamCall, UpstreamHandler, UpstreamRequest } from './upstream-call.ts';
import { UpstreamInvalid, UpstreamLost, UpstreamTimeout } from './upstream-failure.ts';

/** Where the connections of a pool lead. */
export interface UpstreamAddress {
  readonly host: string;
  readonly port: number;
  /** Name in the certificate; null: no TLS. */
  readonly tlsName: string | null;
}

/** Durations in milliseconds. */
export interface UpstreamTimeouts {
  readonly connectMs: number;
  /** From the last byte of the request to the head of its answer. */
  readonly responseMs: number;
}

/** What a pool hears of its connections. */
export interface ConnectionOwner {
  readonly address: UpstreamAddress;
  readonly timeouts: UpstreamTimeouts;
  /** One buffer for what all connections read: what is read has been dealt with before the next read. */
  readonly buffer: Buffer;
  /** What answers of this upstream have begun with. */
  readonly heads: AnswerHeads;
  /** A request is over and another may follow. */
  idle(connection: UpstreamConnection): void;
  /** It has ended. Exactly once. */
  gone(connection: UpstreamConnection): void;
}

/** How long a connection is kept for the next request when the upstream does not say, milliseconds. */
const DEFAULT_IDLE_MS = 4_000;
/** So much earlier than the upstream says: what is on its way when it closes would be lost. */
const IDLE_MARGIN_MS = 1_000;
const LONGEST_IDLE_MS = 60_000;

const NOT_SEEN = -1;

/** One connection to an upstream, for one request at a time: a slow answer holds up nobody else's. */
export class UpstreamConnection implements AnswerSink {
  readonly #owner: ConnectionOwner;
  readonly #socket: Socket;
  readonly #reader: AnswerReader;
  #call: Call | null = null;
  #upload: BodyUpload | null = null;
  #connected = false;
  #gone = false;
  #failure: Error | null = null;
  #answering = false;
  #pausedByClient = false;
  /**
   * Since when it waits for what comes next: the first check after it began to, monotonic milliseconds. No clock is read
   * for a request, and no request ends before its time.
   */
  #since = NOT_SEEN;
  #idleMs = DEFAULT_IDLE_MS;

  constructor(owner: ConnectionOwner) {
    this.#owner = owner;
    this.#reader = new AnswerReader(owner.heads);
    this.#socket = open(owner.address, {
      buffer: owner.buffer,
      callback: (count) => this.#onRead(count),
    });
    const connected = owner.address.tlsName === null ? 'connect' : 'secureConnect';
    this.#socket.once(connected, () => this.#onConnect());
    this.#socket.on('drain', () => this.#onDrain());
    this.#socket.on('error', (error: Error) => this.#fail(error));
    this.#socket.on('end', () => this.#onEnd());
    this.#socket.on('close', () => this.#onClose());
  }

  /** Whether another request may be sent on it now. */
  get usable(): boolean {
    return !this.#gone && this.#call === null && this.#socket.writable && !this.#socket.readableEnded;
  }

  /** Sends a request. Only on a connection that is `usable`, or new. */
  send(request: UpstreamRequest, head: string, handler: UpstreamHandler): UpstreamCall {
    const call = new Call(this, handler);
    this.#call = call;
    this.#answering = false;
    this.#since = NOT_SEEN;
    this.#reader.expect(this, request.method === 'HEAD');
    this.#socket.write(head, 'latin1');
    if (request.body !== null) {
      this.#upload = new BodyUpload(this.#socket, request.body, request.chunked, {
        onProgress: () => {
          this.#since = NOT_SEEN;
        },
        onFailure: (error) => this.#fail(error),
      });
      if (this.#connected) this.#upload.start();
    }
    return call;
  }

  /** Called every `tickMs`: ends what is past its time. */
  check(moment: number, tickMs: number): void {
    if (this.#since === NOT_SEEN) this.#since = moment;
    const waited = moment - this.#since;
    if (this.#call === null) {
      // Here late is what is wrong: it may have been idle since the last check, and must not be at the next one, when the
      // upstream may be closing it while a request is on its way.
      if (waited + 2 * tickMs > this.#idleMs) this.destroy();
    } else if (waited === 0) {
      // A request under way has all of its time from here on.
    } else if (!this.#connected) {
      if (waited >= this.#owner.timeouts.connectMs) this.#fail(new UpstreamTimeout('no connection'));
    } else if (this.#upload?.awaitsClient === true) {
      // The upstream has taken all that there is: the time that a client takes to send is not the upstream's.
      this.#since = NOT_SEEN;
    } else if (!this.#answering && waited >= this.#owner.timeouts.responseMs) {
      this.#fail(new UpstreamTimeout('no answer'));
    }
  }

  destroy(): void {
    this.#socket.destroy();
  }

  pause(call: Call): void {
    if (call !== this.#call || this.#pausedByClient) return;
    this.#pausedByClient = true;
    this.#socket.pause();
  }

  resume(call: Call): void {
    if (call !== this.#call || !this.#pausedByClient) return;
    this.#pausedByClient = false;
    this.#socket.resume();
  }

  abort(call: Call): void {
    if (call !== this.#call) return;
    this.#release();
    this.#socket.destroy();
  }

  onHead(head: AnswerHead): void {
    if (head.status >= 200) this.#answering = true;
    this.#call?.handler.onHead(head);
  }

  onBody(part: Buffer): void {
    this.#call?.handler.onBody(part);
  }

  onWholeBody(body: string): void {
    this.#call?.handler.onWholeBody(body);
  }

  onEnd(trailers: readonly string[]): void {
    const call = this.#call;
    const uploaded = this.#upload === null || this.#upload.complete;
    this.#idleMs = idleTime(this.#reader.idleMs);
    const again = this.#reader.keepAlive && uploaded && this.#idleMs > 0;
    this.#release();
    this.#since = NOT_SEEN;
    try {
      call?.handler.onEnd(trailers);
    } catch (error) {
      call?.handler.onFailure(error instanceof Error ? error : new UpstreamInvalid('something odd'));
    }
    // What has come behind the answer is noticed before the connection is used again.
    if (!again) this.#socket.destroy();
    else if (!this.#gone) this.#owner.idle(this);
  }

  #onRead(count: number): boolean {
    try {
      this.#reader.read(this.#owner.buffer.subarray(0, count));
    } catch (error) {
      this.#fail(error instanceof Error ? error : new UpstreamInvalid('something odd'));
    }
    return !this.#pausedByClient;
  }

  #onConnect(): void {
    this.#connected = true;
    this.#since = NOT_SEEN;
    this.#upload?.start();
  }

  #onDrain(): void {
    this.#since = NOT_SEEN;
    this.#upload?.resume();
  }

  #onEnd(): void {
    if (!this.#reader.end()) this.#fail(new UpstreamLost());
    this.#socket.destroy();
  }

  #onClose(): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#owner.gone(this);
    if (this.#call !== null) this.#fail(this.#failure ?? new UpstreamLost());
  }

  #fail(error: Error): void {
    const call = this.#call;
    this.#failure ??= error;
    this.#release();
    this.#socket.destroy();
    call?.handler.onFailure(error);
  }

  /** The request under way is none any more. */
  #release(): void {
    const upload = this.#upload;
    this.#call = null;
    this.#upload = null;
    this.#reader.stop();
    if (this.#pausedByClient) {
      this.#pausedByClient = false;
      this.#socket.resume();
    }
    upload?.stop();
  }
}

class Call implements UpstreamCall {
  readonly #connection: UpstreamConnection;
  readonly handler: UpstreamHandler;

  constructor(connection: UpstreamConnection, handler: UpstreamHandler) {
    this.#connection = connection;
    this.handler = handler;
  }

  pause(): void {
    this.#connection.pause(this);
  }

  resume(): void {
    this.#connection.resume(this);
  }

  abort(): void {
    this.#connection.abort(this);
  }
}

function open({ host, port, tlsName }: UpstreamAddress, onread: OnReadOpts): Socket {
  if (tlsName === null) return connectTcp({ host, port, noDelay: true, keepAlive: true, onread });
  const options: TlsOptions & { readonly onread: OnReadOpts } = {
    host,
    port,
    // RFC 6066 §3: no address stands in a server name.
    ...(isIP(tlsName) === 0 ? { servername: tlsName } : {}),
    ALPNProtocols: ['http/1.1'],
    onread,
  };
  return connectTls(options).setNoDelay(true);
}

function idleTime(said: number | null): number {
  return said === null ? DEFAULT_IDLE_MS : Math.min(said - IDLE_MARGIN_MS, LONGEST_IDLE_MS);
}
