import { hostname } from 'node:os';
import { resolve } from 'node:path';
import type { Clock } from '../base/clock.ts';
import { rfc3339 } from '../base/encoding.ts';
import type { AuditDetail, AuditEventInput } from '../model/audit-event.ts';
import { Fault } from '../model/fault.ts';
import { type AuditMeter, ChainWriter } from './append.ts';
import type { AuditLog } from './audit-log.ts';
import { type ChainHead, GENESIS } from './chain.ts';
import { FileSink, type FoundFile } from './sinks/file.ts';
import { NoSink } from './sinks/none.ts';
import type { Sink } from './sinks/sink.ts';
import { StdoutSink } from './sinks/stdout.ts';

/** The last link of a chain as it is kept outside of the file. `time` is milliseconds since the epoch. */
export interface ChainCheckpoint {
  readonly chain: string;
  readonly seq: number;
  readonly hash: string;
  readonly time: number;
}

export interface OpenAuditLogOptions {
  readonly sinks: readonly ({ readonly kind: 'file'; readonly path: string } | { readonly kind: 'stdout' })[];
  readonly onFull: 'drop' | 'block';
  readonly clock: Clock;
  readonly metrics: AuditMeter;
  /** Tells the instances apart that write under the same path on different machines; by default the host's name. */
  readonly instance?: string;
  /** Keeps a checkpoint outside of the file. Its failure is reported and changes nothing. */
  readonly saveCheckpoint?: (checkpoint: ChainCheckpoint) => Promise<void>;
  /** The newest one kept. With it a file that was deleted or cut off while nobody ran is noticed. */
  readonly lastCheckpoint?: (chain: string) => Promise<ChainCheckpoint | null>;
  /** Default 10 s. Nothing is written while nothing happens. */
  readonly checkpointEveryMs?: number;
  /** Called once when a sink starts to fail, not for every event. */
  readonly onFailure?: (error: Error) => void;
}

/** The audit log with what its owner, the composition root, needs besides. */
export interface OpenedAuditLog extends AuditLog {
  /** After a rotation by renaming (SIGHUP): goes on in the file that is at the path now. */
  reopen(): Promise<void>;
}

/**
 * The id under which a file's chain is known to the store. It follows from the path, so that the deletion of the whole
 * file is noticed; a file that was moved keeps the id from its first line.
 */
export function auditChainId(path: string, instance: string = hostname()): string {
  return `${instance}:${resolve(path)}`;
}

/**
 * Opens the sinks, continues the chain of each file, and writes the `chain.start` of each, durably. Rejects with Fault
 * `audit_unavailable` where that cannot be done: nothing may run without its audit trail.
 *
 * Every sink has a chain of its own, so that one that fails leaves no gap in another.
 */
export async function openAuditLog(options: OpenAuditLogOptions): Promise<OpenedAuditLog> {
  const log = new Log(options);
  try {
    await log.open();
  } catch (error) {
    await log.abandon();
    const message = error instanceof Error ? error.message : String(error);
    throw new Fault('audit_unavailable', `the audit log cannot be opened: ${message}`, { cause: error });
  }
  return log;
}

class Log implements OpenedAuditLog {
  readonly #options: OpenAuditLogOptions;
  readonly #files: ChainWriter[] = [];
  readonly #streams: ChainWriter[] = [];
  #writers: readonly ChainWriter[] = [];
  readonly #listeners = new Set<(line: string) => void>();
  readonly #saved = new Map<string, number>();
  #timer: NodeJS.Timeout | null = null;
  #saving = false;
  #closed: Promise<void> | null = null;

  constructor(options: OpenAuditLogOptions) {
    this.#options = options;
  }

