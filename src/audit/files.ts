import { open, readdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { readSealedLine } from './chain.ts';
import { readLines } from './lines.ts';

const COMPRESSED = /\.(?:gz|bz2|xz|zst|lz4)$/;

/** What the first line of an audit file says about the file. */
export interface FirstLine {
  readonly file: string;
  /** Empty where the line is none that begins a file. */
  readonly chain: string;
  readonly seq: number;
}

/** Reads the first line. A file that cannot be read is one without a chain: whoever reads on meets the error. */
export async function readFirstLine(file: string): Promise<FirstLine> {
  const unknown = { file, chain: '', seq: 0 };
  try {
    const handle = await open(file);
    try {
      for await (const lines of readLines(handle)) {
        const sealed = lines[0] === undefined ? null : readSealedLine(lines[0].bytes);
        const chain = sealed?.event.details?.['chain'];
        return sealed === null || typeof chain !== 'string' ? unknown : { file, chain, seq: sealed.event.seq };
      }
      return unknown;
    } finally {
      await handle.close();
    }
  } catch {
    return unknown;
  }
}

/** Files of one chain share out the places they have among the files by the order of their events. */
export function inOrder(firstLines: readonly FirstLine[]): string[] {
  const byChain = Map.groupBy(firstLines, ({ chain }) => chain);
  for (const [chain, lines] of byChain) {
    if (chain !== '') lines.sort((a, b) => a.seq - b.seq);
  }
  return firstLines.map(({ chain, file }) => byChain.get(chain)?.shift()?.file ?? file);
}

/**
 * The audit file at `path` with those that were rotated away beside it (`audit.jsonl.1`, `audit.jsonl-20260701`), the oldest first.
 * Compressed files are left out. Empty when there is none.
 */
export async function listAuditFiles(path: string): Promise<string[]> {
  const name = basename(path);
  const names = await readdir(dirname(path)).catch(() => []);
  const files = names
    .filter((other) => other === name || other.startsWith(`${name}.`) || other.startsWith(`${name}-`))
    .filter((other) => !COMPRESSED.test(other))
    .map((other) => join(dirname(path), other));
  return inOrder(await Promise.all(files.map(readFirstLine)));
}
