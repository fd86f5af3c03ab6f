import { inspect } from 'node:util';

/** A value that refuses to be printed, logged or serialised; `reveal()` is the only way to it. */
export class Secret {
  readonly #value: string;
  constructor(value: string) {
    this.#value = value;
  }
  reveal(): string {
    return this.#value;
  }
  toString(): string {
    return '[secret]';
  }
  toJSON(): string {
    return '[secret]';
  }
  [inspect.custom](): string {
    return '[secret]';
  }
}

/** A secret that is replaced while it is in use; whoever holds it has the value of the moment, at once. */
export class HeldSecret {
  #current: Secret;
  constructor(first: Secret) {
    this.#current = first;
  }
  reveal(): string {
    return this.#current.reveal();
  }
  replace(next: Secret): void {
    this.#current = next;
  }
  toString(): string {
    return '[secret]';
  }
  toJSON(): string {
    return '[secret]';
  }
  [inspect.custom](): string {
    return '[secret]';
  }
}
