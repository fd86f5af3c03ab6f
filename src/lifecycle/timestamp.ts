import { err, ok, type Result } from '../base/result.ts';

const WANTED = 'a time such as 2030-01-31T12:00:00Z';

/** A date-time of RFC 3339 §5.6 (upper-case `T` and `Z`, no leap second), in milliseconds since the epoch. */
export function parseTimestamp(text: string): Result<number, string> {
  const match = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):(\d\d))$/.exec(text);
  if (match === null) return err(`expected ${WANTED}, got ${JSON.stringify(text.slice(0, 64))}`);
  const field = (index: number): number => Number(match[index] ?? '0');
  const [year, month, day, hour, minute, second] = [1, 2, 3, 4, 5, 6].map(field) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const milliseconds = Number((match[7] ?? '').padEnd(3, '0').slice(0, 3));
  const local = new Date(0);
  local.setUTCFullYear(year, month - 1, day);
  local.setUTCHours(hour, minute, second, milliseconds);
  const real =
    local.getUTCMonth() === month - 1 && local.getUTCDate() === day && hour < 24 && minute < 60 && second < 60;
  if (!real || field(9) > 23 || field(10) > 59) return err(`there is no such time as ${JSON.stringify(text)}`);
  const offset = (field(9) * 60 + field(10)) * 60_000;
  return ok(local.getTime() + (match[8] === '-' ? offset : -offset));
}
