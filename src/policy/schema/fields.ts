import { METHODS } from 'node:http';
import { z } from 'zod';
import { didYouMean } from '../../base/nearest.ts';
import { parsePublicUrl, parseResourceIdentifier } from '../../base/public-url.ts';
import { parseDuration } from '../../base/quantity.ts';
import { err, ok, type Result } from '../../base/result.ts';
import { type PathPattern, parseBase, parsePathPattern } from '../path-pattern.ts';
import { parseRequiredScope } from '../scope.ts';

/** What an editor shows beside a field. */
export interface FieldHelp {
  readonly description: string;
  readonly pattern?: string;
  readonly examples?: readonly string[];
}

/** A text with a syntax of its own: the schema for editors comes from `help`, the judgement from `parse`. */
export function textField<T>(help: FieldHelp, parse: (text: string) => Result<T, string>) {
  return z
    .string()
    .meta({ ...help })
    .transform((text, context): T => {
      const parsed = parse(text);
      if (parsed.ok) return parsed.value;
      context.addIssue({ code: 'custom', message: parsed.error });
      return z.NEVER;
    });
}

const DURATION = { pattern: '^[0-9]{1,12}(ms|s|m|h|d)$', examples: ['30s', '5m', '24h', '30d'] } as const;

/** Longer than nothing. */
export const duration = (description: string) =>
  textField({ description, ...DURATION }, (text) => {
    const parsed = parseDuration(text);
    return parsed.ok && parsed.value === 0 ? err(`${JSON.stringify(text)} is no time at all`) : parsed;
  });

export const durationOrNone = (description: string) => textField({ description, ...DURATION }, parseDuration);

export const requiredScope = (description: string) =>
  textField({ description, examples: ['orders:read'] }, parseRequiredScope);

export const apiName = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/,
    'a name is up to 64 letters, digits, ".", "_" and "-", and starts with a letter or digit',
  );

/** A rule's name: a label in metrics and audit. */
export const ruleName = textField({ description: 'Unique in its file; a label in metrics and audit.' }, (text) =>
  text.trim() === text && text !== '' && text.length <= 100 && !/\p{C}/u.test(text)
    ? ok(text)
    : err('a name is 1 to 100 printable characters without white space at its ends'),
);

const SERVED_METHODS: ReadonlySet<string> = new Set(METHODS);

export function parseMethod(text: string): Result<string, string> {
  if (SERVED_METHODS.has(text)) return ok(text);
  const upper = text.toUpperCase();
  const hint = SERVED_METHODS.has(upper)
    ? `; did you mean ${JSON.stringify(upper)}?`
    : didYouMean(text, SERVED_METHODS);
  const why = SERVED_METHODS.has(upper) ? 'methods are case-sensitive (RFC 9110 §9.1): ' : 'unknown method ';
  const every = text === '*' ? '; leave "methods" out for every method' : hint;
  return err(`${why}${JSON.stringify(text)}${every}`);
}

export const method = textField(
  {
    description: 'An HTTP method in upper case. GET does not include HEAD.',
    pattern: '^[A-Z]+(-[A-Z]+)?$',
    examples: ['GET', 'HEAD', 'POST'],
  },
  parseMethod,
);

const HOST =
  /^(?:(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*|\[[0-9a-f:.]+\])$/;

/** Lower case, without port and without the root's dot. */
export function parseHost(text: string): Result<string, string> {
  const lower = text.toLowerCase();
  const host = lower.replace(/\.$/, '');
  if (HOST.test(host)) return ok(host);
  if (host.includes('*')) return err(`${JSON.stringify(text)}: wildcard hosts are not supported; list each host`);
  const bare = lower.replace(/^[a-z]+:\/\//, '').replace(/[:/].*$/, '');
  const hint = bare !== lower && HOST.test(bare) ? `; did you mean ${JSON.stringify(bare)}?` : '';
  return err(`${JSON.stringify(text)} is not a host name without scheme, port and path${hint}`);
}

export const host = textField(
  { description: 'A host name as in the Host header, without port.', examples: ['api.example.com'] },
  parseHost,
);

export const base = textField(
  { description: 'A prefix for every path of this file: literal segments.', pattern: '^/', examples: ['/orders'] },
  parseBase,
);

export const pathPattern = textField<PathPattern>(
  {
    description:
      'Literal segments, {name} for one segment, {name...} for the rest (one or more). One trailing slash is ignored.',
    pattern: '^/',
    examples: ['/', '/{id}', '/files/{path...}'],
  },
  parsePathPattern,
);

/** A URL that is told to clients. */
export const publicUrl = (description: string) =>
  textField({ description, pattern: '^https?://', examples: ['https://api.example.com/mcp'] }, parsePublicUrl);

/** By which clients know a protected resource. */
export const resourceIdentifier = textField(
  {
    description: 'The URL by which clients know this API.',
    pattern: '^https?://',
    examples: ['https://api.example.com/mcp'],
  },
  parseResourceIdentifier,
);

/** Refuses an element that a list already has. */
export function noRepeats<T>(payload: z.core.ParsePayload<T[]>): void {
  for (const [index, value] of payload.value.entries()) {
    if (payload.value.indexOf(value) < index) {
      const message = `${JSON.stringify(value)} stands here twice`;
      payload.issues.push({ code: 'custom', input: value, path: [index], message });
    }
  }
}
