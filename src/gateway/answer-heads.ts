import type { ResponseHead } from './response-head.ts';

/** The framing of an answer (RFC 9112 §6.3) and what becomes of its connection (§9.3), as its head says. */
export interface AnswerFraming {
  readonly chunked: boolean;
  /** -1 where it is not said. */
  readonly length: number;
  readonly keepAlive: boolean;
  readonly idleMs: number | null;
}

/** The head of an answer as it was read. */
export interface AnswerHead {
  readonly status: number;
  readonly reasonPhrase: string;
  /** Name and value in turn, latin1, without the white space around values. */
  readonly fields: readonly string[];
  /** Null for an interim answer. */
  readonly framing: AnswerFraming | null;
  readonly memo: AnswerMemo | null;
}

/** What follows from the head of an answer and nothing else; whoever works it out leaves it here for the next one. */
export class AnswerMemo {
  /** What goes to a client that can be sent no trailers, and to one that can. */
  relayed: ResponseHead | null = null;
  relayedWithTrailers: ResponseHead | null = null;
}

/** Heads that are remembered, and the longest of them, characters. */
const REMEMBERED = 64;
const LONGEST = 2 * 1024;

/** Answers in a row with new heads after which only one in so many is remembered, to see whether they come again now. */
const NEWS_BORNE = 64;

/**
 * The last heads of an upstream's answers by their text: what an upstream says to the same question is, within a second, most
 * often the same to the letter.
 */
export class AnswerHeads {
  readonly #known = new Map<string, AnswerHead>();
  #news = 0;

  /** `read` is given a text that holds on to nothing else. What it throws is thrown. */
  get(text: string, read: (text: string) => AnswerHead): AnswerHead {
    const known = this.#known.get(text);
    if (known !== undefined) {
      this.#news = 0;
      return known;
    }
    this.#news += 1;
    if (text.length > LONGEST || (this.#news > NEWS_BORNE && this.#news % NEWS_BORNE !== 0)) return read(text);
    // A part of a text keeps the whole of it in memory, and that is what has been read from the connection.
    const copy = Buffer.from(text, 'latin1').toString('latin1');
    const head = read(copy);
    // An interim answer is the exception.
    if (head.framing === null) return head;
    // Begun anew when full: every second has another `Date`.
    if (this.#known.size >= REMEMBERED) this.#known.clear();
    this.#known.set(copy, head);
    return head;
  }
}
