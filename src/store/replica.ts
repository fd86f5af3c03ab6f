import { randomBytes } from 'node:crypto';
import type { Clock } from '../base/clock.ts';
import type { CachedReader } from './cached-reader.ts';
import {
  type ChangeKind,
  type ChangeLog,
  type LogEntry,
  type LogPosition,
  logNumber,
  type Muster,
} from './change-log.ts';
import { type Lease, momentOf, type Step, stepAfter } from './lease.ts';

/** Renewals per lease. */
const RENEWALS_PER_LEASE = 5;

/** How often the end of the lease is looked for, per lease: well within its margin. */
const LOOKS_PER_LEASE = 20;

/** Entries for which the number of closed streams is kept and reported. */
const REPORTED = 64;

/** Registered replicas that did not renew between two looks this far apart are forgotten, in leases. */
const SWEEP_LEASES = 30;

/** Pauses between two looks at the other replicas' reports where no hint of them comes, milliseconds. */
const WATCH_MS = { first: 5, most: 25 } as const;

/** Entries that are taken from hints at once; the rest comes with the renewal. */
const HEARD = 100;

export interface ReplicaOptions {
  readonly log: ChangeLog;
  readonly reader: CachedReader;
  readonly lease: Lease;
  readonly leaseMs: number;
  readonly clock: Clock;
  /** Ends what is open for a token that is revoked; returns how many. For a change it may look at the record first. */
  readonly onChange: (id: string, kind: ChangeKind) => number | Promise<number>;
  /** Anything may have changed: looks at the record of every token that has something open. Rejects where it cannot. */
  readonly onFlush: () => Promise<void>;
  /** The lease began or ended. What is open without one has to be closed by `onUncovered`. */
  readonly onLease: (valid: boolean) => void;
  /** Called at the end of a lease, and then again and again while there is none: what began before is not covered. */
  readonly onUncovered: (beganBefore: number) => void;
}

/** How far a change has reached. */
export interface Reach {
  readonly replicas: number;
  readonly acknowledged: number;
  readonly streams_closed: number;
  readonly elapsed_ms: number;
}

/**
 * One process that lets tokens in: follows the log, holds the lease, and makes its own changes known to the others.
 * See docs/adr/0013-log-and-lease.md for why it holds.
 */
export class Replica {
  readonly id = randomBytes(9).toString('base64url');
  readonly #options: ReplicaOptions;
  #applied: LogPosition | null = null;
  readonly #closed = new Map<LogPosition, number>();
  /** True from the end of a lease to the next one. */
  #lapsed = true;
  #announcedLease = false;
  #replicas = 1;
  /** Entries that a hint told of and that are not applied yet, and those that are applied and not yet reported. */
  #heard: LogEntry[] = [];
  #ahead: LogEntry[] = [];
  /** Who waits for the other replicas' reports: hears the number that all of them have reached. */
  readonly #waiting = new Set<(number: number) => void>();
  #ended = false;
  #woken = false;
  #wake: (() => void) | null = null;
  #running: Promise<void> = Promise.resolve();
  #endHint: (() => Promise<void>) | null = null;
  #watchdog: NodeJS.Timeout | null = null;
  #sweepAt = 0;
  #lastMuster: Muster | null = null;
  #distrustedAt = Number.NEGATIVE_INFINITY;

  constructor(options: ReplicaOptions) {
    this.#options = options;
  }

