/** Header of a frame without a length of its own or a mask, bytes. */
const SHORTEST_HEADER = 2;
const LONGEST_HEADER = 14;
const OPCODE = 0x0f;
const CLOSE = 0x8;
const MASKED = 0x80;
const LENGTH = 0x7f;

/**
 * Follows the frames of one direction of a WebSocket (RFC 6455 §5.2) by their headers alone, to know when it stands
 * between two of them: only there a control frame can be put in (§5.4). Payload is skipped, never looked at or copied.
 */
export class FrameBoundary {
  readonly #header = new Uint8Array(LONGEST_HEADER);
  #read = 0;
  /** Payload bytes of the present frame that are still to come. */
  #payload = 0;
  #closed = false;

  /** Nothing of a frame is outstanding, and no close frame has gone by, after which nothing may follow (§5.5.1). */
  get between(): boolean {
    return this.#read === 0 && this.#payload === 0 && !this.#closed;
  }

  /** Reads on. What comes after a close frame is of no interest. */
  push(bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.length && !this.#closed) {
      if (this.#payload > 0) {
        const skipped = Math.min(this.#payload, bytes.length - at);
        this.#payload -= skipped;
        at += skipped;
        continue;
      }
      this.#header[this.#read] = bytes[at] ?? 0;
      this.#read += 1;
      at += 1;
      if (this.#read < SHORTEST_HEADER || this.#read < headerLength(this.#header)) continue;
      this.#payload = payloadLength(this.#header);
      this.#closed = ((this.#header[0] ?? 0) & OPCODE) === CLOSE;
      this.#read = 0;
    }
  }
}

function headerLength(header: Uint8Array): number {
  const second = header[1] ?? 0;
  const length = second & LENGTH;
  return SHORTEST_HEADER + (length === 126 ? 2 : length === 127 ? 8 : 0) + ((second & MASKED) === 0 ? 0 : 4);
}

/** Beyond 2^53 a double is not exact; nobody lives to see the end of such a frame. */
function payloadLength(header: Uint8Array): number {
  const length = (header[1] ?? 0) & LENGTH;
  const digits = length === 126 ? 2 : length === 127 ? 8 : 0;
  if (digits === 0) return length;
  let value = 0;
  for (let i = 0; i < digits; i += 1) value = value * 256 + (header[SHORTEST_HEADER + i] ?? 0);
  return value;
}
