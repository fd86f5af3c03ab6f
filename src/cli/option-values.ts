import { InvalidArgumentError } from 'commander';
import { didYouMean } from '../base/nearest.ts';

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
