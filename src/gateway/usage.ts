import type { Logger } from '../metrics/log.ts';
import type { TokenUse } from '../store/token-store.ts';

const FLUSH_MS = 2_000;
const MAX_PENDING = 50_000;

interface PendingUse {
  at: number;
  ip: string;
  count: number;
}

/**
 * Notes who used which token, adds uses up in memory and writes them in the background: `last_used_at` costs the
 * request nothing. Bounded; what does not fit, or cannot be written while the store is away, waits for the next round.
 */
export class UsageNotes {
  readonly #write: (uses: readonly TokenUse[]) => Promise<void>;
  readonly #log: Logger;
  readonly #timer: NodeJS.Timeout;
  #pending = new Map<string, Map<number, PendingUse>>();
  #writing: Promise<void> | null = null;

  constructor(write: (uses: readonly TokenUse[]) => Promise<void>, log: Logger) {
    this.#write = write;
    this.#log = log;
    this.#timer = setInterval(() => void this.flush(), FLUSH_MS);
    this.#timer.unref();
  }

  note(use: TokenUse): void {
    let generations = this.#pending.get(use.id);
    if (generations === undefined) {
      if (this.#pending.size >= MAX_PENDING) return;
      generations = new Map();
      this.#pending.set(use.id, generations);
    }
    const known = generations.get(use.generation);
    if (known === undefined) {
      generations.set(use.generation, { at: use.at, ip: use.ip, count: use.count });
      return;
    }
    known.count += use.count;
    if (use.at >= known.at) {
      known.at = use.at;
      known.ip = use.ip;
    }
  }

  /** Writes what has been noted. Never rejects: the notes are kept for the next round where the store refuses. */
  async flush(): Promise<void> {
    if (this.#writing !== null) await this.#writing;
    if (this.#pending.size === 0) return;
    this.#writing = this.#writeOut();
    await this.#writing;
    this.#writing = null;
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.flush();
  }

  async #writeOut(): Promise<void> {
    const batch = this.#pending;
    this.#pending = new Map();
    const uses: TokenUse[] = [];
    for (const [id, generations] of batch) {
      for (const [generation, use] of generations) uses.push({ id, generation, ...use });
    }
    try {
      await this.#write(uses);
    } catch (error) {
      this.#log.debug({ err: error, uses: uses.length }, 'token uses could not be written yet');
      for (const use of uses) this.note(use);
    }
  }
}
