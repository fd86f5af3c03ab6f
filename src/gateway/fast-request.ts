import type { IncomingHttpHeaders } from 'node:http';
import type { Socket } from 'node:net';
import type { ClientRequest } from './client-message.ts';
import { type LastSection, type ReadSection, SectionMemo } from './header-section.ts';
import { splitFields } from './message-text.ts';

/** Longest head that is looked at, bytes. */
const LONGEST_HEAD = 16 * 1024;

/**
 * RFC 9112 §3 and §5: origin form, visible ASCII, CRLF only, no folded lines, no white space before a colon, no control
 * characters. Each class ends where the next character is none of it, so there is nothing to go back for.
 */
const HEAD =
  /^(GET|HEAD|DELETE) (\/[\x21-\x7e]*) HTTP\/1\.1\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n)+)\r\n$/;

/** The first line of `HEAD`. */
const REQUEST_LINE = /^(GET|HEAD|DELETE) (\/[\x21-\x7e]*) HTTP\/1\.1\r\n$/;

/** A request without a body whose head has come whole and in one piece. */
export class FastRequest implements ClientRequest {
  readonly httpVersion = '1.1';
  readonly complete = true;
  readonly method: string;
  readonly url: string;
  readonly rawHeaders: readonly string[];
  readonly memo: SectionMemo;
  readonly socket: Socket;
  /** The client wants the connection to end with the answer. */
  readonly last: boolean;

  constructor(socket: Socket, method: string, url: string, { rawHeaders, memo, last }: ReadSection) {
    this.socket = socket;
    this.method = method;
    this.url = url;
    this.rawHeaders = rawHeaders;
    this.memo = memo;
    this.last = last;
  }

  /** In lower case, those that come twice joined (RFC 9110 §5.3). Rarely asked for. */
  get headers(): IncomingHttpHeaders {
    const headers: Record<string, string> = Object.create(null);
    for (let i = 0; i < this.rawHeaders.length; i += 2) {
      const name = (this.rawHeaders[i] ?? '').toLowerCase();
      const value = this.rawHeaders[i + 1] ?? '';
      headers[name] = name in headers ? `${headers[name]}, ${value}` : value;
    }
    return headers;
  }

  resume(): void {
    // There is no body to take in.
  }
}

/**
 * Null for whatever is not a request of the simplest kind: then node's parser, which knows them all, has to say what it
 * is. So nothing is refused here, and what is taken has one reading, the same as there. `before` is of this connection.
 */
export function readFastRequest(
  bytes: Buffer,
  socket: Socket,
  longest: number,
  before: LastSection,
): FastRequest | null {
  if (bytes.length > LONGEST_HEAD || bytes.length > longest) return null;
  const { read } = before;
  const start = before.startIn(bytes);
  if (read !== null && start > 0) {
    const line = REQUEST_LINE.exec(bytes.toString('latin1', 0, start));
    const [, method = '', target = ''] = line ?? [];
    if (line !== null) return isPlain(target) ? new FastRequest(socket, method, target, read) : null;
  }
  const match = HEAD.exec(bytes.toString('latin1'));
  if (match === null) return null;
  const [, method = '', target = '', fieldSection = ''] = match;
  if (!isPlain(target)) return null;
  const fields = splitFields(fieldSection, 0);
  let last = false;
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i] ?? '';
    // Told apart by their lengths first: this is done for every field of every request.
    switch (name.length) {
      case 6:
      case 7:
      case 14:
      case 16:
      case 17:
        if (NOT_SIMPLE.has(name.toLowerCase())) return null;
        break;
      case 10: {
        if (name.toLowerCase() !== 'connection') break;
        const option = (fields[i + 1] ?? '').toLowerCase();
        if (option !== 'keep-alive' && option !== 'close') return null;
        last ||= option === 'close';
        break;
      }
      default:
        break;
    }
  }
  const section: ReadSection = { rawHeaders: fields, last, memo: new SectionMemo() };
  // Behind the blank line nothing follows, and the section has its own length and that line's.
  before.replace(bytes, bytes.length - fieldSection.length - 2, section);
  return new FastRequest(socket, method, target, section);
}

/** Not one of the gateway's own paths, and none of the forms of a path that need a second look. */
function isPlain(target: string): boolean {
  return !target.startsWith('/.');
}

/** Fields of requests with bodies, of offers to leave HTTP/1.1, of expectations, and another that node takes for `Connection`. */
const NOT_SIMPLE: ReadonlySet<string> = new Set([
  'content-length',
  'transfer-encoding',
  'expect',
  'upgrade',
  'trailer',
  'proxy-connection',
]);
