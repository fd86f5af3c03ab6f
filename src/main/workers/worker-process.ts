import cluster, { type Worker } from 'node:cluster';
import { isMessage, type ToSupervisor, type ToWorker } from './messages.ts';
import type { Member } from './switchboard.ts';

export interface WorkerEnd {
  readonly code: number | null;
  readonly signal: string | null;
}

/** One process that serves, as the supervisor sees it. */
export class WorkerProcess implements Member {
  readonly worker: number;
  readonly #process: Worker;
  /** Resolves when it is gone and all its output has been read. */
  readonly ended: Promise<WorkerEnd>;

  constructor(worker: number, onMessage: (message: ToSupervisor) => void) {
    this.worker = worker;
    this.#process = cluster.fork();
    this.#process.on('message', (message: unknown) => {
      if (isMessage<ToSupervisor>(message)) onMessage(message);
    });
    // A message to a process that has just died: its end is heard of anyway.
    this.#process.on('error', () => undefined);
    this.ended = new Promise((resolve) => {
      this.#process.process.on('close', (code, signal) => resolve({ code, signal }));
    });
  }

  get pid(): number | undefined {
    return this.#process.process.pid;
  }

  get stdout(): NodeJS.ReadableStream | null {
    return this.#process.process.stdout;
  }

  send(message: ToWorker, sent: () => void = () => undefined): void {
    if (this.#process.isConnected()) this.#process.process.send(message, sent);
    else sent();
  }

  kill(): void {
    this.#process.process.kill('SIGKILL');
  }
}
