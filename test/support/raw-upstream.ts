import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';

/** A request as its bytes say it, nothing repaired. */
export interface RawRequest {
  readonly method: string;
  readonly target: string;
  /** Names in lower case, values as they came. */
  readonly headers: readonly (readonly [string, string])[];
  readonly body: string;
}

/** What one connection has received: complete requests, and whatever does not follow RFC 9112 to the letter. */
export interface Received {
  readonly requests: readonly RawRequest[];
  readonly rest: string;
  readonly fault: string | null;
}

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/** Reads a stream of requests more strictly than any server does (RFC 9112); `text` holds bytes as latin1. */
export function readRequests(text: string): Received {
  const requests: RawRequest[] = [];
  let at = 0;
  while (at < text.length) {
    const end = text.indexOf('\r\n\r\n', at);
    if (end < 0) break;
    const [line = '', ...fields] = text.slice(at, end).split('\r\n');
    const start = /^(\S+) (\S+) HTTP\/1\.1$/.exec(line);
    if (start === null || !TOKEN.test(start[1] ?? '')) return { requests, rest: text.slice(at), fault: `line ${line}` };
    const headers: [string, string][] = [];
    for (const field of fields) {
      const parts = /^([^:]+):[ \t]*(.*?)[ \t]*$/s.exec(field);
      const name = parts?.[1] ?? '';
      if (!TOKEN.test(name) || /[\r\n\0]/.test(field))
        return { requests, rest: text.slice(at), fault: `field ${field}` };
      headers.push([name.toLowerCase(), parts?.[2] ?? '']);
    }
    const body = readBody(text, end + 4, headers);
    if (typeof body === 'string') return { requests, rest: text.slice(at), fault: body };
    if (body === null) break;
    requests.push({ method: start[1] ?? '', target: start[2] ?? '', headers, body: body.body });
    at = body.end;
  }
  return { requests, rest: text.slice(at), fault: null };
}

export function headersOf(request: RawRequest, name: string): string[] {
  return request.headers.filter(([known]) => known === name).map(([, value]) => value);
}

/** Null while incomplete; a text where the framing has more than one reading. */
function readBody(
  text: string,
  start: number,
  headers: readonly (readonly [string, string])[],
): { readonly body: string; readonly end: number } | string | null {
  const lengths = headers.filter(([name]) => name === 'content-length').map(([, value]) => value);
  const codings = headers.filter(([name]) => name === 'transfer-encoding').map(([, value]) => value);
  if (headers.filter(([name]) => name === 'host').length !== 1) return 'not one Host';
  if (lengths.length + codings.length === 0) return { body: '', end: start };
  if (lengths.length + codings.length > 1) return 'two framings';
  if (codings.length === 0) {
    if (!/^\d+$/.test(lengths[0] ?? '')) return `Content-Length ${lengths[0]}`;
    const end = start + Number(lengths[0]);
    return text.length < end ? null : { body: text.slice(start, end), end };
  }
  if (codings[0] !== 'chunked') return `Transfer-Encoding ${codings[0]}`;
  let body = '';
  for (let at = start; ; ) {
    const lineEnd = text.indexOf('\r\n', at);
    if (lineEnd < 0) return null;
    const size = text.slice(at, lineEnd);
    if (!/^[0-9A-Fa-f]+$/.test(size)) return `chunk size ${size}`;
    const data = lineEnd + 2;
    const length = Number.parseInt(size, 16);
    const after = data + length;
    if (text.length < after + 2) return null;
    if (text.slice(after, after + 2) !== '\r\n') return length === 0 ? 'a trailer' : 'a chunk without its end';
    if (length === 0) return { body, end: after + 2 };
    body += text.slice(data, after);
    at = after + 2;
  }
}

/**
 * An upstream that is no HTTP server: it keeps what it gets byte for byte, and answers each complete request with the
 * bytes that `answer` says (null: none).
 */
export class RawUpstream {
  readonly connections: { readonly socket: Socket; text: string }[] = [];
  readonly #server: Server;
  answer: (request: RawRequest, socket: Socket) => string | null;
  onConnection: (socket: Socket) => void = () => undefined;
  /** Answers a request that is not complete yet, once its body has begun; null: waits for the rest. */
  answerPartial: (() => string) | null = null;

  private constructor(server: Server, answer: (request: RawRequest, socket: Socket) => string | null) {
    this.#server = server;
    this.answer = answer;
  }

  static async start(
    answer: (request: RawRequest, socket: Socket) => string | null = ({ method }) =>
      `HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n${method === 'HEAD' ? '' : 'ok'}`,
  ): Promise<RawUpstream> {
    const server = createServer({ allowHalfOpen: true });
    const upstream = new RawUpstream(server, answer);
    server.on('connection', (socket) => upstream.#receive(socket));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return upstream;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  get received(): Received[] {
    return this.connections.map(({ text }) => readRequests(text));
  }

  get requests(): RawRequest[] {
    return this.received.flatMap(({ requests }) => requests);
  }

  /** Forgets what has been received; connections stay open. */
  forget(): void {
    for (const connection of this.connections) connection.text = '';
  }

  async close(): Promise<void> {
    for (const { socket } of this.connections) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #receive(socket: Socket): void {
    const connection = { socket, text: '' };
    this.connections.push(connection);
    let answered = 0;
    socket.on('error', () => socket.destroy());
    socket.on('end', () => socket.end());
    socket.on('data', (chunk) => {
      if (connection.text === '') answered = 0;
      connection.text += chunk.toString('latin1');
      const { requests, rest } = readRequests(connection.text);
      if (this.answerPartial !== null && /\r\n\r\n./s.test(rest)) socket.write(this.answerPartial(), 'latin1');
      for (const request of requests.slice(answered)) {
        answered += 1;
        const text = this.answer(request, socket);
        if (text !== null) socket.write(text, 'latin1');
      }
    });
    this.onConnection(socket);
  }
}
