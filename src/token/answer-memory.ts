interface Remembered<T> {
  readonly value: T;
  /** Monotonic milliseconds. */
  readonly since: number;
  readonly characters: number;
}

/** Answers by digest, for a time each; bounded in number and in characters, the oldest go first. */
export class AnswerMemory<T> {
  readonly #most: number;
  readonly #mostCharacters: number;
  readonly #goodForMs: number;
  readonly #remembered = new Map<string, Remembered<T>>();
  #characters = 0;

  constructor(most: number, mostCharacters: number, goodForMs: number) {
    this.#most = most;
    this.#mostCharacters = mostCharacters;
    this.#goodForMs = goodForMs;
  }

  get size(): number {
    return this.#remembered.size;
  }

  /** `at`: monotonic milliseconds. */
  get(digest: string, at: number): T | undefined {
    const found = this.#remembered.get(digest);
    if (found === undefined) return undefined;
    if (at - found.since < this.#goodForMs) return found.value;
    this.#drop(digest, found);
    return undefined;
  }

  /** `since`: from when on the answer is good. */
  put(digest: string, value: T, since: number, characters: number): void {
    const before = this.#remembered.get(digest);
    if (before !== undefined) this.#drop(digest, before);
    if (this.#goodForMs === 0) return;
    this.#remembered.set(digest, { value, since, characters });
    this.#characters += characters;
    for (const [oldest, entry] of this.#remembered) {
      const room = this.#remembered.size <= this.#most && this.#characters <= this.#mostCharacters;
      // What is over goes too, so that a quiet memory is an empty one.
      if (room && since - entry.since < this.#goodForMs) break;
      this.#drop(oldest, entry);
    }
  }

  #drop(digest: string, { characters }: Remembered<T>): void {
    this.#remembered.delete(digest);
    this.#characters -= characters;
  }
}
