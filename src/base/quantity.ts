import { err, ok, type Result } from './result.ts';

const DURATION_UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const SIZE_UNITS: Readonly<Record<string, number>> = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 };

/** A duration such as `500ms`, `2s`, `5m`, `24h` or `30d`, in milliseconds. */
export function parseDuration(text: string): Result<number, string> {
  return parseQuantity(text, DURATION_UNITS, 'a duration such as 500ms, 2s, 5m, 24h or 30d');
}

/** A size such as `512B`, `16KiB` or `10MiB`, in bytes. */
export function parseSize(text: string): Result<number, string> {
  return parseQuantity(text, SIZE_UNITS, 'a size such as 512B, 16KiB or 10MiB');
}

function parseQuantity(text: string, units: Readonly<Record<string, number>>, wanted: string): Result<number, string> {
  const match = /^(\d{1,12})([A-Za-z]+)$/.exec(text);
  const factor = match?.[2] === undefined ? undefined : Object.hasOwn(units, match[2]) ? units[match[2]] : undefined;
  if (match === null || factor === undefined) return err(`expected ${wanted}, got ${JSON.stringify(text)}`);
  const value = Number(match[1]) * factor;
  return Number.isSafeInteger(value) ? ok(value) : err(`expected ${wanted}, and ${JSON.stringify(text)} is too large`);
}

/** The shortest exact way to write a duration: 86400000 is `1d`, 90000 is `90s`. */
export function formatDuration(milliseconds: number): string {
  for (const unit of ['d', 'h', 'm', 's']) {
    const factor = DURATION_UNITS[unit] ?? 1;
    if (milliseconds >= factor && milliseconds % factor === 0) return `${milliseconds / factor}${unit}`;
  }
  return `${milliseconds}ms`;
}
