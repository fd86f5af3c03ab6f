import cluster from 'node:cluster';
import type { Config } from '../../config/config.ts';
import { createLogger, type Logger } from '../../metrics/log.ts';
import { type RunningGateway, startGateway } from '../gateway-process.ts';
import { isMessage, type ToSupervisor, type ToWorker } from './messages.ts';
import { fromPortable } from './portable.ts';
import { Siblings } from './siblings.ts';

/** How long a worker whose supervisor is gone takes to write out what it has, at most, milliseconds. */
const ORPHAN_MS = 5_000;

type Start = Extract<ToWorker, { readonly type: 'start' }>;

/** One process that serves, started by the supervisor. Ends with it. */
class ServingWorker {
  readonly #config: Config;
  readonly #log: Logger;
  readonly #siblings: Siblings;
  #running: Promise<RunningGateway> | null = null;
  #ending = false;

  constructor(start: Start) {
    // The supervisor made it of a configuration.
    this.#config = fromPortable(start.config) as Config;
    this.#log = createLogger({ level: this.#config.log.level, worker: start.worker });
    this.#siblings = new Siblings(start, send);
  }

  async start(): Promise<void> {
    try {
      this.#running = startGateway(this.#config, this.#log, this.#siblings);
      const { trafficUrl, adminUrl } = await this.#running;
      send({ type: 'ready', trafficUrl, adminUrl });
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      send({ type: 'failed', message, portTaken: takenPort(error) }, () => process.exit(1));
    }
  }

  receive(message: ToWorker): void {
    if (message.type === 'drain') void this.end(message.graceMs);
    else if (message.type === 'reload') void this.#reload();
    else this.#siblings.receive(message);
  }

  /** Finishes what is in flight, writes everything out, and ends the process. */
  async end(graceMs?: number): Promise<void> {
    if (this.#ending) return;
    this.#ending = true;
    try {
      const running = await this.#running;
      this.#log.info({}, 'draining');
      await running?.close(graceMs);
      this.#siblings.close();
      await this.#siblings.tellCounted();
      this.#log.info({}, 'stopped');
      process.exit(process.connected ? 0 : 1);
    } catch (error) {
      this.#log.error({ err: error }, 'the worker could not end in order');
      process.exit(1);
    }
  }

  async #reload(): Promise<void> {
    try {
      await (await this.#running)?.reload();
    } catch (error) {
      this.#log.error({ err: error }, 'reload failed');
    }
  }
}

function runWorker(): void {
  const { worker: own } = cluster;
  if (own === undefined) throw new Error('a worker is started by its supervisor');
  // Otherwise node ends the process at once when the supervisor is gone, with what has not been written yet.
  own.exitedAfterDisconnect = true;
  let serving: ServingWorker | null = null;
  process.on('message', (message: unknown) => {
    if (!isMessage<ToWorker>(message)) return;
    if (message.type !== 'start') serving?.receive(message);
    else if (serving === null) {
      serving = new ServingWorker(message);
      void serving.start();
    }
  });
  process.on('disconnect', () => {
    setTimeout(() => process.exit(1), ORPHAN_MS).unref();
    if (serving === null) process.exit(1);
    void serving.end(0);
  });
  // Ctrl-C and a service manager signal the whole group; the supervisor says what is to be done. Alone it drains one worker.
  process.on('SIGINT', () => undefined);
  process.on('SIGHUP', () => undefined);
  process.on('SIGTERM', () => {
    if (serving === null) process.exit(1);
    void serving.end();
  });
  send({ type: 'hello' });
}

function send(message: ToSupervisor, sent: () => void = () => undefined): void {
  if (process.send === undefined || !process.connected) sent();
  else process.send(message, undefined, undefined, () => sent());
}

function takenPort(error: unknown): number | null {
  if (!(error instanceof Error)) return null;
  if (!('code' in error && error.code === 'EADDRINUSE')) return takenPort(error.cause);
  return 'port' in error ? Number(error.port) : null;
}

if (import.meta.main) runWorker();
