import { stat } from 'node:fs/promises';
import type { AuditEvent } from '../audit/event.ts';
import { type ReadProgress, readAuditFile, readAuditStream } from '../audit/read-events.ts';
import { listTrail } from '../audit/worker-files.ts';
import type { Config } from '../config/config.ts';
import { type CommandContext, CommandFailure } from './command.ts';

/** Stands for stdin in place of a file. */
const STDIN = '-';

/** The audit files of a configuration, of every worker, with what was rotated away beside them: of each the oldest first. */
export async function auditFilesOf(config: Config): Promise<string[]> {
  const paths = config.audit.sinks.flatMap((sink) => (sink.kind === 'file' ? [sink.path] : []));
  const found = await Promise.all(paths.map(listTrail));
  // A file that is not there is named all the same, so that it is reported.
  return found.flatMap((files, index) => (files.length > 0 ? files : (paths[index] ?? [])));
}

/** What `eachRequestEvent` has read. */
export interface ReadFiles {
  readonly files: readonly string[];
  readonly lines: number;
  readonly malformed: number;
}

/**
 * Hands every access event of the files (`-`: stdin) to `take`, one after the other and in bounded memory, and shows how far it
 * is. Fails where a file cannot be read, and where there is no audit event in all of them: nothing would have been looked at.
 */
export async function eachAccessEvent(
  context: CommandContext,
  files: readonly string[],
  take: (event: AuditEvent) => void,
): Promise<ReadFiles> {
  const { output, runtime } = context;
  const progress: ReadProgress = { lines: 0, malformed: 0, bytes: 0 };
  const total = await totalBytes(files);
  let events = 0;
  let shown = 0;
  for (const file of files) {
    const name = file === STDIN ? 'stdin' : file;
    const batches =
      file === STDIN ? readAuditStream(runtime.stdin, progress, NEEDLE) : readAuditFile(file, progress, NEEDLE);
    try {
      for await (const batch of batches) {
        for (const event of batch) take(event);
        events += batch.length;
        if (events - shown < 20_000) continue;
        shown = events;
        const share = total === null || total === 0 ? '' : `, ${Math.floor((progress.bytes / total) * 100)} %`;
        output.progress(`${name}: ${events} requests${share}`);
      }
    } catch (error) {
      throw new CommandFailure(`${name} cannot be read: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  output.progress(null);
  if (progress.lines === progress.malformed) {
    throw new CommandFailure(
      `there is no audit event in ${files.map((file) => (file === STDIN ? 'stdin' : file)).join(', ')}`,
    );
  }
  return { files, lines: progress.lines, malformed: progress.malformed };
}

/** In every line of an access event, and cheap to look for. */
const NEEDLE = '"type":"access.';

/** Null with stdin, whose end nobody knows. */
async function totalBytes(files: readonly string[]): Promise<number | null> {
  let total = 0;
  for (const file of files) {
    if (file === STDIN) return null;
    const found = await stat(file).catch((error: unknown) => {
      throw new CommandFailure(`${file} cannot be read: ${error instanceof Error ? error.message : String(error)}`);
    });
    total += found.size;
  }
  return total;
}
