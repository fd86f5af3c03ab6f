import { dirname } from 'node:path';
import { makeFolder } from '../base/make-folder.ts';
import type { AuditSinkConfig } from '../config/config.ts';
import { Fault } from '../model/fault.ts';
import { holdExclusively } from '../store/sqlite/exclusive-lock.ts';

/**
 * Keeps a second process from writing into this one's audit files: two writers would break the chain in a way that
 * cannot be told from tampering. Returns the way to let go. Throws a Fault `conflict` that names the file.
 */
export function lockAuditFiles(sinks: readonly AuditSinkConfig[], waitMs: number): () => void {
  const held: { release(): void }[] = [];
  const release = (): void => {
    for (const lock of held.splice(0)) lock.release();
  };
  for (const sink of sinks) {
    if (sink.kind !== 'file') continue;
    try {
      makeFolder(dirname(sink.path));
      held.push(holdExclusively(`${sink.path}.lock`, waitMs));
    } catch (error) {
      release();
      if (!(error instanceof Fault && error.code === 'conflict')) throw error;
      const message = `${sink.path}: another gateway writes this audit file; each process needs its own (audit.sinks)`;
      throw new Fault('conflict', message, { cause: error });
    }
  }
  return release;
}
