import { type ChangeKind, type ChangeLog, type LogEntry, type LogPosition, logNumber } from './change-log.ts';

/** Announcements that are under way at once. */
const AT_ONCE = 32;

/** The entries that stand for the changes of some tokens, one each. */
export class Announcement {
  readonly #log: ChangeLog;
  readonly #kind: ChangeKind;
  readonly #ids: readonly string[];
  readonly #positions = new Map<string, LogPosition>();
  readonly #onEntry: (entry: LogEntry) => void;

  constructor(log: ChangeLog, ids: readonly string[], kind: ChangeKind, onEntry: (entry: LogEntry) => void) {
    this.#log = log;
    this.#ids = ids;
    this.#kind = kind;
    this.#onEntry = onEntry;
  }

  get positions(): readonly LogPosition[] {
    return [...this.#positions.values()];
  }

  /** Whoever has applied it has applied them all, where the log holds all of them. */
  get newest(): LogPosition {
    return this.positions.reduce((newest, each) => (logNumber(each) > logNumber(newest) ? each : newest), '0-0');
  }

  async make(): Promise<void> {
    await this.#announce(this.#ids);
  }

  /** Appends entries in place of those that the log has lost. */
  async repeat(missing: readonly LogPosition[]): Promise<void> {
    const lost = new Set(missing);
    await this.#announce(this.#ids.filter((id) => lost.has(this.#positions.get(id) ?? '')));
  }

  async #announce(ids: readonly string[]): Promise<void> {
    for (let start = 0; start < ids.length; start += AT_ONCE) {
      await Promise.all(
        ids.slice(start, start + AT_ONCE).map(async (id) => {
          const position = await this.#log.announce(id, this.#kind);
          this.#positions.set(id, position);
          this.#onEntry({ position, kind: this.#kind, id });
        }),
      );
    }
  }
}
