import { sha256 } from '../../base/encoding.ts';
import { Fault } from '../../model/fault.ts';

/**
 * The names of our keys. A token's id is its hash tag, so that a cluster spreads the tokens over its slots; what has
 * to change together with other keys gets a tag of its own.
 */
export class Keys {
  readonly #prefix: string;

  constructor(prefix: string) {
    // A brace would become the hash tag itself and put every token into one slot.
    if (prefix === '' || /[{}\s]/.test(prefix)) {
      throw new Fault('internal', 'store.key_prefix: must not be empty, and may not contain braces or white space');
    }
    this.#prefix = prefix;
  }

  token(id: string): string {
    return `${this.#prefix}:token:{${id}}`;
  }

  /** All tokens, for lists and counts. */
  index(): string {
    return `${this.#prefix}:tokens`;
  }

  /** A client chooses its idempotency key, so the name is a digest of it: of one length, and nobody's text. */
  answer(key: string): string {
    return `${this.#prefix}:idempotency:${sha256(key).toString('hex')}`;
  }

  /** The log of changes. It shares its slot with the replicas that follow it. */
  changes(): string {
    return `${this.#prefix}:{log}:changes`;
  }

  /** Revocations of tokens that others issued, and when they end. They share the log's slot. */
  marks(): string {
    return `${this.#prefix}:{log}:marks`;
  }

  markEnds(): string {
    return `${this.#prefix}:{log}:mark-ends`;
  }

  replicas(): string {
    return `${this.#prefix}:{log}:replicas`;
  }

  /** The channel on which an appended entry is made known. */
  appended(): string {
    return `${this.#prefix}:appended`;
  }

  /** The channel on which it is made known how far the slowest replica has come. */
  reported(): string {
    return `${this.#prefix}:reported`;
  }

  /** Begins the names of the counts of rate limits, each of which has a slot of its own. */
  rates(): string {
    return `${this.#prefix}:rate`;
  }

  /** The name is a digest: of one length, and nobody's text. */
  proof(key: string): string {
    return `${this.#prefix}:proof:${sha256(key).toString('base64url')}`;
  }

  /** A secret that the processes share. */
  shared(name: string): string {
    return `${this.#prefix}:key:${name}`;
  }

  checkpoint(chain: string): string {
    return `${this.#prefix}:checkpoint:${chain}`;
  }
}
