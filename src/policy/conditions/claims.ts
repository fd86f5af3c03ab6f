import { z } from 'zod';
import { err, ok, type Result } from '../../base/result.ts';
import type { Principal } from '../../model/principal.ts';
import type { ClaimValue } from '../../model/token-record.ts';
import type { PathParams } from '../compiled-policy.ts';
import { textField } from '../schema/fields.ts';
import { conditionKind } from './condition-kind.ts';

type Wanted =
  | { readonly kind: 'literal'; readonly value: string | number | boolean }
  | { readonly kind: 'segment'; readonly name: string };

const text = textField<Wanted>(
  { description: 'A literal, or "{name}" for the value of that path segment.', examples: ['{tenant}', 'gold'] },
  parseWanted,
);
const literal = z.union([z.number(), z.boolean()]).transform((value): Wanted => ({ kind: 'literal', value }));

/**
 * Every named attribute of the token equals a literal or a path segment. Equality is exact and knows types: the number
 * 42 is not the segment `42`. A list in the token matches when it holds the value. An attribute that is missing, or is
 * an object or null, matches nothing. `sub` is the token's subject (RFC 7519 §4.1.2), whatever kind of token it is.
 */
export const claims = conditionKind({
  schema: z
    .record(z.string().min(1, 'the name of a token attribute cannot be empty'), z.union([text, literal]))
    .refine((value) => Object.keys(value).length > 0, 'names no token attribute')
    .describe('Token attributes, each with the value that it must have.'),
  compile(value) {
    const wanted = Object.entries(value);
    return {
      name: 'claims',
      text: wanted.map(([name, want]) => `claim ${name} is ${describe(want)}`).join(' and '),
      claims: wanted.map(([name]) => name),
      impossible: wanted.some(([name, want]) => name === 'sub' && isNoText(want))
        ? 'the subject of a token, "sub", is a text'
        : undefined,
      params: wanted.flatMap(([, want]) => (want.kind === 'segment' ? [want.name] : [])),
      holds: ({ principal, params }) =>
        wanted.every(([name, want]) => matches(attribute(principal, name), want, params)),
    };
  },
});

function attribute(principal: Principal, name: string): ClaimValue | undefined {
  if (name === 'sub') return principal.subject ?? undefined;
  return Object.hasOwn(principal.claims, name) ? principal.claims[name] : undefined;
}

function matches(actual: ClaimValue | undefined, want: Wanted, params: PathParams): boolean {
  const value = want.kind === 'literal' ? want.value : segmentValue(params, want.name);
  if (value === undefined || actual === undefined) return false;
  if (Array.isArray(actual)) return actual.includes(value);
  return actual === value;
}

function segmentValue(params: PathParams, name: string): string | undefined {
  return Object.hasOwn(params, name) ? params[name] : undefined;
}

function isNoText(want: Wanted): boolean {
  return want.kind === 'literal' && typeof want.value !== 'string';
}

function describe(want: Wanted): string {
  return want.kind === 'segment' ? `{${want.name}}` : JSON.stringify(want.value);
}

function parseWanted(value: string): Result<Wanted, string> {
  const name = /^\{([A-Za-z_][A-Za-z0-9_-]*)\}$/.exec(value)?.[1];
  if (name !== undefined) return ok({ kind: 'segment', name });
  if (!/[{}]/.test(value)) return ok({ kind: 'literal', value });
  const meant = /[A-Za-z_][A-Za-z0-9_-]*/.exec(value.slice(value.indexOf('{')))?.[0];
  const hint = meant === undefined ? '' : `; did you mean "{${meant}}"?`;
  return err(`expected a literal or one whole "{name}", got ${JSON.stringify(value)}${hint}`);
}
