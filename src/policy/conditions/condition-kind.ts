import type { z } from 'zod';
import type { CompiledCondition } from '../compiled-policy.ts';

/** One condition that a rule can state under `when`: how it is written, and what it becomes. */
export interface ConditionKind<Schema extends z.ZodType> {
  readonly schema: Schema;
  compile(value: z.output<Schema>): CompiledCondition;
}

export function conditionKind<Schema extends z.ZodType>(kind: ConditionKind<Schema>): ConditionKind<Schema> {
  return kind;
}
