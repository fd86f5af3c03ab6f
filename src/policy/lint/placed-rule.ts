import type { Diagnostic } from '../../base/diagnostic.ts';
import type { CompiledPolicy, CompiledRule } from '../compiled-policy.ts';
import { type PathPattern, parsePathPattern } from '../path-pattern.ts';

/** One path of one rule. */
export interface PlacedRule {
  readonly rule: CompiledRule;
  readonly pattern: PathPattern;
}

export function placedRules(policy: CompiledPolicy): PlacedRule[] {
  const rules = policy.apis.flatMap((api) => api.rules);
  return rules.flatMap((rule) =>
    rule.paths.flatMap((path): PlacedRule[] => {
      const pattern = parsePathPattern(path);
      return pattern.ok ? [{ rule, pattern: pattern.value }] : [];
    }),
  );
}

export function warn(source: CompiledRule['source'], message: string): Diagnostic {
  return { severity: 'warning', ...source, message };
}

/** `"read orders" at policies/orders.yaml:7` */
export function named(rule: CompiledRule): string {
  return `"${rule.name}" at ${rule.source.file}:${rule.source.line}`;
}

export function methodsMeet(a: CompiledRule, b: CompiledRule): boolean {
  return a.methods === null || b.methods === null || !a.methods.isDisjointFrom(b.methods);
}

export function methodsCover(wider: CompiledRule, narrower: CompiledRule): boolean {
  return wider.methods === null || narrower.methods?.isSubsetOf(wider.methods) === true;
}
