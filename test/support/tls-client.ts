import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { type ClientRequestArgs, type IncomingMessage, request } from 'node:http';
import { join, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { sha256 } from '../../src/base/encoding.ts';

export const SERVER_FILES = resolve(import.meta.dirname, '../fixtures/tls');
export const CLIENT_FILES = resolve(import.meta.dirname, '../fixtures/client-certificates');

export interface TlsAnswer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly text: string;
  readonly reason: string | undefined;
  readonly detail: string | undefined;
}

/** What a client shows: nothing for null. */
export async function identity(name: string | null): Promise<ConnectionOptions> {
  const ca = await Promise.all([
    readFile(join(SERVER_FILES, 'server.crt')),
    readFile(join(CLIENT_FILES, 'renewed.crt')),
  ]);
  if (name === null) return { ca };
  const [cert, key] = await Promise.all(['crt', 'key'].map((end) => readFile(join(CLIENT_FILES, `${name}.${end}`))));
  return { ca, cert, key };
}

/** SHA-256 of a certificate in DER, base64url, as RFC 8705 §3.1 has it. */
export async function thumbprintOf(name: string): Promise<string> {
  return sha256(new X509Certificate(await readFile(join(CLIENT_FILES, `${name}.crt`))).raw).toString('base64url');
}

/** A connection whose handshake is complete; rejects where the server does not want it. */
export async function openTls(port: number, options: ConnectionOptions): Promise<TLSSocket> {
  const socket = connect({ host: 'localhost', port, servername: 'localhost', ...options });
  await once(socket, 'secureConnect');
  return socket;
}

/** One request on a connection that stays open. */
export async function ask(socket: TLSSocket, path: string, options: ClientRequestArgs = {}): Promise<TlsAnswer> {
  const sent = request({
    createConnection: () => socket,
    path,
    ...options,
    headers: { host: 'localhost', connection: 'keep-alive', ...options.headers },
  });
  sent.end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  const body = await text(response);
  const type = response.headers['content-type'] ?? '';
  const problem = type.startsWith('application/problem') ? (JSON.parse(body) as Record<string, string>) : {};
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    text: body,
    reason: problem['reason'],
    detail: problem['detail'],
  };
}

/** One request on a connection of its own. */
export async function askOnce(
  port: number,
  who: string | null,
  path: string,
  options: ClientRequestArgs = {},
): Promise<TlsAnswer> {
  const socket = await openTls(port, await identity(who));
  try {
    return await ask(socket, path, options);
  } finally {
    socket.destroy();
  }
}
