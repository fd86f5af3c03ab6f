import { timingSafeEqual } from 'node:crypto';
import { CredentialMemo } from '../token/authenticator.ts';
import type { RequestHead } from './request-head.ts';
import type { UpstreamLines } from './target.ts';

/** Requests in a row whose section was another one, after which a connection's sections are not kept any more. */
const CHANGES_BORNE = 8;

/** What follows from a header section and nothing else; whoever works it out leaves it here for the next request. */
export class SectionMemo {
  head: RequestHead | null = null;
  readonly credential = new CredentialMemo();
  upstream: UpstreamLines | null = null;
}

/** A header section that was read, and found to be one of a simple request. */
export interface ReadSection {
  /** Name and value in turn, as they came. */
  readonly rawHeaders: readonly string[];
  /** The client wants the connection to end with the answer. */
  readonly last: boolean;
  readonly memo: SectionMemo;
}

/**
 * The header section of a connection's last request. Most clients send the same one again and again and change the first
 * line only, so that what was read once need not be read again. It holds the credential, and is compared without telling by
 * its time how much of it was right (a proxy in front may share the connection among clients).
 */
export class LastSection {
  #bytes = new Uint8Array(0);
  #length = 0;
  #read: ReadSection | null = null;
  #changes = 0;

  /** Where in the request the same section begins, or -1 where it ends with another one. */
  startIn(request: Buffer): number {
    const start = request.length - this.#length;
    if (this.#read === null || start <= 0) return -1;
    const same = timingSafeEqual(request.subarray(start), this.#bytes);
    if (same) this.#changes = 0;
    return same ? start : -1;
  }

  get read(): ReadSection | null {
    return this.#read;
  }

  /** Takes a section in place of the last one: from `start` to the end of the request. */
  replace(request: Buffer, start: number, read: ReadSection): void {
    if (this.#changes > CHANGES_BORNE) return;
    this.#changes += 1;
    const length = request.length - start;
    if (length !== this.#length) this.#bytes = new Uint8Array(length);
    this.#bytes.set(request.subarray(start));
    this.#length = length;
    this.#read = read;
    if (this.#changes > CHANGES_BORNE) this.#forget();
  }

  #forget(): void {
    this.#bytes = new Uint8Array(0);
    this.#length = 0;
    this.#read = null;
  }
}
