// Sends GET requests at fixed moments, whatever becomes of the ones before, over connections that stay open. A latency
// counts from the moment at which its request was due, so that a late answer cannot hide those it delays. Prints JSON.
// Arguments: URL, requests a second, seconds, connections. A token is in BENCH_TOKEN.
import { connect, type Socket } from 'node:net';
import { quantile } from './statistics.ts';

const [url = '', rateText, secondsText, connectionsText] = process.argv.slice(2);
const token = process.env['BENCH_TOKEN'] ?? '';
const { hostname, port, host, pathname } = new URL(url);
const rate = Number(rateText);
const total = rate * Number(secondsText);
const authorization = token === '' ? '' : `Authorization: Bearer ${token}\r\n`;
const REQUEST = `GET ${pathname} HTTP/1.1\r\nHost: ${host}\r\n${authorization}\r\n`;

const latencies = new Float64Array(total);
const idle: Socket[] = [];
const due: number[] = [];
let sent = 0;
let answered = 0;
let bad = 0;
let startedAt = 0;

/** One connection with at most one request under way. */
function open(): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname, () => {
      idle.push(socket);
      resolve();
    });
    let text = '';
    socket.setNoDelay(true);
    socket.setEncoding('latin1').on('data', (chunk: string) => {
      text += chunk;
      const end = text.indexOf('\r\n\r\n');
      if (end < 0) return;
      const length = Number(/\r\ncontent-length: *(\d+)/i.exec(text)?.[1]);
      if (text.length < end + 4 + length) return;
      latencies[answered] = performance.now() - (dueOf.get(socket) ?? 0);
      if (!text.startsWith('HTTP/1.1 200')) bad += 1;
      answered += 1;
      text = '';
      idle.push(socket);
    });
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('a connection was closed')));
  });
}

const dueOf = new Map<Socket, number>();

/** A timer would be a millisecond late: the loop turns without a pause, which is why it has a core of its own. */
function turn(): void {
  const now = performance.now();
  while (sent + due.length < total && startedAt + ((sent + due.length) * 1000) / rate <= now) {
    due.push(startedAt + ((sent + due.length) * 1000) / rate);
  }
  while (due.length > 0 && idle.length > 0) {
    const socket = idle.shift();
    if (socket === undefined) break;
    dueOf.set(socket, due.shift() ?? now);
    sent += 1;
    socket.write(REQUEST, 'latin1');
  }
  if (answered < total) setImmediate(turn);
  else finish();
}

function finish(): void {
  const sorted = latencies.toSorted();
  const microseconds = (q: number): number => quantile(sorted, q) * 1000;
  const result = { requests: total, bad, p50: microseconds(0.5), p99: microseconds(0.99), max: microseconds(1) };
  process.stdout.write(`${JSON.stringify(result)}\n`);
  process.exit();
}

await Promise.all(Array.from({ length: Number(connectionsText) }, open));
startedAt = performance.now() + 10;
turn();
