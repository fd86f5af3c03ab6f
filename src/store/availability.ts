import type { StoreListener } from './token-store.ts';

/** Turns many signs of life or death into one call of the listener per change. A store begins as reachable. */
export class Availability {
  #lost = false;
  #silent = false;
  readonly #listen: StoreListener | undefined;

  constructor(listen: StoreListener | undefined) {
    this.#listen = listen;
  }

  get lost(): boolean {
    return this.#lost;
  }

  markLost(): void {
    if (this.#lost || this.#silent) return;
    this.#lost = true;
    this.#listen?.('lost');
  }

  markRestored(): void {
    if (!this.#lost || this.#silent) return;
    this.#lost = false;
    this.#listen?.('restored');
  }

  /** A store that is closed on purpose is not lost. */
  silence(): void {
    this.#silent = true;
  }
}
