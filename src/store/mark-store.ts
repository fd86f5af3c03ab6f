import type { MaybePromise } from '../base/result.ts';
import type { RevocationMark } from '../model/revocation-mark.ts';

/** Revocations of tokens that others issued. Faults as everywhere in the store. */
export interface MarkStore {
  /**
   * Adds a mark to what stands under its id (`mergeMarks`); durable when it resolves, and where it changed anything it
   * stands in the log. Null, and nothing is changed, where there is none yet and as many as `most` are kept already. What has
   * ended is swept meanwhile.
   */
  putMark(mark: RevocationMark, most: number): Promise<PutMark | null>;
  /** Those of the ids that there are. At once (no promise) where the store is in this process. */
  findMarks(ids: readonly string[]): MaybePromise<readonly RevocationMark[]>;
  /** Every one that is kept; bounded by what `putMark` lets in. */
  allMarks(): Promise<readonly RevocationMark[]>;
}

export interface PutMark {
  /** As it stands now. */
  readonly mark: RevocationMark;
  /** It stood there before, and covered as many tokens. */
  readonly repeated: boolean;
}
