import type { LogPosition } from './change-log.ts';

/** Changes that are remembered until somebody asks where they stand. */
const REMEMBERED = 4000;

/** Where in the log the changes stand that this process has made and not announced yet. */
export class OwnChanges {
  readonly #positions = new Map<string, LogPosition>();

  note(id: string, position: LogPosition): void {
    this.#positions.delete(id);
    this.#positions.set(id, position);
    if (this.#positions.size <= REMEMBERED) return;
    const [oldest = ''] = this.#positions.keys();
    this.#positions.delete(oldest);
  }

  take(id: string): LogPosition | null {
    const position = this.#positions.get(id) ?? null;
    this.#positions.delete(id);
    return position;
  }
}
