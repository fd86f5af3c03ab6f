/** The conditions that a rule can state, in the order in which they are judged and reported. */
export const CONDITION_NAMES = ['ip', 'time', 'claims', 'token_type', 'max_token_age', 'mcp'] as const;
export type ConditionName = (typeof CONDITION_NAMES)[number];