  /** Resolves after the first renewal, or the failure of it. */
  async start(): Promise<void> {
    const { log, leaseMs, clock } = this.#options;
    this.#endHint = log.listen({
      appended: (entry) => this.#hear(entry),
      reported: (number) => {
        for (const heard of this.#waiting) heard(number);
      },
    });
    this.#sweepAt = clock.monotonic() + SWEEP_LEASES * leaseMs;
    await this.#follow();
    this.#watchdog = setInterval(() => this.#watch(), leaseMs / LOOKS_PER_LEASE);
    this.#watchdog.unref();
    this.#running = this.#run();
  }

  get status(): { readonly valid: boolean; readonly remainingMs: number; readonly replicas: number } {
    const remainingMs = this.#options.lease.remaining(momentOf(this.#options.clock));
    return { valid: remainingMs > 0, remainingMs, replicas: this.#replicas };
  }

  /**
   * Resolves when no replica lets the token in on the strength of the record before the change: every registered one
   * has applied it, or has been without a lease. Rejects with a Fault where the store cannot be asked.
   */
  async propagate(id: string, kind: ChangeKind): Promise<Reach> {
    const { clock, log, leaseMs, onChange, reader } = this.#options;
    const began = clock.monotonic();
    // This process first, whatever becomes of the others.
    reader.drop(id);
    let closedHere = await onChange(id, kind);
    let position = await log.announce(id, kind);
    let waited = clock.monotonic();
    let first: Muster | null = null;
    this.#hear({ position, kind, id });
    for (let pause: number = WATCH_MS.first; ; pause = Math.min(pause * 2, WATCH_MS.most)) {
      const reported = this.#reported(position);
      const muster = await log.muster(position);
      if (!muster.present) {
        // A server that took it is gone and its successor does not know it: said again, and waited for again.
        position = await log.announce(id, kind);
        waited = clock.monotonic();
        first = null;
        this.#hear({ position, kind, id });
        reported.end();
        continue;
      }
      first ??= muster;
      const pending = muster.replicas.filter(({ applied }) => !reaches(applied, position));
      const heard = pending.length === 0 && clock.monotonic() - this.#distrustedAt >= leaseMs;
      if (heard || clock.monotonic() - waited >= leaseMs) {
        reported.end();
        await this.#forgetSilent(first, pending);
        closedHere += this.#closed.get(position) ?? 0;
        const elsewhere = muster.replicas
          .filter((replica) => replica.id !== this.id)
          .reduce((sum, { closed }) => sum + (closed.get(position) ?? 0), 0);
        return {
          replicas: muster.replicas.length,
          acknowledged: muster.replicas.length - pending.length,
          streams_closed: closedHere + elsewhere,
          elapsed_ms: Math.round((clock.monotonic() - began) * 1000) / 1000,
        };
      }
      await reported.within(pause);
    }
  }

  /**
   * The store may be another one than a moment ago, with a registry that has lost replicas which still hold a lease of
   * the one before: for a lease from now on nobody's silence counts as consent.
   */
  distrust(): void {
    this.#distrustedAt = this.#options.clock.monotonic();
  }

  async close(): Promise<void> {
    this.#ended = true;
    if (this.#watchdog !== null) clearInterval(this.#watchdog);
    await this.#endHint?.();
    this.#rouse();
    await this.#running;
    this.#options.lease.withdraw();
    await this.#options.log.leave(this.id).catch(() => undefined);
  }

  async #run(): Promise<void> {
    while (!this.#ended) {
      await this.#rest();
      if (!this.#ended) await this.#follow();
    }
  }

  /** Until there is news, or the next renewal is due. */
  #rest(): Promise<void> {
    if (this.#woken) {
      this.#woken = false;
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#wake?.(), this.#options.leaseMs / RENEWALS_PER_LEASE);
      timer.unref();
      this.#wake = () => {
        clearTimeout(timer);
        this.#wake = null;
        this.#woken = false;
        resolve();
      };
    });
  }

  #rouse(): void {
    this.#woken = true;
    this.#wake?.();
  }

  /** A hint of an entry: applied at once, and reported; whether that counts is for the log to say. */
  #hear(entry: LogEntry | null): void {
    const { position = null } = entry ?? {};
    const known = position !== null && [...this.#heard, ...this.#ahead].some((other) => other.position === position);
    if (known || (position !== null && position === this.#applied)) return;
    if (entry !== null && this.#heard.length < HEARD) this.#heard.push(entry);
    this.#rouse();
  }

  async #applyHeard(): Promise<void> {
    for (let entry = this.#heard.shift(); entry !== undefined; entry = this.#heard.shift()) {
      this.#options.reader.drop(entry.id);
      await this.#close(entry);
      this.#ahead.push(entry);
    }
  }

  /** A hint, from now on, that everybody has reported `position`. */
  #reported(position: LogPosition): { within(milliseconds: number): Promise<void>; end(): void } {
    const told = Promise.withResolvers<void>();
    const hear = (number: number): void => {
      if (number >= logNumber(position)) told.resolve();
    };
    this.#waiting.add(hear);
    const end = (): void => {
      this.#waiting.delete(hear);
    };
    const within = async (milliseconds: number): Promise<void> => {
      const timer = setTimeout(told.resolve, milliseconds);
      await told.promise;
      clearTimeout(timer);
      end();
    };
    return { within, end };
  }

  /** Renews until this replica is in step and has said so. Never rejects: without a renewal the lease ends by itself. */
  async #follow(): Promise<void> {
    const { log, clock } = this.#options;
    try {
      for (let unreported = true; unreported && !this.#ended; ) {
        await this.#applyHeard();
        const sent = momentOf(clock);
        const applied = this.#applied;
        const ahead = this.#ahead;
        this.#ahead = [];
        const renewal = await log.renew(this.id, { applied, ahead, closed: this.#closed });
        this.#replicas = renewal.replicas;
        if (applied !== null && renewal.broken) this.distrust();
        const step = stepAfter(renewal.reached, this.#lapsed || this.#over(), renewal);
        await this.#apply(step);
        if (step.inStep) this.#grant(sent);
        unreported = step.applied !== renewal.reached || this.#heard.length > 0;
      }
      await this.#sweepRegistry();
    } catch {
      // The store says that it is lost; here the lease runs out.
      this.distrust();
    }
  }

  async #apply({ flush, entries, applied }: Step): Promise<void> {
    const { reader, onFlush } = this.#options;
    if (flush) reader.flush();
    for (const { id } of entries) reader.drop(id);
    for (const entry of entries) await this.#close(entry);
    if (flush) await onFlush();
    this.#applied = applied;
  }

  async #close({ id, kind, position }: LogEntry): Promise<void> {
    const count = await this.#options.onChange(id, kind);
    if (count === 0) return;
    this.#closed.set(position, count);
    if (this.#closed.size <= REPORTED) return;
    const [oldest = ''] = this.#closed.keys();
    this.#closed.delete(oldest);
  }

  #grant(sent: ReturnType<typeof momentOf>): void {
    const { lease, clock, reader } = this.#options;
    const now = momentOf(clock);
    lease.grant(sent);
    if (!lease.valid(now.monotonic, now.wall)) return;
    reader.confirm(now.monotonic);
    this.#lapsed = false;
    this.#tell(true);
  }

  #over(): boolean {
    const now = momentOf(this.#options.clock);
    return !this.#options.lease.valid(now.monotonic, now.wall);
  }

  #watch(): void {
    const { clock, leaseMs, onUncovered } = this.#options;
    if (!this.#over()) return;
    const now = clock.monotonic();
    const first = !this.#lapsed;
    this.#lapsed = true;
    this.#tell(false);
    // Under a lease everything was let in on its strength; since then each on the strength of a reading of its own.
    onUncovered(first ? now : now - leaseMs + 4 * (leaseMs / LOOKS_PER_LEASE));
  }

  #tell(valid: boolean): void {
    if (this.#announcedLease === valid) return;
    this.#announcedLease = valid;
    this.#options.onLease(valid);
  }

  /** Takes those out of the registry that have not renewed once since `before`, which is a lease ago or longer. */
  async #forgetSilent(before: Muster, pending: Muster['replicas']): Promise<void> {
    for (const { id, renewals } of pending) {
      const silent = before.replicas.some((then) => then.id === id && then.renewals === renewals);
      if (silent && id !== this.id) await this.#options.log.forget(id, renewals).catch(() => false);
    }
  }

  /** Replicas that ended without a word are not waited for by the next revocation, where this one noticed in time. */
  async #sweepRegistry(): Promise<void> {
    const { clock, leaseMs, log } = this.#options;
    if (clock.monotonic() < this.#sweepAt || this.#applied === null) return;
    this.#sweepAt = clock.monotonic() + SWEEP_LEASES * leaseMs;
    const muster = await log.muster(this.#applied);
    if (this.#lastMuster !== null) await this.#forgetSilent(this.#lastMuster, muster.replicas);
    this.#lastMuster = muster;
  }
}

function reaches(applied: LogPosition | null, position: LogPosition): boolean {
  return applied !== null && logNumber(applied) >= logNumber(position);
}
