import { Secret } from '../../base/secret.ts';

/** A configuration as it goes from the supervisor to a worker: through a socket that only the two of them have. */
export type Portable = { readonly [tag: string]: unknown };

/**
 * Takes apart what a structured clone would silently lose the kind of. Throws a TypeError for a kind of object that it does not
 * know, so that a new one in the configuration cannot be forgotten here.
 */
export function toPortable(value: unknown): Portable {
  if (value instanceof Secret) return { secret: value.reveal() };
  if (value instanceof URL) return { url: value.href };
  if (value instanceof Map) return { map: [...value].map(([key, item]) => [toPortable(key), toPortable(item)]) };
  if (value instanceof Set) return { set: [...value].map(toPortable) };
  if (Array.isArray(value)) return { list: value.map(toPortable) };
  if (value instanceof Uint8Array) return { bytes: value };
  if (typeof value === 'object' && value !== null) {
    if (Object.getPrototypeOf(value) !== Object.prototype) {
      throw new TypeError(`a worker cannot be handed a ${value.constructor.name}`);
    }
    return { object: Object.entries(value).map(([key, item]) => [key, toPortable(item)]) };
  }
  if (typeof value === 'function' || typeof value === 'symbol') {
    throw new TypeError(`a worker cannot be handed a ${typeof value}`);
  }
  return { plain: value };
}

export function fromPortable(portable: unknown): unknown {
  const [[tag, value] = []] = Object.entries(portable ?? {});
  switch (tag) {
    case 'secret':
      return new Secret(String(value));
    case 'url':
      return new URL(String(value));
    case 'map':
      return new Map(pairs(value).map(([key, item]) => [fromPortable(key), fromPortable(item)]));
    case 'set':
      return new Set(list(value).map(fromPortable));
    case 'list':
      return list(value).map(fromPortable);
    case 'object':
      return Object.fromEntries(pairs(value).map(([key, item]) => [String(key), fromPortable(item)]));
    default:
      return value;
  }
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function pairs(value: unknown): (readonly [unknown, unknown])[] {
  return list(value).map((pair) => [list(pair)[0], list(pair)[1]]);
}
