import type { MaybePromise } from '../base/result.ts';

export const SHARED_KEY_BYTES = 32;

/** Secrets that all processes on one store have to have in common, and nobody has to know. */
export interface SharedKeys {
  /**
   * `SHARED_KEY_BYTES` random bytes under a name of ours: made by the first process that asks, the same for all others. Where the store is
   * lost and begun anew there is a new one. Throws or rejects with a Fault.
   */
  sharedKey(name: string): MaybePromise<Buffer>;
}
