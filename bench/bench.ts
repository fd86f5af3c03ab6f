import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { BenchOptions } from './options.ts';
import { Processes } from './processes.ts';

/** The one core of whatever is measured. */
export const SERVER_CORE = 0;

/** The core of the load, the upstream and the store. */
export const LOAD_CORE = 1;

export const ROOT = resolve(import.meta.dirname, '..');

/** What every measure works with. */
export class Bench {
  readonly options: BenchOptions;
  readonly processes = new Processes();
  /** Gone with the bench. Holds tokens, so it is for its owner alone. */
  readonly folder = mkdtempSync(join(tmpdir(), 'portcullis-bench-'));
  /** The same, for what other users have to read. */
  readonly publicFolder = mkdtempSync(join(tmpdir(), 'portcullis-bench-public-'));
  readonly #tell: (line: string) => void;

  constructor(options: BenchOptions, tell: (line: string) => void) {
    this.options = options;
    this.#tell = tell;
    chmodSync(this.publicFolder, 0o755);
  }

  /** Progress, for whoever waits. */
  tell(line: string): void {
    this.#tell(line);
  }

  removeFolders(): void {
    for (const folder of [this.folder, this.publicFolder]) rmSync(folder, { recursive: true, force: true });
  }
}
