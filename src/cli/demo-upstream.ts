import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** The API that the demonstration protects: a list of orders in memory. */
export interface DemoUpstream {
  readonly url: string;
  close(): Promise<void>;
}

interface Order {
  readonly id: number;
  readonly item: string;
}

const LARGEST_BODY = 16 * 1024;

export async function startDemoUpstream(): Promise<DemoUpstream> {
  const orders: Order[] = [
    { id: 1, item: 'portcullis, oak, 4 m' },
    { id: 2, item: 'chain, iron, 20 m' },
  ];
  const server = createServer((request, response) => {
    answer(orders, request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  return {
    url: `http://127.0.0.1:${portOf(server.address())}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function portOf(address: AddressInfo | string | null): number {
  if (address === null || typeof address === 'string') throw new TypeError('the sample upstream has no port');
  return address.port;
}

async function answer(orders: Order[], request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { method = 'GET', url = '/' } = request;
  const body = await readBody(request);
  const path = url.replace(/\?.*$/, '').replace(/(?<=.)\/$/, '');
  if (path === '/health' || path === '/orders/health') return send(response, 200, { status: 'ok' });
  if (path === '/orders' && (method === 'GET' || method === 'HEAD')) return send(response, 200, orders);
  if (path === '/orders' && method === 'POST') {
    const order = { id: orders.length + 1, item: itemOf(body) };
    if (orders.length < 1000) orders.push(order);
    return send(response, 201, order);
  }
  const order = orders.find(({ id }) => path === `/orders/${id}`);
  if (order === undefined) return send(response, 404, { error: 'no such order' });
  return send(response, 200, order);
}

async function readBody(request: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of request) {
    if (text.length < LARGEST_BODY) text += String(chunk);
  }
  return text;
}

function itemOf(body: string): string {
  try {
    const parsed: unknown = JSON.parse(body);
    if (typeof parsed === 'object' && parsed !== null && 'item' in parsed) return String(parsed.item).slice(0, 100);
  } catch {
    // Not JSON: the text itself will do for a sample.
  }
  return body.slice(0, 100) || 'something';
}

function send(response: ServerResponse, status: number, body: object): void {
  const text = `${JSON.stringify(body)}\n`;
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
  response.end(text);
}
