import type { Readable, Writable } from 'node:stream';

const NEWLINE = 0x0a;

/**
 * Whole lines of several processes to one stream: written by each of them, long ones would end up in each other. Waits for a slow
 * reader; when the reader is gone, the processes hear of it as if it had been theirs.
 */
export class LineRelay {
  readonly #to: Writable;
  readonly #from = new Set<Readable>();
  #broken = false;

  constructor(to: Writable) {
    this.#to = to;
    to.on('error', () => {
      this.#broken = true;
      for (const from of this.#from) from.destroy();
    });
    to.on('drain', () => {
      for (const from of this.#from) from.resume();
    });
  }

  add(from: Readable): void {
    if (this.#broken) {
      from.destroy();
      return;
    }
    let begun: Buffer[] = [];
    this.#from.add(from);
    from.on('data', (chunk: Buffer) => {
      const end = chunk.lastIndexOf(NEWLINE) + 1;
      if (end === 0) {
        begun.push(chunk);
        return;
      }
      const lines = Buffer.concat([...begun, chunk.subarray(0, end)]);
      begun = end === chunk.length ? [] : [chunk.subarray(end)];
      if (!this.#to.write(lines)) for (const each of this.#from) each.pause();
    });
    // A line that a killed process did not finish ends here, and not in another's.
    from.on('end', () => begun.length > 0 && this.#to.write(Buffer.concat([...begun, Buffer.from('\n')])));
    from.on('error', () => undefined);
    from.on('close', () => this.#from.delete(from));
  }
}
