// Opens WebSockets and keeps them open without a word. Prints "open N" when all are there, and stays until it is ended.
// Arguments: URL, how many. The token is in BENCH_TOKEN, because arguments can be seen by everybody.
import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';

const [url = '', many = '0'] = process.argv.slice(2);
const token = process.env['BENCH_TOKEN'] ?? '';
const { hostname, port, host, pathname } = new URL(url);
const OPENING_AT_ONCE = 50;

/** Resolves when the other side has switched; rejects with what it said instead. */
function open(): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname, () => {
      socket.write(
        `GET ${pathname} HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${token}\r\nConnection: Upgrade\r\n` +
          `Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n\r\n`,
      );
    });
    let text = '';
    socket.setEncoding('latin1').on('data', (chunk: string) => {
      text += chunk;
      if (!text.includes('\r\n\r\n')) return;
      if (text.startsWith('HTTP/1.1 101')) resolve();
      else reject(new Error(text));
    });
    socket.on('error', reject);
    socket.on('close', () => {
      process.stdout.write('closed\n');
      process.exit(1);
    });
  });
}

let left = Number(many);
await Promise.all(
  Array.from({ length: OPENING_AT_ONCE }, async () => {
    while (left > 0) {
      left -= 1;
      await open();
    }
  }),
);
process.stdout.write(`open ${many}\n`);
