import type { AuditDetail } from '../../model/audit-event.ts';

/** Members for the details of the `chain.start` event that a sink wants to be written before anything else. */
export type Opening = { readonly [name: string]: AuditDetail };

/** Where the lines of one chain go. One call at a time. */
export interface Sink {
  /** The label in metrics. */
  readonly name: 'file' | 'stdout' | 'none';
  /** Whether `append(…, true)` means that the lines survive a crash of the machine. */
  readonly durable: boolean;
  /**
   * Called before every append. Not null when the lines to come start or take up a file (first use, rotation, a file that
   * was changed by somebody else): the chain then writes a `chain.start` with these details.
   */
  prepare(): Promise<Opening | null>;
  /**
   * All or nothing: when it rejects, none of `data` stands in the sink, or will before the next `prepare` returns.
   * With `sync` it resolves when the data is on the disk.
   */
  append(data: Buffer, sync: boolean): Promise<void>;
  /** Looks whether the file at the path is still the one in use, and changes over if not. */
  reopen(): Promise<void>;
  close(): Promise<void>;
}
