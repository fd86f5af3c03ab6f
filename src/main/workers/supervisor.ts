import cluster from 'node:cluster';
import { extname, join } from 'node:path';
import { Readable } from 'node:stream';
import { LIMITS } from '../../base/limits.ts';
import type { Config } from '../../config/config.ts';
import type { Logger } from '../../metrics/log.ts';
import type { RunningGateway } from '../gateway-process.ts';
import { BackOff } from './back-off.ts';
import { withPorts } from './free-ports.ts';
import { LineRelay } from './line-relay.ts';
import type { ToSupervisor } from './messages.ts';
import { type Portable, toPortable } from './portable.ts';
import { Switchboard } from './switchboard.ts';
import { WorkerProcess } from './worker-process.ts';

/** Starts of the first worker where a port that was free is taken meanwhile. */
const PORT_TRIES = 5;
/** Vain starts in a row of one worker, while no other serves, before the whole is given up. */
const GIVE_UP_AFTER = 5;
/** What a worker is given beyond the time for what is in flight, milliseconds. */
const CLOSE_MS = 15_000;

/** One of the places that `workers` asks for, and who has it now. */
interface Place {
  readonly worker: number;
  readonly backOff: BackOff;
  process: WorkerProcess | null;
  serving: boolean;
  timer: NodeJS.Timeout | null;
}

interface Listeners {
  readonly trafficUrl: string;
  readonly adminUrl: string;
}

/** Why a worker did not come to serve. */
class NotStarted extends Error {
  readonly portTaken: number | null;
  constructor(message: string, portTaken: number | null) {
    super(message);
    this.name = 'NotStarted';
    this.portTaken = portTaken;
  }
}

/** A gateway of several processes. `failed` resolves when it cannot go on. */
export interface SupervisedGateway extends RunningGateway {
  readonly failed: Promise<Error>;
}

/**
 * Starts `count` workers and keeps them running. This process serves nothing itself: it opens no store and reads no request, so
 * that there is little that could end it. Rejects with what the first worker could not have, and leaves nothing running.
 */
export async function startWorkers(config: Config, count: number, log: Logger): Promise<SupervisedGateway> {
  cluster.schedulingPolicy = cluster.SCHED_NONE;
  cluster.setupPrimary({
    exec: join(import.meta.dirname, `worker${extname(import.meta.filename)}`),
    args: [],
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
    serialization: 'advanced',
  });
  const supervisor = new Supervisor(config, count, log);
  try {
    return await supervisor.start();
  } catch (error) {
    // What was wrong at the start is what is told.
    await supervisor.close(0).catch(() => undefined);
    throw error;
  }
}

class Supervisor {
  readonly #given: Config;
  readonly #log: Logger;
  readonly #startedAt = Date.now();
  readonly #places: readonly Place[];
  readonly #switchboard = new Switchboard();
  readonly #relay = new LineRelay(process.stdout);
  readonly #failed = Promise.withResolvers<Error>();
  /** Resolves when the first worker serves. */
  readonly #firstServes = Promise.withResolvers<void>();
  readonly #onExit = (): void => {
    for (const { process: worker } of this.#places) worker?.kill();
  };
  #config: Portable = {};
  #closing: Promise<void> | null = null;

