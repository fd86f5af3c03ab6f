import { readdir } from 'node:fs/promises';
import { basename, dirname, join, parse } from 'node:path';
import { listAuditFiles } from './files.ts';

/**
 * Where worker `worker` writes what is configured for `path`: two processes never write one chain. The first keeps the name,
 * the second has `audit.w2.jsonl` for `audit.jsonl`.
 */
export function workerFile(path: string, worker: number): string {
  if (worker === 1) return path;
  const { dir, name, ext } = parse(path);
  return join(dir, `${name}.w${worker}${ext}`);
}

/**
 * The path itself, and those of further workers of which anything is there, also if it is only a file that was rotated away. By
 * number; also of workers that are not started any more.
 */
export async function workerFiles(path: string): Promise<string[]> {
  const { name, ext } = parse(path);
  const names = await readdir(dirname(path)).catch(() => []);
  const workers = new Set<number>();
  for (const other of names) {
    if (!other.startsWith(`${name}.w`)) continue;
    const digits = /^[1-9]\d{0,3}/.exec(other.slice(name.length + 2))?.[0] ?? '';
    const rest = other.slice(name.length + 2 + digits.length);
    if (digits !== '' && isFileOrRotated(rest, ext)) workers.add(Number(digits));
  }
  workers.delete(1);
  return [path, ...[...workers].sort((a, b) => a - b).map((worker) => workerFile(path, worker))];
}

/** Every file of the trail at `path`, of every worker, with those that were rotated away: of each worker the oldest first. */
export async function listTrail(path: string): Promise<string[]> {
  const files = await Promise.all((await workerFiles(path)).map(listAuditFiles));
  return files.flat();
}

/** As `files`, each with those of further workers that are there beside it. */
export async function withWorkerFiles(files: readonly string[]): Promise<string[]> {
  const found = await Promise.all(
    files.map(async (file) => {
      const [own = file, ...others] = await workerFiles(file);
      const names = new Set(await readdir(dirname(file)).catch(() => []));
      return [own, ...others.filter((other) => names.has(basename(other)))];
    }),
  );
  return [...new Map(found.flat().map((file) => [join(file), file])).values()];
}

function isFileOrRotated(rest: string, ext: string): boolean {
  return rest === ext || (rest.startsWith(ext) && /^[.-]/.test(rest.slice(ext.length)));
}
