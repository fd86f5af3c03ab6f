const SLOT_BYTES = 64 * 1024;
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

  /** A part of at most the size of a slot; others get memory of their own. */
  copyOf(part: Buffer): BodyCopy {
    const slot =
      part.length > SLOT_BYTES ? new Slot(this, part.length) : (this.#free.pop() ?? new Slot(this, SLOT_BYTES));
    return slot.take(part);
  }

  giveBack(slot: Slot): void {
    if (slot.size === SLOT_BYTES && this.#free.length < KEPT_SLOTS) this.#free.push(slot);
  }
}

class Slot implements BodyCopy {
  readonly size: number;
  readonly #owner: BodyBuffers;
  readonly #memory: Buffer;
  bytes: Buffer;

  constructor(owner: BodyBuffers, size: number) {
    this.#owner = owner;
    this.size = size;
    this.#memory = Buffer.allocUnsafeSlow(size);
    this.bytes = this.#memory;
  }

  take(part: Buffer): BodyCopy {
    part.copy(this.#memory);
    this.bytes = part.length === this.size ? this.#memory : this.#memory.subarray(0, part.length);
    return this;
  }

  readonly written = (error?: Error | null): void => {
    if (error === undefined || error === null) this.#owner.giveBack(this);
  };
}
