import type { Diagnostic } from '../../base/diagnostic.ts';
import type { CompiledRule } from '../compiled-policy.ts';
import { NEVER_FORWARDED } from '../never-forwarded.ts';
import { covers, overlap, patternKey } from '../path-pattern.ts';
import { methodsCover, methodsMeet, named, type PlacedRule as Placed, warn } from './placed-rule.ts';

export interface HiddenRules {
  /** For rules that others leave nothing to, or less than they say. */
  readonly diagnostics: ReadonlyMap<CompiledRule, Diagnostic>;
  readonly unreachable: ReadonlySet<CompiledRule>;
}

/**
 * Only a rest can be shadowed: whatever a literal or `{name}` matches may have a more specific rule for some values,
 * never for all. `/a/{x...}` is, where `/a/{x}` and everything below it have rules of their own.
 */
export function hiddenRules(rules: readonly CompiledRule[], placed: readonly Placed[]): HiddenRules {
  const byKey = Map.groupBy(placed, ({ pattern }) => patternKey(pattern.segments));
  const taken = (key: string, host: string | null, method: string | null): Placed | undefined =>
    byKey.get(key)?.find(({ rule }) => servesHost(rule, host) && servesMethod(rule, method));
  const cover = (prefix: string, host: string | null, method: string | null): Placed | null => {
    const one = taken(`${prefix}/{}`, host, method);
    if (one === undefined) return null;
    return taken(`${prefix}/{}/{...}`, host, method) ?? cover(`${prefix}/{}`, host, method);
  };
  const found = new Map<CompiledRule, Diagnostic>();
  const unreachable = new Set<CompiledRule>();
  for (const rule of rules) {
    const hidden: string[] = [];
    let by: Placed | null = null;
    let all = true;
    for (const { pattern } of placed.filter((entry) => entry.rule === rule)) {
      const key = patternKey(pattern.segments);
      for (const method of rule.methods ?? [null]) {
        const covers = key.endsWith('/{...}')
          ? (rule.api.hosts.length === 0 ? [null] : rule.api.hosts).map((host) => cover(key.slice(0, -6), host, method))
          : [null];
        if (covers.includes(null)) all = false;
        else hidden.push(`${method ?? 'every method'} ${pattern.text}`);
        by ??= covers.includes(null) ? null : (covers[0] ?? null);
      }
    }
    if (by === null) continue;
    const where = `more specific rules such as ${named(by.rule)} match first`;
    if (all) unreachable.add(rule);
    const what = all ? 'unreachable' : `shadowed for ${hidden.join(', ')}`;
    found.set(rule, warn(rule.source, `rule "${rule.name}" is ${what}: ${where}`));
  }
  return { diagnostics: found, unreachable };
}

function servesHost(rule: CompiledRule, host: string | null): boolean {
  return host === null ? rule.api.hosts.length === 0 : rule.api.hosts.includes(host);
}

function servesMethod(rule: CompiledRule, method: string | null): boolean {
  return rule.methods === null || (method !== null && rule.methods.has(method));
}

/** Rules for methods that the gateway refuses before it asks for a rule. */
export function unservedMethods(rules: readonly CompiledRule[]): Diagnostic[] {
  return rules.flatMap((rule) => {
    const never = [...(rule.methods ?? [])].filter((method) => NEVER_FORWARDED.has(method));
    if (never.length === 0) return [];
    const what = never.length === rule.methods?.size ? 'unreachable' : `shadowed for ${never.join(', ')}`;
    return [warn(rule.source, `rule "${rule.name}" is ${what}: ${never.join(', ')} is never forwarded`)];
  });
}

/** A rule that a less specific one of the same API would replace without any difference. */
export function duplicateRules(placed: readonly Placed[]): Diagnostic[] {
  const byApi = Map.groupBy(placed, ({ rule }) => rule.api);
  return [...byApi.values()].flatMap((group) =>
    [...Map.groupBy(group, ({ rule }) => rule)].flatMap(([rule, own]): Diagnostic[] => {
      const others = group.filter((entry) => entry.rule !== rule && methodsMeet(entry.rule, rule));
      const wider = own.map(({ pattern }) => {
        // Whatever else could match there must say the same, or it would step in.
        const touching = others.filter((entry) => overlap(pattern.segments, entry.pattern.segments));
        const same = touching.every((entry) => demands(entry.rule) === demands(rule));
        return same
          ? touching.find((entry) => covers(entry.pattern.segments, pattern.segments) && methodsCover(entry.rule, rule))
          : undefined;
      });
      const [first] = wider;
      if (first === undefined || wider.includes(undefined)) return [];
      return [
        warn(
          rule.source,
          `rule "${rule.name}" is a duplicate: rule ${named(first.rule)} matches the same requests and demands the same`,
        ),
      ];
    }),
  );
}

function demands(rule: CompiledRule): string {
  return JSON.stringify([
    rule.public,
    rule.scopes.kind,
    rule.scopes.scopes.toSorted(),
    rule.conditions.map((condition) => condition.text),
    rule.rateLimit,
    rule.mode,
  ]);
}
