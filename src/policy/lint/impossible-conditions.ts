import type { Diagnostic } from '../../base/diagnostic.ts';
import type { CompiledRule } from '../compiled-policy.ts';
import { warn } from './placed-rule.ts';

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
