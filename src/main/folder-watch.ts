import { type FSWatcher, statSync, watch } from 'node:fs';
import type { Logger } from '../metrics/log.ts';

/** Editors and deployments change a folder in several steps; changes without a pause of this length are one. */
const SETTLE_MS = 200;

/** A folder that never comes to rest is looked at all the same. */
const RESTLESS_MS = 2000;

/**
 * Pause between two looks without a hint, milliseconds. Not every change comes with one: the folder may be a symbolic link
 * that now leads elsewhere, may have been removed and made anew, or lie on another machine.
 */
const LOOK_MS = 1000;

/** Calls `look` soon after something in a folder may have changed. Only hints: `look` finds out whether it has. */
export class FolderWatch {
  readonly #folder: string;
  readonly #look: () => Promise<void>;
  readonly #log: Logger;
  #watcher: FSWatcher | null = null;
  /** Which folder is being watched; the name may come to stand for another. */
  #identity = '';
  #timer: NodeJS.Timeout | null = null;
  /** Monotonic milliseconds; null while nothing has changed since the last look. */
  #restlessSince: number | null = null;
  #looking = false;
  #closed = false;

  constructor(folder: string, look: () => Promise<void>, log: Logger) {
    this.#folder = folder;
    this.#look = look;
    this.#log = log;
    this.#arm();
    this.#schedule(LOOK_MS);
  }

  close(): void {
    this.#closed = true;
    this.#watcher?.close();
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  #hint(): void {
    const now = performance.now();
    this.#restlessSince ??= now;
    this.#schedule(Math.max(0, Math.min(SETTLE_MS, this.#restlessSince + RESTLESS_MS - now)));
  }

  #schedule(delayMs: number): void {
    if (this.#closed || this.#looking) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#lookNow(), delayMs);
    this.#timer.unref();
  }

  async #lookNow(): Promise<void> {
    this.#timer = null;
    this.#restlessSince = null;
    this.#looking = true;
    this.#arm();
    try {
      await this.#look();
    } catch (error) {
      this.#log.error({ err: error, folder: this.#folder }, 'a change of the folder could not be taken up');
    }
    this.#looking = false;
    // What changed during the look may have come too late for it.
    this.#schedule(this.#restlessSince === null ? LOOK_MS : SETTLE_MS);
  }

  /** Watches the folder that the name stands for now. Not recursive: folders within it are not read. */
  #arm(): void {
    try {
      const { dev, ino } = statSync(this.#folder);
      const identity = `${dev}:${ino}`;
      if (this.#watcher !== null && identity === this.#identity) return;
      this.#watcher?.close();
      this.#watcher = watch(this.#folder, () => this.#hint());
      this.#watcher.on('error', () => this.#disarm());
      this.#identity = identity;
    } catch {
      // It is looked at again soon, watched or not.
      this.#disarm();
    }
  }

  #disarm(): void {
    this.#watcher?.close();
    this.#watcher = null;
  }
}
