const SLOT_BYTES = 64 * 1024;
/**
 * A shorter part gets memory of its own length: in a slot each, the parts of an answer in chunks of one byte would hold
 * thousands of times their size.
 */
const SHORTEST_IN_SLOT_BYTES = 8 * 1024;
/** Slots that are kept for the next part; more may be in use. */
const KEPT_SLOTS = 64;

/** A copy of a part of a body, to be given back when it has been written. */
export interface BodyCopy {
  readonly bytes: Buffer;
  /** The callback of the write. After a failed write the bytes may still be looked at: then the slot is left to the collector. */
  readonly written: (error?: Error | null) => void;
}

/**
 * Memory for parts of bodies between the two connections. A fresh buffer for each part makes the collector of old
 * memory run all the time: half of what a download costs.
 */
export class BodyBuffers {
  readonly #free: Slot[] = [];

  /** In a slot where it about fills one; others get memory of their own. */
  copyOf(part: Buffer): BodyCopy {
    if (part.length < SHORTEST_IN_SLOT_BYTES || part.length > SLOT_BYTES) return { bytes: Buffer.from(part), written };
    return (this.#free.pop() ?? new Slot(this)).take(part);
  }

  giveBack(slot: Slot): void {
    if (this.#free.length < KEPT_SLOTS) this.#free.push(slot);
  }
}

class Slot implements BodyCopy {
  readonly #owner: BodyBuffers;
  readonly #memory = Buffer.allocUnsafeSlow(SLOT_BYTES);
  bytes = this.#memory;
  /** Lent out: to be given back once, whatever calls. */
  #taken = false;

  constructor(owner: BodyBuffers) {
    this.#owner = owner;
  }

  take(part: Buffer): BodyCopy {
    part.copy(this.#memory);
    this.bytes = part.length === SLOT_BYTES ? this.#memory : this.#memory.subarray(0, part.length);
    this.#taken = true;
    return this;
  }

  readonly written = (error?: Error | null): void => {
    if (!this.#taken) return;
    this.#taken = false;
    if (error === undefined || error === null) this.#owner.giveBack(this);
  };
}

function written(): void {
  // Memory that nobody uses again.
}