  async open(): Promise<void> {
    const { sinks, checkpointEveryMs = 10_000 } = this.#options;
    for (const sink of sinks) {
      if (sink.kind === 'file') await this.#openFile(sink.path);
      else this.#openStream(new StdoutSink(process.stdout));
    }
    if (sinks.length === 0) this.#openStream(new NoSink());
    this.#writers = [...this.#files, ...this.#streams];
    // The start of every chain goes before its first event, and a file that cannot be written shows here.
    for (const writer of this.#files) await this.#save(writer);
    if (this.#files.length > 0) {
      this.#timer = setInterval(() => void this.#checkpoints(), checkpointEveryMs);
      this.#timer.unref();
    }
  }

  async abandon(): Promise<void> {
    for (const writer of [...this.#files, ...this.#streams]) await writer.close();
  }

  record(event: AuditEventInput): void {
    for (const writer of this.#writers) writer.record(event);
  }

  /**
   * The files first, one after the other, then the streams: what a file refuses no stream has told. With several files one that
   * comes later can refuse what an earlier one holds already.
   */
  async recordDurably(event: AuditEventInput): Promise<void> {
    for (const writer of this.#files) await writer.recordDurably(event);
    for (const writer of this.#streams) {
      if (this.#files.length === 0) await writer.recordDurably(event);
      else writer.record(event);
    }
  }

  get saturated(): boolean {
    return this.#writers.some((writer) => writer.saturated);
  }

  subscribe(listener: (line: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async reopen(): Promise<void> {
    for (const writer of this.#files) await writer.reopen();
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer);
    for (const writer of this.#writers) {
      const written = await writer.close();
      if (written !== null && writer.durable) await this.#keep({ chain: writer.chain, ...written });
    }
    this.#listeners.clear();
  }

  async #openFile(path: string): Promise<void> {
    const { sink, found } = await FileSink.open(path);
    const chain = found.chain ?? auditChainId(path, this.#options.instance);
    const known = await this.#lastCheckpoint(chain);
    this.#files.push(this.#writer(sink, chain, ...resume(found, known)));
  }

  #openStream(sink: Sink): void {
    const { clock, instance = hostname() } = this.#options;
    // A stream cannot be read back, so every start is a new chain, told apart by its moment.
    const chain = `${instance}:${sink.name}:${process.pid}:${rfc3339(clock.now())}`;
    this.#streams.push(this.#writer(sink, chain, GENESIS, {}));
  }

  #writer(
    sink: Sink,
    chain: string,
    head: ChainHead,
    startDetails: { readonly [name: string]: AuditDetail },
  ): ChainWriter {
    const { onFull, clock, metrics } = this.#options;
    const first = this.#files.length + this.#streams.length === 0;
    return new ChainWriter({
      sink,
      chain,
      head,
      startDetails,
      onFull,
      clock,
      meter: metrics,
      onFailure: (error) => this.#failed(error),
      onWritten: first ? (lines) => this.#publish(lines) : null,
    });
  }

  async #lastCheckpoint(chain: string): Promise<ChainCheckpoint | null> {
    try {
      return (await this.#options.lastCheckpoint?.(chain)) ?? null;
    } catch (error) {
      this.#failed(error instanceof Error ? error : new Error(String(error)));
      return null;
    }
  }

  #publish(bytes: Buffer): void {
    if (this.#listeners.size === 0) return;
    const lines = bytes.toString('utf8').slice(0, -1).split('\n');
    for (const listener of this.#listeners) {
      try {
        for (const line of lines) listener(line);
      } catch (error) {
        // A listener that fails is one listener less; the trail is not its concern.
        this.#listeners.delete(listener);
        this.#failed(error instanceof Error ? error : new Error(String(error)));
      }
    }
  }

  async #checkpoints(): Promise<void> {
    if (this.#saving) return;
    this.#saving = true;
    try {
      for (const writer of this.#files) {
        if (this.#saved.get(writer.chain) !== writer.head.seq) await this.#save(writer);
      }
    } catch {
      // The writer has reported it; the next round tries again.
    } finally {
      this.#saving = false;
    }
  }

  async #save(writer: ChainWriter): Promise<void> {
    const written = await writer.checkpoint(false);
    this.#saved.set(writer.chain, written.seq);
    // Only now: what the store says must be on the disk, or a crash would look like a cut.
    await this.#keep({ chain: writer.chain, ...written });
  }

  async #keep(checkpoint: ChainCheckpoint): Promise<void> {
    try {
      await this.#options.saveCheckpoint?.(checkpoint);
    } catch (error) {
      this.#failed(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #failed(error: Error): void {
    this.#options.onFailure?.(error);
  }
}

/** Where a chain goes on. A checkpoint beyond the end of the file is proof that lines are gone: their numbers stay unused. */
function resume(
  found: FoundFile,
  known: ChainCheckpoint | null,
): [ChainHead, { readonly [name: string]: AuditDetail }] {
  if (known === null || known.seq <= found.head.seq) return [found.head, {}];
  if (found.empty) return [known, { after: 'checkpoint' }];
  return [
    { seq: known.seq, hash: found.head.hash },
    { lost_after: found.head.seq, checkpoint: known.seq },
  ];
}
