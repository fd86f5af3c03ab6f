import { connect, type Socket } from 'node:net';

/** What came back on one connection until it was closed, or until `until` was satisfied. */
export interface RawExchange {
  readonly text: string;
  /** The peer ended or reset the connection. */
  readonly closed: boolean;
}

/** Sends bytes as they are and collects what comes back, until the peer closes or `until` says it is enough. */
export async function sendRaw(
  port: number,
  bytes: string | Buffer,
  until: (text: string) => boolean = () => false,
  timeoutMs = 10_000,
): Promise<RawExchange> {
  const socket = connect(port, '127.0.0.1');
  return await new Promise<RawExchange>((resolve, reject) => {
    let text = '';
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new Error(`nothing that ends the exchange came in ${timeoutMs} ms; so far: ${JSON.stringify(text)}`));
    }, timeoutMs);
    const finish = (closed: boolean): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve({ text, closed });
    };
    socket.on('connect', () => socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes));
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
      if (until(text)) finish(false);
    });
    socket.on('end', () => finish(true));
    socket.on('error', () => finish(true));
  });
}

/** The status code of the first answer in a text, or 0. */
export function statusOf(text: string): number {
  return Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? 0);
}

/** The JSON body of the first answer in a text. */
export function problemOf(text: string): { readonly status: number; readonly reason: string } {
  const body = text.slice(text.indexOf('\r\n\r\n') + 4);
  return JSON.parse(body) as { status: number; reason: string };
}

export async function openSocket(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', reject);
  });
  return socket;
}
