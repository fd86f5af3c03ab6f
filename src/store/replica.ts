import { randomBytes } from 'node:crypto';
import type { Clock } from '../base/clock.ts';
import { Announcement } from './announcement.ts';
import type { CachedReader } from './cached-reader.ts';
import {
  type ChangeKind,
  type ChangeLog,
  type LogEntry,
  type LogPosition,
  logNumber,
  type Muster,
} from './change-log.ts';
import type { KnownMarks } from './known-marks.ts';
import { type Lease, momentOf, type Step, stepAfter } from './lease.ts';
import { ReportHints } from './report-hints.ts';

/** Renewals per lease. */
const RENEWALS_PER_LEASE = 5;

/** How often the end of the lease is looked for, per lease: well within its margin. */
const LOOKS_PER_LEASE = 20;

/** Entries for which the number of closed streams is kept and reported, and for how many leases. */
const REPORTED = { entries: 1024, leases: 4 } as const;

/** Registered replicas that did not renew between two looks this far apart are forgotten, in leases. */
const SWEEP_LEASES = 30;

/** Pauses between two looks at the other replicas' reports where no hint of them comes, milliseconds. */
const WATCH_MS = { first: 5, most: 25 } as const;

/** Entries that are taken from hints at once; the rest comes with the renewal. */
const HEARD = 100;

export interface ReplicaOptions {
  readonly log: ChangeLog;
  readonly reader: CachedReader;
  /** Told of every entry before `onChange` is, and of every gap in the log before `onFlush`. */
  readonly marks: Pick<KnownMarks, 'load' | 'reload' | 'restore'>;
  readonly lease: Lease;
  readonly leaseMs: number;
  readonly clock: Clock;
  /**
   * Ends what is open for a token that is revoked, or for those of a mark; returns how many. For a change it may look at the
   * record first.
   */
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
  readonly #closedAt = new Map<LogPosition, number>();
  /** True from the end of a lease to the next one. */
  #lapsed = true;
  #announcedLease = false;
  #replicas = 1;
  /** Entries that a hint told of and that are not applied yet, and those that are applied and not yet reported. */
  #heard: LogEntry[] = [];
  #ahead: LogEntry[] = [];
  readonly #hints = new ReportHints();
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
      reported: (number) => this.#hints.tell(number),
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
   * Resolves when no replica lets any of the tokens in on the strength of its record before the change: every registered
   * one has applied all of them, or has been without a lease. Rejects with a Fault where the store cannot be asked.
   */
  async propagate(ids: readonly string[], kind: ChangeKind): Promise<Reach> {
    const { clock, log, leaseMs, onChange, reader, marks } = this.#options;
    const began = clock.monotonic();
    let closedHere = 0;
    await marks.load(ids);
    for (const id of ids) {
      // This process first, whatever becomes of the others.
      reader.drop(id);
      closedHere += await onChange(id, kind);
    }
    const said = new Announcement(log, ids, kind, (entry) => this.#hear(entry));
    await said.make();
    let waited = clock.monotonic();
    let first: Muster | null = null;
    for (let pause: number = WATCH_MS.first; ; pause = Math.min(pause * 2, WATCH_MS.most)) {
      const hint = this.#hints.expect(said.newest);
      try {
        const muster = await log.muster(said.positions);
        if (muster.missing.length > 0) {
          // A server that took them is gone and its successor does not know them: said again, and waited for again.
          await marks.restore(ids);
          await said.repeat(muster.missing);
          waited = clock.monotonic();
          first = null;
          continue;
        }
        first ??= muster;
        const pending = muster.replicas.filter(({ applied }) => !reaches(applied, said.newest));
        // A registry that does not know even this process is another one than that of the last renewal.
        const known = muster.replicas.some(({ id }) => id === this.id);
        const heard = known && pending.length === 0 && clock.monotonic() - this.#distrustedAt >= leaseMs;
        if (heard || clock.monotonic() - waited >= leaseMs) {
          await this.#forgetSilent(first, pending);
          return {
            replicas: muster.replicas.length,
            acknowledged: muster.replicas.length - pending.length,
            streams_closed: closedHere + this.#closedFor(said.positions, muster),
            elapsed_ms: Math.round((clock.monotonic() - began) * 1000) / 1000,
          };
        }
        await hint.within(pause);
      } finally {
        hint.end();
      }
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
      await this.#options.marks.load([entry.id]);
      await this.#close(entry);
      this.#ahead.push(entry);
    }
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
    const { reader, marks, onFlush } = this.#options;
    if (flush) reader.flush();
    for (const { id } of entries) reader.drop(id);
    if (flush) await marks.reload();
    else await marks.load(entries.map(({ id }) => id));
    for (const entry of entries) await this.#close(entry);
    if (flush) await onFlush();
    this.#applied = applied;
  }

  async #close({ id, kind, position }: LogEntry): Promise<void> {
    const count = await this.#options.onChange(id, kind);
    if (count === 0) return;
    this.#closed.set(position, count);
    const { clock, leaseMs } = this.#options;
    const now = clock.monotonic();
    this.#closedAt.set(position, now);
    for (const [oldest, at] of this.#closedAt) {
      if (this.#closed.size <= REPORTED.entries && now - at < REPORTED.leases * leaseMs) break;
      this.#closed.delete(oldest);
      this.#closedAt.delete(oldest);
    }
  }

  /** What was closed for these entries, here after the announcement and elsewhere. */
  #closedFor(positions: readonly LogPosition[], { replicas }: Muster): number {
    const reports = replicas.map(({ id, closed }) => (id === this.id ? this.#closed : closed));
    return reports.reduce((sum, closed) => sum + positions.reduce((all, each) => all + (closed.get(each) ?? 0), 0), 0);
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
    const muster = await log.muster([this.#applied]);
    if (this.#lastMuster !== null) await this.#forgetSilent(this.#lastMuster, muster.replicas);
    this.#lastMuster = muster;
  }
}

function reaches(applied: LogPosition | null, position: LogPosition): boolean {
  return applied !== null && logNumber(applied) >= logNumber(position);
}
