import { randomUUID } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { rawRefusal } from './answer.ts';
import { type Refusal, refusal } from './problem.ts';

/** Answers requests that never became requests: unreadable, too large in the head, or too slow to arrive. */
export class ConnectionErrors {
  readonly #latest = new WeakMap<Socket, ServerResponse>();

  /** Notes which response a connection is busy with, so that nothing is written into the middle of one. */
  began(socket: Socket, response: ServerResponse): void {
    this.#latest.set(socket, response);
  }

  answer(error: NodeJS.ErrnoException, socket: Socket): void {
    const response = this.#latest.get(socket);
    const midAnswer = response?.headersSent === true && !response.writableFinished;
    if (midAnswer || !socket.writable || error.code === 'ECONNRESET') {
      socket.destroy();
      return;
    }
    socket.end(rawRefusal(refusalFor(error.code), randomUUID()), () => socket.destroy());
  }
}

function refusalFor(code: string | undefined): Refusal {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return refusal('headers_too_large', 'The head of the request is larger than 16 KiB.');
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return refusal('request_timeout', 'The request did not arrive in time.');
    default:
      return refusal('request_malformed', 'The request is not valid HTTP/1.1.');
  }
}
