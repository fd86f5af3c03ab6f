import { z } from 'zod';
import { didYouMean } from '../../base/nearest.ts';
import { err, ok, type Result } from '../../base/result.ts';
import { textField } from '../schema/fields.ts';
import { conditionKind } from './condition-kind.ts';

const DAYS: readonly string[] = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'];
const MINUTES_PER_DAY = 24 * 60;
/** Beyond it there is no date (ECMA-262 §21.4.1.1). */
const LAST_DATE_MS = 8.64e15;

interface Hours {
  readonly text: string;
  /** Minutes since local midnight; the end does not belong to it. An end before the start is on the next day. */
  readonly start: number;
  readonly end: number;
}

const daySpan = textField(
  {
    description: 'A day, days with commas, or a span that may wrap around.',
    examples: ['mon-fri', 'sat,sun', 'fri-mon'],
  },
  parseDays,
);

/**
 * The local time of day and week. Hours over midnight belong to the day on which they begin: `fri` with `22:00-06:00`
 * holds on Saturday at 02:00, not on Friday at 02:00. Where clocks are set back, a repeated hour counts twice.
 */
export const time = conditionKind({
  schema: z
    .strictObject({
      days: z.union([daySpan, z.array(daySpan).min(1, 'an empty list holds on no day')]).optional(),
      hours: textField(
        {
          description: 'From (included) to (excluded), over midnight too.',
          pattern: '^[0-2][0-9]:[0-5][0-9]-[0-2][0-9]:[0-5][0-9]$',
          examples: ['08:00-18:00', '22:00-06:00'],
        },
        parseHours,
      ).optional(),
      zone: textField(
        { description: 'IANA time zone; UTC where it is left out.', examples: ['Europe/Berlin'] },
        parseZone,
      ).optional(),
    })
    .refine((value) => value.days !== undefined || value.hours !== undefined, 'needs "days", "hours" or both')
    .describe('When requests may come.'),
  compile({ days, hours, zone = 'UTC' }) {
    const wanted = new Set(days === undefined ? DAYS.keys() : days.flat());
    const local = localClock(zone);
    const parts = [days === undefined ? '' : describeDays(wanted), hours?.text ?? '', zone];
    return {
      name: 'time',
      text: `time within ${parts.filter((part) => part !== '').join(' ')}`,
      holds({ now }) {
        const moment = local(now);
        if (moment === null) return false;
        if (hours === undefined) return wanted.has(moment.day);
        const { start, end } = hours;
        if (start < end) return wanted.has(moment.day) && moment.minute >= start && moment.minute < end;
        if (moment.minute >= start) return wanted.has(moment.day);
        return moment.minute < end && wanted.has((moment.day + 6) % 7);
      },
    };
  },
});

interface LocalMoment {
  /** 0 is Monday. */
  readonly day: number;
  readonly minute: number;
}

/** A zone's clock. Remembers the minute it was last asked about, because formatting costs more than a decision may. */
function localClock(zone: string): (now: number) => LocalMoment | null {
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone: zone,
    weekday: 'short',
    hour: '2-digit',
    minute: '2-digit',
    hourCycle: 'h23',
  });
  let lastMinute = Number.NaN;
  let last: LocalMoment | null = null;
  return (now) => {
    if (!(Math.abs(now) <= LAST_DATE_MS)) return null;
    const minute = Math.floor(now / 60_000);
    if (minute !== lastMinute) {
      last = readMoment(format, minute * 60_000);
      lastMinute = minute;
    }
    return last;
  };
}

function readMoment(format: Intl.DateTimeFormat, epochMs: number): LocalMoment | null {
  if (Math.abs(epochMs) > LAST_DATE_MS) return null;
  const parts = new Map<string, string>(format.formatToParts(epochMs).map((part) => [part.type, part.value]));
  const name = parts.get('weekday')?.toLowerCase() ?? '';
  const day = DAYS.indexOf(name);
  const minute = Number(parts.get('hour')) * 60 + Number(parts.get('minute'));
  return day < 0 || Number.isNaN(minute) ? null : { day, minute };
}

function parseDays(text: string): Result<number[], string> {
  const found: number[] = [];
  for (const item of text.split(',')) {
    const ends = item.trim().split('-');
    const indices = ends.map((end) => DAYS.indexOf(end));
    const wrong = ends[indices.indexOf(-1)];
    if (wrong !== undefined) {
      return err(
        `unknown day ${JSON.stringify(wrong)}, expected ${DAYS.join(', ')}, or a span such as mon-fri${didYouMean(wrong.slice(0, 3), DAYS)}`,
      );
    }
    const [first = 0, last = first] = indices;
    if (ends.length > 2) return err(`${JSON.stringify(item)} is not a span of days such as mon-fri`);
    for (let day = first; ; day = (day + 1) % 7) {
      found.push(day);
      if (day === last) break;
    }
  }
  return ok(found);
}

function describeDays(days: ReadonlySet<number>): string {
  return DAYS.filter((_, index) => days.has(index)).join(',');
}

function parseHours(text: string): Result<Hours, string> {
  const match = /^(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})$/.exec(text);
  if (match === null) return err(`expected hours such as "08:00-18:00", got ${JSON.stringify(text)}`);
  const [startHour = 0, startMinute = 0, endHour = 0, endMinute = 0] = match.slice(1).map(Number);
  const start = startHour * 60 + startMinute;
  const end = endHour * 60 + endMinute;
  const two = (value: number): string => String(value).padStart(2, '0');
  const proper = `${two(startHour)}:${two(startMinute)}-${two(endHour)}:${two(endMinute)}`;
  if (startMinute > 59 || endMinute > 59 || start >= MINUTES_PER_DAY || end > MINUTES_PER_DAY) {
    return err(`${JSON.stringify(text)}: hours go from 00:00 to 24:00`);
  }
  if (proper !== text)
    return err(`expected hours such as "08:00-18:00", got ${JSON.stringify(text)}; did you mean "${proper}"?`);
  if (start === end) return err(`${JSON.stringify(text)} begins where it ends; the whole day is "00:00-24:00"`);
  return ok({ text, start, end });
}

function parseZone(text: string): Result<string, string> {
  const known = ['UTC', ...Intl.supportedValuesOf('timeZone')];
  const exact = known.find((zone) => zone === text) ?? (isZone(text) && /^[A-Z]/.test(text) ? text : undefined);
  return exact === undefined ? err(`unknown time zone ${JSON.stringify(text)}${didYouMean(text, known)}`) : ok(exact);
}

/** Older names of a zone are valid and not listed. */
function isZone(text: string): boolean {
  try {
    new Intl.DateTimeFormat('en-US', { timeZone: text });
    return true;
  } catch {
    return false;
  }
}
