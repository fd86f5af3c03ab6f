import type { z } from 'zod';
import { didYouMean } from '../base/nearest.ts';
import { err, ok, type Result } from '../base/result.ts';
import { dotted, knownKeys } from '../base/yaml-document.ts';
import type { FieldError } from '../lifecycle/context.ts';

/** Deeper JSON than any body of this API; bounded so that no recursive walk over it runs out of stack. */
const MAX_DEPTH = 32;
/** Longest text of a client that an error repeats. */
const QUOTED_LENGTH = 60;

/** Everything that is wrong with a body or a query, at once, each with its path and the nearest valid thing. */
export function validate<S extends z.ZodType>(schema: S, input: unknown): Result<z.output<S>, readonly FieldError[]> {
  if (deeperThan(input, MAX_DEPTH)) return err([{ path: '', message: `nested deeper than ${MAX_DEPTH} levels` }]);
  const parsed = schema.safeParse(input);
  if (parsed.success) return ok(parsed.data);
  return err(parsed.error.issues.flatMap((issue) => fieldErrors(issue, schema, input)));
}

function fieldErrors(issue: z.core.$ZodIssue, schema: z.ZodType, input: unknown): FieldError[] {
  const path = dotted(issue.path);
  const given = valueAt(input, issue.path);
  switch (issue.code) {
    case 'unrecognized_keys': {
      const known = knownKeys(schema, issue.path);
      return issue.keys.map((key) => ({
        path: dotted([...issue.path, quotable(key)]),
        message: `unknown key ${JSON.stringify(quotable(key))}${didYouMean(quotable(key), known)}`,
      }));
    }
    case 'invalid_type':
      if (given === undefined) return [{ path, message: path === '' ? 'a body is required' : 'is required' }];
      if (Array.isArray(given) && issue.expected === 'string') {
        return [{ path, message: 'expected one text, received several' }];
      }
      return [{ path, message: issue.message.replace(/^Invalid input: /, '') }];
    case 'invalid_value': {
      if (given === undefined) return [{ path, message: 'is required' }];
      const values = issue.values.map(String);
      const hint = typeof given === 'string' ? didYouMean(quotable(given), values) : '';
      return [{ path, message: `expected ${values.length > 1 ? 'one of ' : ''}${values.join(', ')}${hint}` }];
    }
    case 'invalid_union': {
      const branch = branchMeant(issue, given);
      if (branch !== undefined) {
        return branch.flatMap((inner) =>
          fieldErrors({ ...inner, path: [...issue.path, ...inner.path] }, schema, input),
        );
      }
      const wanted = issue.errors.flatMap((issues) =>
        issues.map((inner) => inner.message.replace(/^Invalid input: /, '')),
      );
      return [{ path, message: [...new Set(wanted)].join(', or ') }];
    }
    default:
      return [{ path, message: issue.message.replace(/^Invalid input: /, '') }];
  }
}

/** The alternative of a union whose type is that of the value; its errors say more than "none of these". */
function branchMeant(issue: z.core.$ZodIssueInvalidUnion, given: unknown): readonly z.core.$ZodIssue[] | undefined {
  if (given === undefined) return undefined;
  const ofType = issue.errors.filter((issues) => !issues.some((i) => i.code === 'invalid_type' && i.path.length === 0));
  return ofType.length === 1 ? ofType[0] : undefined;
}

function quotable(text: string): string {
  return text.length <= QUOTED_LENGTH ? text : `${text.slice(0, QUOTED_LENGTH)}…`;
}

function valueAt(input: unknown, path: readonly PropertyKey[]): unknown {
  let value: unknown = input;
  for (const step of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return undefined;
    value = Reflect.get(value, step);
  }
  return value;
}

function deeperThan(input: unknown, limit: number): boolean {
  let level: unknown[] = [input];
  for (let depth = 0; level.length > 0; depth += 1) {
    if (depth > limit) return true;
    level = level.flatMap((value) => (typeof value === 'object' && value !== null ? Object.values(value) : []));
  }
  return false;
}
