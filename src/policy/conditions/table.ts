import { z } from 'zod';
import { CONDITION_NAMES } from '../../model/condition.ts';
import type { CompiledCondition } from '../compiled-policy.ts';
import { claims } from './claims.ts';
import { ip } from './ip.ts';
import { maxTokenAge } from './max-token-age.ts';
import { mcp } from './mcp.ts';
import { time } from './time.ts';
import { tokenType } from './token-type.ts';

/** `when` of a rule: every condition there is. All that are stated must hold. */
export const whenSchema = z
  .strictObject({
    ip: ip.schema.optional(),
    time: time.schema.optional(),
    claims: claims.schema.optional(),
    token_type: tokenType.schema.optional(),
    max_token_age: maxTokenAge.schema.optional(),
    mcp: mcp.schema.optional(),
  })
  .describe('Conditions that must all hold.');

export type When = z.output<typeof whenSchema>;

/** One row per condition. A name without a row does not compile. */
const COMPILERS = {
  ip: (when) => when.ip && ip.compile(when.ip),
  time: (when) => when.time && time.compile(when.time),
  claims: (when) => when.claims && claims.compile(when.claims),
  token_type: (when) => when.token_type && tokenType.compile(when.token_type),
  max_token_age: (when) => when.max_token_age && maxTokenAge.compile(when.max_token_age),
  mcp: (when) => when.mcp && mcp.compile(when.mcp),
} as const satisfies Record<(typeof CONDITION_NAMES)[number], (when: When) => CompiledCondition | undefined | 0>;

/** In the order in which they are judged. */
export function compileConditions(when: When): CompiledCondition[] {
  return CONDITION_NAMES.flatMap((name) => {
    const condition = COMPILERS[name](when);
    return condition ? [condition] : [];
  });
}
