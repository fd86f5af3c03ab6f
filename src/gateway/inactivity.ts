import type { Socket } from 'node:net';

const LONGEST_TICK_MS = 1_000;
const SHORTEST_TICK_MS = 10;

interface Watched {
  /** Bytes that had moved, both ways, when it was last looked at. */
  moved: number;
  /** How long nothing has moved since, milliseconds; counted in ticks. */
  quietMs: number;
}

/**
 * Tells of connections on which nothing has moved for a time: not before it, and at most two ticks (an eighth of it, and
 * no more than a second each) after it. One timer for all, where node would arm two for each request.
 */
export class InactivityWatch {
  readonly #idleMs: number;
  readonly #tickMs: number;
  readonly #onQuiet: (socket: Socket) => void;
  readonly #watched = new Map<Socket, Watched>();
  #timer: NodeJS.Timeout | null = null;

  /** `onQuiet` is asked again after the same time, where it leaves the connection open. */
  constructor(idleMs: number, onQuiet: (socket: Socket) => void) {
    this.#idleMs = idleMs;
    this.#tickMs = Math.min(LONGEST_TICK_MS, Math.max(SHORTEST_TICK_MS, Math.floor(idleMs / 8)));
    this.#onQuiet = onQuiet;
  }

  /** Until it closes. */
  add(socket: Socket): void {
    // The tick in which it began does not count.
    this.#watched.set(socket, { moved: 0, quietMs: -this.#tickMs });
    socket.on('close', () => this.#remove(socket));
    this.#timer ??= setInterval(() => this.#look(), this.#tickMs).unref();
  }

  #remove(socket: Socket): void {
    this.#watched.delete(socket);
    if (this.#watched.size > 0 || this.#timer === null) return;
    clearInterval(this.#timer);
    this.#timer = null;
  }

  #look(): void {
    for (const [socket, watched] of this.#watched) {
      const moved = socket.bytesRead + socket.bytesWritten;
      if (moved !== watched.moved) {
        watched.moved = moved;
        watched.quietMs = 0;
        continue;
      }
      watched.quietMs += this.#tickMs;
      if (watched.quietMs < this.#idleMs) continue;
      watched.quietMs = 0;
      this.#onQuiet(socket);
    }
  }
}
