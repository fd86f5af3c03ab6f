import type { EventLines } from './messages.ts';

/** Characters that may be on their way to another process; beyond, lines are left out and counted. */
const MOST_UNDER_WAY = 4 * 1024 * 1024;

/** Event lines to another process, bounded: one that does not read must not fill this one's memory. */
export class LineFeed {
  readonly #send: (message: EventLines, sent: () => void) => void;
  #underWay = 0;
  #missed = 0;

  constructor(send: (message: EventLines, sent: () => void) => void) {
    this.#send = send;
  }

  send(lines: readonly string[], missed = 0): void {
    this.#missed += missed;
    if (this.#underWay > MOST_UNDER_WAY) {
      this.#missed += lines.length;
      return;
    }
    const size = lines.reduce((sum, line) => sum + line.length, 0);
    this.#underWay += size;
    this.#send({ type: 'lines', lines, missed: this.#missed }, () => {
      this.#underWay -= size;
    });
    this.#missed = 0;
  }
}
