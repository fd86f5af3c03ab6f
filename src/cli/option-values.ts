import { InvalidArgumentError } from 'commander';
import { didYouMean } from '../base/nearest.ts';
import { parseDuration } from '../base/quantity.ts';

/** Parsers of option values; what they throw, commander prints as a usage error. */

export function whole(least: number, most: number = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= least && value <= most) return value;
    const upTo = most === Number.MAX_SAFE_INTEGER ? '' : ` to ${most}`;
    throw new InvalidArgumentError(`Expected a whole number from ${least}${upTo === '' ? ' on' : upTo}.`);
  };
}

export function choice<T extends string>(choices: readonly T[]): (text: string) => T {
  return (text) => {
    const found = choices.find((each) => each === text);
    if (found !== undefined) return found;
    throw new InvalidArgumentError(`Expected one of ${choices.join(', ')}${didYouMean(text, choices)}.`);
  };
}

/** RFC 3339, or how long ago; milliseconds since the epoch. */
export function moment(text: string): number {
  const ago = parseDuration(text);
  if (ago.ok) return Date.now() - ago.value;
  const parsed = /^\d{4}-\d{2}-\d{2}T/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(parsed)) throw new InvalidArgumentError('Expected a time such as 2026-01-31T12:00:00Z, or 1h.');
  return parsed;
}

/** A SHA-256 as base64url, or as hexadecimal digits with or without colons; the former. */
export function thumbprint(text: string): string {
  if (/^[A-Za-z0-9_-]{43}$/.test(text)) return text;
  const digits = text.replaceAll(':', '');
  if (/^[0-9A-Fa-f]{64}$/.test(digits)) return Buffer.from(digits, 'hex').toString('base64url');
  throw new InvalidArgumentError('Expected a SHA-256: 43 characters of base64url, or 64 hexadecimal digits.');
}

/** Like `choice`, for a list with commas, or again and again. */
export function choices<T extends string>(known: readonly T[]) {
  const one = choice(known);
  return (text: string, previous: readonly T[] | undefined): readonly T[] => [
    ...(previous ?? []),
    ...text
      .split(/[\s,]+/)
      .filter((item) => item !== '')
      .map(one),
  ];
}

/** `name=value`, again and again; a value that is JSON (a number, true, a list) is taken as that, else as text. */
export function assignments(
  text: string,
  previous: Readonly<Record<string, unknown>> | undefined,
): Readonly<Record<string, unknown>> {
  const equals = text.indexOf('=');
  if (equals < 1) throw new InvalidArgumentError('Expected name=value.');
  const name = text.slice(0, equals);
  if (Object.hasOwn(previous ?? {}, name)) throw new InvalidArgumentError(`${name} is given twice.`);
  return Object.fromEntries([...Object.entries(previous ?? {}), [name, jsonOrText(text.slice(equals + 1))]]);
}

function jsonOrText(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
