import type { Diagnostic } from '../../base/diagnostic.ts';
import type { CompiledApi, CompiledPolicy, CompiledRule } from '../compiled-policy.ts';
import { covers, type PatternSegment } from '../path-pattern.ts';
import { methodsMeet, named, type PlacedRule, warn } from './placed-rule.ts';

/** RFC 9110 §9.2.1, without TRACE, which is never let through. */
const SAFE_METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS']);

/**
 * Public rules within what other rules protect. One plain path with safe methods alone is the usual health check, and meant;
 * a hole that is wider, or lets everyone write, seldom is. The first such place of a rule is told.
 */
export function publicHoles(policy: CompiledPolicy, placed: readonly PlacedRule[]): Diagnostic[] {
  const open = placed.filter(({ rule }) => rule.public);
  const guarded = placed.filter(({ rule }) => !rule.public);
  const holes = open.flatMap((entry): [CompiledRule, Diagnostic][] => {
    const found = holeIn(entry, guarded) ?? belowBase(entry, policy.apis);
    return found === null ? [] : [[entry.rule, found]];
  });
  return [...Map.groupBy(holes, ([rule]) => rule).values()].flatMap(([first]) =>
    first === undefined ? [] : [first[1]],
  );
}

function holeIn({ rule, pattern }: PlacedRule, guarded: readonly PlacedRule[]): Diagnostic | null {
  for (const other of guarded) {
    if (!hostsOpened(rule.api, other.rule.api) || !methodsMeet(rule, other.rule)) continue;
    if (!covers(other.pattern.segments, pattern.segments)) continue;
    const guard = `below ${other.pattern.text} of rule ${named(other.rule)}, which needs a token`;
    const wide = pattern.segments.some((segment) => segment.kind !== 'literal');
    if (wide) return warn(rule.source, `public rule "${rule.name}" opens all of ${pattern.text}, ${guard}`);
    const writes = unsafeMethods(rule, other.rule);
    if (writes !== null) {
      return warn(rule.source, `public rule "${rule.name}" lets everyone ${writes} ${pattern.text}, ${guard}`);
    }
  }
  return null;
}

/** Null where only safe methods are open to everyone. */
function unsafeMethods(open: CompiledRule, guard: CompiledRule): string | null {
  if (open.methods === null && guard.methods === null) return 'use every method on';
  const methods = [...(open.methods ?? guard.methods ?? [])].filter((method) => guard.methods?.has(method) !== false);
  const unsafe = methods.filter((method) => !SAFE_METHODS.has(method));
  return unsafe.length === 0 ? null : unsafe.join(', ');
}

/** A rule for a host goes before those for every host, never the other way round. */
function hostsOpened(open: CompiledApi, guard: CompiledApi): boolean {
  return guard.hosts.length === 0 || guard.hosts.some((host) => open.hosts.includes(host));
}

/** Somebody else's prefix: what stands in another file looks closed there. */
function belowBase({ rule, pattern }: PlacedRule, apis: readonly CompiledApi[]): Diagnostic | null {
  const owner = apis.find(
    (api) =>
      api !== rule.api &&
      api.base !== '' &&
      hostsOpened(rule.api, api) &&
      !api.rules.every((each) => each.public) &&
      isBelow(pattern.segments, api.base),
  );
  if (owner === undefined) return null;
  const { source } = owner;
  return warn(
    rule.source,
    `public rule "${rule.name}" opens ${pattern.text}, below the base ${owner.base} of api "${owner.name}" at ${source.file}:${source.line}`,
  );
}

function isBelow(segments: readonly PatternSegment[], base: string): boolean {
  const prefix = base.slice(1).split('/');
  return prefix.every((text, index) => {
    const segment = segments[index];
    return segment?.kind === 'literal' && segment.text === decodeURIComponent(text);
  });
}
