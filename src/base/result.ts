/** An expected outcome is a value; only faults are thrown. */
export type Result<T, E> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: E };

export function ok<T>(value: T): { readonly ok: true; readonly value: T } {
  return { ok: true, value };
}

export function err<E>(error: E): { readonly ok: false; readonly error: E } {
  return { ok: false, error };
}

/** A value that is there at once where it can be: the hot path makes no promise that it does not need. */
export type MaybePromise<T> = T | Promise<T>;
