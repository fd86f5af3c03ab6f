import { createHmac, timingSafeEqual } from 'node:crypto';
import type { SharedKeys } from '../store/shared-keys.ts';

/** How long one nonce is the current one, milliseconds; the one before it is still taken. */
const WINDOW_MS = 60_000;

/** How often the key is looked up again: should the store have lost it, other replicas have another one by then. */
const KEY_REFRESH_MS = 60_000;

const MAC_BYTES = 16;
/** The number of the window and the MAC, in base64url. */
const NONCE = /^[A-Za-z0-9_-]{27}$/;

/** Under which name the key is kept. */
const KEY_NAME = 'dpop-nonce';

export type NonceState = 'current' | 'old' | 'bad';

/**
 * Nonces of this server (RFC 9449 §8, §9): a MAC over the number of a window of time, under a key that all processes on one
 * store share. So any of them takes what another gave out, and none has to remember or look up anything for it.
 */
export class DpopNonces {
  readonly #keys: SharedKeys;
  readonly #pepper: Uint8Array;
  #key: Promise<Buffer> | null = null;
  /** The last one that was got. */
  #known: Buffer | null = null;
  /** Monotonic milliseconds. */
  #askedAt = Number.NEGATIVE_INFINITY;

  /** `pepper`: what whoever can read the store does not know; empty where there is nothing of the kind. */
  constructor(keys: SharedKeys, pepper: Uint8Array | null) {
    this.#keys = keys;
    this.#pepper = pepper ?? new Uint8Array();
  }

  /** For all clients the same, until the window ends. Rejects with a Fault while no key could be got yet. */
  async current(now: number): Promise<string> {
    return nonceOf(await this.#useKey(), windowAt(now));
  }

  /** Rejects as `current`. */
  async judge(nonce: string, now: number): Promise<NonceState> {
    if (!NONCE.test(nonce)) return 'bad';
    const key = await this.#useKey();
    const window = windowAt(now);
    // One ahead: the clock of the replica that gave it out may be.
    for (const candidate of [window, window - 1, window + 1]) {
      if (timingSafeEqual(Buffer.from(nonce), Buffer.from(nonceOf(key, candidate)))) {
        return candidate === window - 1 ? 'old' : 'current';
      }
    }
    return 'bad';
  }

  #useKey(): Promise<Buffer> | Buffer {
    const monotonic = performance.now();
    if (this.#key === null && monotonic - this.#askedAt >= KEY_REFRESH_MS) {
      this.#askedAt = monotonic;
      this.#key = this.#fetch();
      // Whoever waits for it hears of it; with a key at hand nobody does.
      this.#key.catch(() => undefined);
    }
    return this.#known ?? this.#key ?? Promise.reject(new TypeError('no key is being asked for'));
  }

  async #fetch(): Promise<Buffer> {
    try {
      const shared = await this.#keys.sharedKey(KEY_NAME);
      this.#known = createHmac('sha256', shared).update('portcullis dpop nonce\0').update(this.#pepper).digest();
      return this.#known;
    } catch (error) {
      if (this.#known === null) this.#askedAt = Number.NEGATIVE_INFINITY;
      throw error;
    } finally {
      this.#key = null;
    }
  }
}

function windowAt(now: number): number {
  return Math.floor(now / WINDOW_MS);
}

function nonceOf(key: Buffer, window: number): string {
  const number = Buffer.alloc(4);
  number.writeUInt32BE(window % 2 ** 32);
  const mac = createHmac('sha256', key).update(number).digest().subarray(0, MAC_BYTES);
  return Buffer.concat([number, mac]).toString('base64url');
}
