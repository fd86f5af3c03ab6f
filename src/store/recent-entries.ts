/**
 * The entries that were used last: at most `capacity`, and not fewer than half of it once there were as many. In two maps, of which
 * the older is let go as a whole. In a single one, from which the oldest entry is deleted for each new one, thousands of deleted
 * entries come to stand at the front, and all of them are passed over each time that the oldest is looked for.
 */
export class RecentEntries<Value> {
  readonly #half: number;
  #recent = new Map<string, Value>();
  #older = new Map<string, Value>();

  constructor(capacity: number) {
    this.#half = Math.ceil(capacity / 2);
  }

  get(key: string): Value | undefined {
    const recent = this.#recent.get(key);
    if (recent !== undefined) return recent;
    const older = this.#older.get(key);
    if (older !== undefined) this.set(key, older);
    return older;
  }

  set(key: string, value: Value): void {
    if (this.#recent.size >= this.#half && !this.#recent.has(key)) {
      this.#older = this.#recent;
      this.#recent = new Map();
    }
    this.#recent.set(key, value);
  }

  delete(key: string): void {
    this.#recent.delete(key);
    this.#older.delete(key);
  }

  clear(): void {
    this.#recent = new Map();
    this.#older = new Map();
  }
}
