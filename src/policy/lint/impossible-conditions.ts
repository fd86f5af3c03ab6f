import type { Diagnostic } from '../../base/diagnostic.ts';
import type { CompiledRule } from '../compiled-policy.ts';
import { warn } from './placed-rule.ts';

/** Only a POST carries a message, so the condition refuses what else its rule is for: streams, ends of sessions. */
export function messagesWithoutBody(rules: readonly CompiledRule[]): Diagnostic[] {
  return rules.flatMap((rule) => {
    if (!rule.conditions.some(({ name }) => name === 'mcp')) return [];
    const others = [...(rule.methods ?? [])].filter((method) => method !== 'POST');
    if (rule.methods !== null && others.length === 0) return [];
    const what = rule.methods === null ? 'every method but POST' : others.join(', ');
    const hint = 'give those a rule of their own, without it';
    return [warn(rule.source, `condition mcp of rule "${rule.name}" can never hold for ${what}: ${hint}`)];
  });
}

/** Conditions that no request can meet: their rules refuse everyone. */
export function impossibleConditions(rules: readonly CompiledRule[]): Diagnostic[] {
  return rules.flatMap((rule) =>
    rule.conditions.flatMap(({ name, impossible }) =>
      impossible === undefined
        ? []
        : [warn(rule.source, `condition ${name} of rule "${rule.name}" can never hold: ${impossible}`)],
    ),
  );
}
