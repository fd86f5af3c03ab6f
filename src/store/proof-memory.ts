import type { MaybePromise } from '../base/result.ts';

/** Which proofs of possession have been used already: all processes on one store know of each other's. */
export interface ProofMemory {
  /**
   * True the first time that this key is heard of, false for `keepMs` from then on, atomically. At once (no promise) where
   * the store is in this process. Throws or rejects with a Fault; a doubt is never "the first time".
   */
  rememberProof(key: string, keepMs: number): MaybePromise<boolean>;
}
