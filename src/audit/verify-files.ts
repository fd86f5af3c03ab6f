import { open } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { inOrder, readFirstLine } from './files.ts';
import { readLines } from './lines.ts';
import { type ChainSummary, ChainVerifier, type Checkpoint, type Notice, type Problem } from './verify.ts';

/** How long a last line without its end is given to be finished, milliseconds: the log may be in use. */
const UNFINISHED_LINE_MS = 100;
const MAX_PROBLEMS = 100;

export interface VerifyOptions {
  /** The newest checkpoint of a chain that is kept outside of the files. */
  readonly lastCheckpoint?: (chain: string) => Promise<Checkpoint | null>;
  /** Chains that have to be there, such as those of the configured files: one that is missing entirely is a problem. */
  readonly expectedChains?: readonly string[];
}

export interface VerifyReport {
  readonly ok: boolean;
  readonly lines: number;
  readonly chains: readonly ChainSummary[];
  /** The first 100, in the order in which they were found. */
  readonly problems: readonly Problem[];
  readonly problemCount: number;
  /** What is worth knowing and not wrong. */
  readonly notices: readonly Notice[];
}

/**
 * Verifies audit files. Files of one chain are taken in the order of their events, whatever order they were given in. A file that
 * cannot be read is a problem of the report. Rejects only when `lastCheckpoint` does.
 */
export async function verifyAuditFiles(files: readonly string[], options: VerifyOptions = {}): Promise<VerifyReport> {
  const problems: Problem[] = [];
  let problemCount = 0;
  const report = (problem: Problem): void => {
    problemCount += 1;
    if (problems.length < MAX_PROBLEMS) problems.push(problem);
  };
  const notices: Notice[] = [];
  const firstLines = await Promise.all(files.map(readFirstLine));
  // Before the files are read: a log in use may have new events and a newer checkpoint by the time they are.
  const checkpoints = await readCheckpoints(
    firstLines.map(({ chain }) => chain),
    options,
  );
  const verifier = new ChainVerifier(checkpoints, report, (notice) => {
    if (notices.length < MAX_PROBLEMS) notices.push(notice);
  });
  let lines = 0;
  for (const file of inOrder(firstLines)) {
    try {
      lines += await verifyFile(verifier, file);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      report({ file, line: 0, kind: 'unreadable', message });
    }
  }
  const chains = verifier.finish();
  return { ok: problemCount === 0, lines, chains, problems, problemCount, notices };
}

async function verifyFile(verifier: ChainVerifier, file: string): Promise<number> {
  const handle = await open(file);
  try {
    verifier.beginFile(file);
    let number = 0;
    for await (const batch of readLines(handle, 0, () => delay(UNFINISHED_LINE_MS))) {
      for (const { bytes, terminated } of batch) {
        number += 1;
        verifier.line(number, bytes, terminated);
      }
    }
    verifier.endFile();
    return number;
  } finally {
    await handle.close();
  }
}

async function readCheckpoints(
  chains: readonly string[],
  { lastCheckpoint, expectedChains = [] }: VerifyOptions,
): Promise<ReadonlyMap<string, Checkpoint>> {
  const checkpoints = new Map<string, Checkpoint>();
  if (lastCheckpoint === undefined) return checkpoints;
  for (const chain of new Set([...chains, ...expectedChains])) {
    const checkpoint = chain === '' ? null : await lastCheckpoint(chain);
    if (checkpoint !== null) checkpoints.set(chain, checkpoint);
  }
  return checkpoints;
}