  constructor(config: Config, count: number, log: Logger) {
    this.#given = config;
    this.#log = log;
    this.#places = Array.from({ length: count }, (_, index) => ({
      worker: index + 1,
      backOff: new BackOff(),
      process: null,
      serving: false,
      timer: null,
    }));
  }

  async start(): Promise<SupervisedGateway> {
    // However this process comes to its end, except for a signal that leaves it no time: then they notice by themselves.
    process.on('exit', this.#onExit);
    const [first, ...others] = this.#places;
    if (first === undefined) throw new RangeError('a gateway needs a worker');
    // All load the program at once, and then the first begins: what is wrong with store, policies or ports is said once.
    const rest = Promise.all(others.map((place) => this.#launch(place)));
    rest.catch(() => undefined);
    const listeners = await this.#startFirst(first);
    this.#firstServes.resolve();
    await rest;
    return {
      ...listeners,
      failed: this.#failed.promise,
      reload: async () => {
        for (const { process: worker } of this.#places) worker?.send({ type: 'reload' });
      },
      close: (graceMs) => this.close(graceMs),
    };
  }

  close(graceMs?: number): Promise<void> {
    this.#closing ??= this.#close(graceMs);
    return this.#closing;
  }

  async #startFirst(place: Place): Promise<Listeners> {
    for (let tries = 1; ; tries += 1) {
      const config = await withPorts(this.#given);
      this.#config = toPortable(config);
      const chosen = [config.listen, config.admin].map(({ port }) => port);
      const asked = [this.#given.listen, this.#given.admin].map(({ port }) => port);
      try {
        return await this.#launch(place);
      } catch (error) {
        const taken = error instanceof NotStarted ? error.portTaken : null;
        const ours = taken !== null && chosen.includes(taken) && !asked.includes(taken);
        if (!ours || tries === PORT_TRIES || this.#closing !== null) throw error;
      }
    }
  }

  /** Resolves when the worker serves; rejects when it has ended before. */
  #launch(place: Place): Promise<Listeners> {
    const { promise, resolve, reject } = Promise.withResolvers<Listeners>();
    let why = new NotStarted(`worker ${place.worker} ended while it was started`, null);
    let readyAt = Number.POSITIVE_INFINITY;
    const worker = new WorkerProcess(place.worker, (message) => {
      if (message.type === 'failed') why = new NotStarted(message.message, message.portTaken);
      else if (message.type === 'ready') {
        readyAt = performance.now();
        place.serving = true;
        this.#switchboard.join(worker);
        resolve(message);
      } else this.#receive(worker, message);
    });
    place.process = worker;
    if (worker.stdout instanceof Readable) this.#relay.add(worker.stdout);
    void worker.ended.then((end) => {
      place.process = null;
      this.#switchboard.leave(worker);
      reject(why);
      if (place.serving) this.#ended(place, worker, { ...end, servedMs: performance.now() - readyAt });
    });
    return promise;
  }

  #receive(worker: WorkerProcess, message: ToSupervisor): void {
    if (message.type !== 'hello') this.#switchboard.receive(worker, message);
    else if (worker.worker === 1) this.#begin(worker);
    else void this.#firstServes.promise.then(() => this.#begin(worker));
  }

  #begin(worker: WorkerProcess): void {
    if (this.#closing !== null) return;
    const start = { worker: worker.worker, gatewayStartedAt: this.#startedAt, config: this.#config };
    worker.send({ type: 'start', ...start });
  }

  #ended(
    place: Place,
    { pid }: WorkerProcess,
    { code, signal, servedMs }: { code: number | null; signal: string | null; servedMs: number },
  ): void {
    place.serving = false;
    if (this.#closing !== null) return;
    const pause = place.backOff.pauseAfter(servedMs);
    const fields = { ended_worker: place.worker, ended_pid: pid, code, signal, pause_ms: pause };
    if (code === 0) this.#log.info(fields, 'a worker was told to end, and is replaced');
    else this.#log.error(fields, 'a worker has ended, and is replaced; its connections are lost');
    this.#replaceAfter(place, pause);
  }

  #replaceAfter(place: Place, pause: number): void {
    if (pause === 0) {
      void this.#replace(place);
      return;
    }
    place.timer = setTimeout(() => void this.#replace(place), pause);
  }

  async #replace(place: Place): Promise<void> {
    place.timer = null;
    if (this.#closing !== null) return;
    try {
      await this.#launch(place);
      this.#log.info({ started_worker: place.worker, started_pid: place.process?.pid }, 'a worker has been replaced');
    } catch (error) {
      if (this.#closing !== null) return;
      const pause = place.backOff.pauseAfter(0);
      const fields = { err: error, missing_worker: place.worker, pause_ms: pause };
      this.#log.error(fields, 'a worker could not be replaced; it is tried again');
      const alone = this.#places.every(({ serving }) => !serving);
      if (alone && place.backOff.inARow > GIVE_UP_AFTER) {
        this.#failed.resolve(error instanceof Error ? error : new Error(String(error)));
      } else this.#replaceAfter(place, pause);
    }
  }

  async #close(graceMs: number | undefined): Promise<void> {
    const places = this.#places.filter(({ process: worker }) => worker !== null);
    const starting = places.flatMap(({ process: worker, serving }) => (serving || worker === null ? [] : worker));
    const running = places.flatMap(({ process: worker, serving }) => (serving && worker !== null ? worker : []));
    for (const { timer } of this.#places) if (timer !== null) clearTimeout(timer);
    for (const worker of starting) worker.kill();
    for (const worker of running) worker.send({ type: 'drain', graceMs });
    let late = false;
    const timer = setTimeout(
      () => {
        late = true;
        for (const worker of running) worker.kill();
      },
      (graceMs ?? LIMITS.drainMs) + CLOSE_MS,
    );
    const ends = await Promise.all(running.map(({ ended }) => ended));
    await Promise.all(starting.map(({ ended }) => ended));
    clearTimeout(timer);
    process.off('exit', this.#onExit);
    if (late) throw new Error('a worker did not end in time and was killed');
    const wrong = ends.filter(({ code }) => code !== 0).length;
    if (wrong > 0) throw new Error(`${wrong} of ${ends.length} workers did not end in order`);
  }
}
