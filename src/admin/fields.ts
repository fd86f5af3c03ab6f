import { z } from 'zod';
import { LIMITS } from '../base/limits.ts';
import { parseTimestamp } from '../lifecycle/timestamp.ts';
import type { ClaimValue } from '../model/token-record.ts';

/** Longest text of a single field, characters; what is stored has tighter bounds of its own. */
const TEXT_LENGTH = 1024;
/** Longest list of a body. */
const LIST_LENGTH = 1000;
const PAGE_SIZE = 100;

export const TEXT = z.string().max(TEXT_LENGTH, `longer than ${TEXT_LENGTH} characters`);
export const TEXTS = z.array(TEXT).max(LIST_LENGTH, `longer than ${LIST_LENGTH} entries`);

/** The body came as JSON, so whatever stands there is one; how much and how deep is the lifecycle's to judge. */
export const CLAIMS = z.record(
  TEXT,
  z.custom<ClaimValue>((value) => value !== undefined),
);

/** A moment as RFC 3339; milliseconds since the epoch once it is read. */
export const TIME = z
  .string()
  .transform((text, context) => {
    // In a query a plus sign that nobody encoded arrives as a space; no other space can stand there.
    const parsed = parseTimestamp(text.replace(' ', '+'));
    if (parsed.ok) return parsed.value;
    context.addIssue({ code: 'custom', message: parsed.error, input: text });
    return z.NEVER;
  })
  .meta({ format: 'date-time' });

/** The page size of a list, in a query. */
export const LIMIT = z
  .string()
  .optional()
  .transform((text, context) => {
    if (text === undefined) return PAGE_SIZE;
    const limit = /^\d{1,9}$/.test(text) ? Number(text) : 0;
    if (limit >= 1 && limit <= LIMITS.pageSize) return limit;
    context.addIssue({ code: 'custom', message: `expected a whole number from 1 to ${LIMITS.pageSize}`, input: text });
    return z.NEVER;
  })
  .meta({
    type: 'integer',
    minimum: 1,
    maximum: LIMITS.pageSize,
    description: `Of one page; ${PAGE_SIZE} where it is left out`,
  });

/** Opaque; from the answer before. */
export const CURSOR = z.string().min(1).max(8192).optional().meta({ description: 'The `cursor` of the page before' });

/** Of the answer to a list. */
export const NEXT_CURSOR = z.string().nullable().meta({ description: 'For the next page; null on the last' });
