import { LIMITS } from '../base/limits.ts';
import type { Principal } from '../model/principal.ts';
import type { Exchange } from './exchange.ts';

/** What is counted of an exchange. */
type Holding = Pick<Exchange, 'principal' | 'heldBytes' | 'heldFor'>;

/** Counts the bodies that are held in memory before their decision: all together, and those of each holder. */
export class HeldBytes {
  #all = 0;
  readonly #byHolder = new Map<string, number>();

  /**
   * False where it is too much, counted it is all the same. A holder's first message may be as large as any; beyond a share
   * of the whole it stays alone, so that others go on.
   */
  add(exchange: Holding, bytes: number): boolean {
    exchange.heldFor ??= holderOf(exchange.principal);
    const holder = exchange.heldFor;
    const held = (this.#byHolder.get(holder) ?? 0) + bytes;
    exchange.heldBytes += bytes;
    this.#all += bytes;
    this.#byHolder.set(holder, held);
    const alone = held === exchange.heldBytes;
    return this.#all <= LIMITS.heldBodyBytes && (alone || held <= LIMITS.heldBodyBytesOfHolder);
  }

  /** The exchange is over. */
  release(exchange: Holding): void {
    const { heldFor: holder } = exchange;
    if (holder === null) return;
    const left = (this.#byHolder.get(holder) ?? 0) - exchange.heldBytes;
    this.#all -= exchange.heldBytes;
    exchange.heldFor = null;
    if (left > 0) this.#byHolder.set(holder, left);
    else this.#byHolder.delete(holder);
  }
}

/** Whoever gets tokens of an issuer may get as many as they like. */
function holderOf(principal: Principal | null): string {
  if (principal === null) return '';
  const { foreign, tokenId } = principal;
  return foreign === null || foreign.subject === null ? tokenId : `${foreign.issuer}\0${foreign.subject}`;
}
