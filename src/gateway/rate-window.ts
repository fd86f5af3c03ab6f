import type { MaybePromise } from '../base/result.ts';
import { Fault } from '../model/fault.ts';
import type { RateLimit } from '../policy/compiled-policy.ts';
import type { RateCount } from '../store/rate-counter.ts';

/** By how much several processes together may let through more than a limit says. */
const TOLERANCE = 0.05;

/**
 * Requests that one of so many processes lets through before the store has heard of them. When the store's count reaches
 * the limit, at most so many are unknown to it from each process; and either one place fewer was taken before, or one
 * process knows of none. 0 for small limits: every request is counted in the store first.
 */
export function allowanceOf(requests: number, replicas: number): number {
  return Math.floor((requests * TOLERANCE + 1) / replicas);
}

/** A request whose place the store has to tell. */
interface Waiting {
  readonly tell: (place: number) => void;
  readonly fail: (error: unknown) => void;
}

/** What a window needs of what is around it. */
export interface RateWindowServices {
  /** Adds to the count of this window in the store. */
  count(window: RateWindow, add: number): MaybePromise<RateCount>;
  monotonic(): number;
}

/**
 * One window of one limit for one client, as this process sees it. Each request takes a *place*: the first one is 1, and
 * places up to the limit are let through. Places are given at once as long as few of them are unknown to the store,
 * which hears of them in the background; otherwise the store gives them.
 */
export class RateWindow {
  /** What the store calls it. */
  readonly key: string;
  readonly limit: RateLimit;
  readonly #services: RateWindowServices;
  /** Monotonic milliseconds. Until the store has said, a guess: a window that begins now. */
  endsAt: number;
  /** The store has said when the window ends. */
  #settled = false;
  /** The store's count when it was last asked; it has only grown since. */
  #known = 0;
  /** Let through here, and not told yet. */
  #untold: number;
  /** Let through here, and on its way to the store. */
  #sent = 0;
  #waiting: Waiting[] = [];
  #asking = false;
  /** What is on its way asks for places, not only tells. */
  #placing = false;

  /** `untold`: let through in a window before this one, which for the store may be the same. */
  constructor(key: string, limit: RateLimit, services: RateWindowServices, untold: number) {
    this.key = key;
    this.limit = limit;
    this.#services = services;
    this.#untold = untold;
    this.endsAt = services.monotonic() + limit.perMs;
  }

  /** What a window that begins now takes over of this one, which is over. */
  carriesOver(now: number): number {
    // Of a window whose end the store has told, all belonged to it. One that ended long ago overlaps no open one.
    return this.#settled || now - this.endsAt >= this.limit.perMs ? 0 : this.#untold;
  }

  /** Whether the store would miss something if the window were forgotten. */
  get owes(): boolean {
    return this.#untold > 0;
  }

  /**
   * The place of a request; beyond the limit it is to be refused. `allowance`: places that may be unknown to the store;
   * `headroom`: how far the count has to be from the limit for that.
   */
  take(allowance: number, headroom: number): MaybePromise<number> {
    const { requests } = this.limit;
    if (this.#known >= requests) return requests + 1;
    const unknown = this.#untold + this.#sent;
    const place = this.#known + unknown + 1;
    // While places are asked for none is given here: the last one of the limit may be among them.
    if (unknown < allowance && place <= requests - headroom && !this.#placing) {
      this.#untold += 1;
      // Early enough that the allowance lasts until the store has answered.
      if (this.#untold * 2 > allowance && !this.#asking) this.tell();
      return place;
    }
    return this.#asking ? this.#wait() : this.#send(1);
  }

  /** The place of a request while the store cannot be asked: what is known here has to do. */
  takeAlone(): number {
    const place = this.#known + this.#untold + this.#sent + 1;
    if (place <= this.limit.requests) this.#untold += 1;
    return place;
  }

  /** Lets the store know, in the background, of what it has not heard yet. */
  tell(): void {
    // Whoever needs the store next hears of its failure.
    try {
      const answer = this.#send(0);
      if (answer instanceof Promise) answer.catch(() => undefined);
    } catch {}
  }

  #wait(): Promise<number> {
    return new Promise((tell, fail) => {
      this.#waiting.push({ tell, fail });
    });
  }

  /** Tells the store of everything untold and of `more` requests that want a place: the last one's place. */
  #send(more: number): MaybePromise<number> {
    this.#sent = this.#untold;
    this.#untold = 0;
    const sentAt = this.#services.monotonic();
    let answer: MaybePromise<RateCount>;
    try {
      answer = this.#services.count(this, this.#sent + more);
    } catch (error) {
      this.#untold += this.#sent;
      this.#sent = 0;
      throw error;
    }
    if (!(answer instanceof Promise)) return this.#told(answer, sentAt);
    this.#asking = true;
    this.#placing = more > 0;
    return answer.then(
      (count) => {
        const place = this.#told(count, sentAt);
        this.#asking = false;
        this.#placing = false;
        this.#goOn();
        return place;
      },
      (error: unknown) => {
        // Whether it was counted nobody knows: counted twice is the lesser evil.
        this.#untold += this.#sent;
        this.#sent = 0;
        this.#asking = false;
        this.#placing = false;
        const waiting = this.#waiting;
        this.#waiting = [];
        for (const { fail } of waiting) fail(error);
        throw error;
      },
    );
  }

  #told({ count, leftMs }: RateCount, sentAt: number): number {
    this.#sent = 0;
    this.#known = count;
    this.endsAt = sentAt + leftMs;
    this.#settled = true;
    return count;
  }

  /** Those that came during the last question make the next one together. */
  #goOn(): void {
    if (this.#waiting.length === 0) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    if (this.#known >= this.limit.requests) {
      for (const { tell } of waiting) tell(this.limit.requests + 1);
      return;
    }
    const answer = this.#send(waiting.length);
    const give = (last: number): void => {
      waiting.forEach(({ tell }, index) => {
        tell(last - waiting.length + index + 1);
      });
    };
    const refuse = (error: unknown): void => {
      for (const { fail } of waiting) fail(error);
    };
    if (answer instanceof Promise) answer.then(give, refuse);
    else give(answer);
  }
}

/** Whether a failure to count is the store's being away, and not a fault of ours. */
export function isStoreLost(error: unknown): boolean {
  return error instanceof Fault && (error.code === 'store_unavailable' || error.code === 'store_full');
}
