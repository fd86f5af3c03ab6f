import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { ClientResponse } from './client-message.ts';
import type { ResponseOwner } from './gateway-response.ts';
import { fieldLines, fitIntoLines } from './message-text.ts';
import type { ResponseHead } from './response-head.ts';

/** What a response needs of the connection that it stands on. */
export interface FastResponseOwner {
  readonly socket: Socket;
  /** Value of `Date` (RFC 9110 §6.6.1), of this second. */
  readonly date: string;
  /** The answer has been given to the system, or can no longer be given. */
  done(response: FastResponse): void;
}

/** An answer on a connection of its own, written as one latin1 text where it is small. In the sense of node's ServerResponse. */
export class FastResponse implements ClientResponse {
  readonly lingers = false;
  owner: ResponseOwner | null = null;
  turn: { next(): void } | null = null;
  headersSent = false;
  destroyed = false;
  writableEnded = false;
  writableFinished = false;
  chunkedEncoding = false;
  /** The connection ends with this answer. */
  last: boolean;
  readonly #connection: FastResponseOwner;
  readonly #toHead: boolean;
  /** The head, until it goes out together with the first part of the body. */
  #head = '';
  #bodiless = false;
  #trailers = '';

  constructor(connection: FastResponseOwner, toHead: boolean, last: boolean) {
    this.#connection = connection;
    this.#toHead = toHead;
    this.last = last;
  }

  writeContinue(): void {
    throw new TypeError('a request that expects an invitation is not a simple one');
  }

  writeInformation(status: number, fields: string[]): void {
    this.#connection.socket.write(headText(status, STATUS_CODES[status] ?? '', '', fields, ''), 'latin1');
  }

  /** Throws where a field would be read as anything but that field. */
  writeHead(status: number, reasonPhrase: string, fields: string[]): void {
    this.#begin(status, reasonPhrase, '', fields, false, true);
  }

  /** Throws where a field would be read as anything but that field. */
  relayHead(status: number, reasonPhrase: string, head: ResponseHead, own: string[]): void {
    head.lines ??= checkedLines(head.fields);
    this.#begin(status, reasonPhrase, head.lines, own, head.contentLength >= 0, !head.hasDate);
  }

  flushHeaders(): void {
    if (this.#head === '') return;
    this.#connection.socket.write(this.#head, 'latin1');
    this.#head = '';
  }

  write(part: Buffer, written?: (error?: Error | null) => void): boolean {
    const { socket } = this.#connection;
    if (this.destroyed) return true;
    if (this.#bodiless || part.length === 0) {
      written?.();
      return !socket.writableNeedDrain;
    }
    socket.cork();
    this.flushHeaders();
    if (this.chunkedEncoding) socket.write(`${part.length.toString(16)}\r\n`, 'latin1');
    socket.write(part, written);
    if (this.chunkedEncoding) socket.write('\r\n', 'latin1');
    socket.uncork();
    return !socket.writableNeedDrain;
  }

  addTrailers(trailers: [string, string][]): void {
    const fields = trailers.flat();
    if (!fitIntoLines(fields)) throw new TypeError('a trailer field that cannot be written');
    this.#trailers = fieldLines(fields);
  }

  finish(body = '', encoding: 'latin1' | 'utf8' = 'utf8'): void {
    if (this.writableEnded || this.destroyed) return;
    this.writableEnded = true;
    const { socket } = this.#connection;
    const content = this.#bodiless ? '' : body;
    if (this.chunkedEncoding) {
      if (content !== '') this.write(Buffer.from(content, encoding));
      socket.write(`${this.#head}0\r\n${this.#trailers}\r\n`, 'latin1');
    } else if (encoding === 'latin1' || isAscii(content)) {
      const text = this.#head + content;
      if (text !== '') socket.write(text, 'latin1');
    } else {
      socket.cork();
      this.flushHeaders();
      socket.write(content, 'utf8');
      socket.uncork();
    }
    this.#head = '';
    if (socket.writableLength === 0) this.#connection.done(this);
    // Behind all that waits. After an error the connection closes, and that is when this is over.
    else {
      socket.write('', (error) => {
        if (error === undefined || error === null) this.#connection.done(this);
      });
    }
  }

  /** `lines` are valid, and frame the body where `delimited`. */
  #begin(
    status: number,
    reasonPhrase: string,
    lines: string,
    fields: readonly string[],
    delimited: boolean,
    dated: boolean,
  ): void {
    let framed = delimited || status === 204 || status === 304 || this.#toHead;
    let saysLast = false;
    this.#bodiless = status === 204 || status === 304 || this.#toHead;
    for (let i = 0; i < fields.length; i += 2) {
      const name = fields[i] ?? '';
      if (name.length === 14 && name.toLowerCase() === 'content-length') framed = true;
      else if (name.length === 10 && name.toLowerCase() === 'connection') saysLast ||= fields[i + 1] === 'close';
    }
    this.last ||= saysLast;
    let more = dated ? `Date: ${this.#connection.date}\r\n` : '';
    if (!framed) more += 'Transfer-Encoding: chunked\r\n';
    if (!this.last) more += 'Connection: keep-alive\r\n';
    else if (!saysLast) more += 'Connection: close\r\n';
    this.#head = headText(status, reasonPhrase, lines, fields, more);
    this.chunkedEncoding = !framed;
    this.headersSent = true;
  }

  linger(): void {
    // Nothing of the request is still to come.
  }

  destroy(): void {
    this.#connection.socket.destroy();
  }
}

/** With its blank line. Throws where it would not be read as what it is made of. */
function headText(
  status: number,
  reasonPhrase: string,
  lines: string,
  fields: readonly string[],
  more: string,
): string {
  if (!fitIntoLines([reasonPhrase])) throw new TypeError('a reason phrase that cannot be written');
  return `HTTP/1.1 ${status} ${reasonPhrase}\r\n${lines}${checkedLines(fields)}${more}\r\n`;
}

/** Throws where a field would be read as anything but that field. */
function checkedLines(fields: readonly string[]): string {
  if (!fitIntoLines(fields)) throw new TypeError('a header field that cannot be written');
  return fieldLines(fields);
}

const NOT_ASCII = /[^\x00-\x7f]/;

function isAscii(text: string): boolean {
  return !NOT_ASCII.test(text);
}
