import { type Diagnostic, sortDiagnostics } from '../base/diagnostic.ts';
import type { CompiledPolicy, CompiledRule } from './compiled-policy.ts';
import { type PathPattern, parsePathPattern, patternKey } from './path-pattern.ts';
import { scopeWithin } from './scope.ts';

/** Scopes of the admin API, which rules do not ask for but roles may grant. */
const ADMIN_SCOPES = 'portcullis:';

interface Placed {
  readonly rule: CompiledRule;
  readonly pattern: PathPattern;
}

/** What loads and is probably not meant: warnings for `policy check`. */
export function lintPolicy(policy: CompiledPolicy): Diagnostic[] {
  const rules = policy.apis.flatMap((api) => api.rules);
  const placed = rules.flatMap((rule) =>
    rule.paths.flatMap((path): Placed[] => {
      const pattern = parsePathPattern(path);
      return pattern.ok ? [{ rule, pattern: pattern.value }] : [];
    }),
  );
  const hidden = shadowed(rules, placed);
  return sortDiagnostics([
    ...hidden.values(),
    ...duplicates(placed.filter(({ rule }) => !hidden.has(rule))),
    ...ungrantedScopes(policy, rules),
    ...unusedRoles(policy, rules),
    ...uselessBounds(policy),
  ]);
}

function warn(source: CompiledRule['source'], message: string): Diagnostic {
  return { severity: 'warning', ...source, message };
}

/**
 * Only a rest can be shadowed: whatever a literal or `{name}` matches may have a more specific rule for some values,
 * never for all. `/a/{x...}` is, where `/a/{x}` and everything below it have rules of their own.
 */
function shadowed(rules: readonly CompiledRule[], placed: readonly Placed[]): Map<CompiledRule, Diagnostic> {
  const byKey = Map.groupBy(placed, ({ pattern }) => patternKey(pattern.segments));
  const taken = (key: string, host: string | null, method: string | null): Placed | undefined =>
    byKey.get(key)?.find(({ rule }) => servesHost(rule, host) && servesMethod(rule, method));
  const cover = (prefix: string, host: string | null, method: string | null): Placed | null => {
    const one = taken(`${prefix}/{}`, host, method);
    if (one === undefined) return null;
    return taken(`${prefix}/{}/{...}`, host, method) ?? cover(`${prefix}/{}`, host, method);
  };
  const found = new Map<CompiledRule, Diagnostic>();
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
    const where = `more specific rules such as "${by.rule.name}" at ${by.rule.source.file}:${by.rule.source.line} match first`;
    const what = all ? 'unreachable' : `shadowed for ${hidden.join(', ')}`;
    found.set(rule, warn(rule.source, `rule "${rule.name}" is ${what}: ${where}`));
  }
  return found;
}

function servesHost(rule: CompiledRule, host: string | null): boolean {
  return host === null ? rule.api.hosts.length === 0 : rule.api.hosts.includes(host);
}

function servesMethod(rule: CompiledRule, method: string | null): boolean {
  return rule.methods === null || (method !== null && rule.methods.has(method));
}

/** A rule that a less specific one of the same API would replace without any difference. */
function duplicates(placed: readonly Placed[]): Diagnostic[] {
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
      const { name, source } = first.rule;
      return [
        warn(
          rule.source,
          `rule "${rule.name}" is a duplicate: rule "${name}" at ${source.file}:${source.line} matches the same requests and demands the same`,
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

function methodsMeet(a: CompiledRule, b: CompiledRule): boolean {
  return a.methods === null || b.methods === null || !a.methods.isDisjointFrom(b.methods);
}

function methodsCover(wider: CompiledRule, narrower: CompiledRule): boolean {
  return wider.methods === null || narrower.methods?.isSubsetOf(wider.methods) === true;
}

type Segments = PathPattern['segments'];

/** Whether some path matches both. */
function overlap(a: Segments, b: Segments): boolean {
  const [first, ...others] = a;
  const [second, ...more] = b;
  if (first === undefined || second === undefined) return first === second;
  if (first.kind === 'rest' || second.kind === 'rest') return true;
  if (first.kind === 'literal' && second.kind === 'literal' && first.text !== second.text) return false;
  return overlap(others, more);
}

/** Whether every path of `narrower` matches `wider`. */
function covers(wider: Segments, narrower: Segments): boolean {
  const [first, ...others] = wider;
  const [second, ...more] = narrower;
  if (first === undefined || second === undefined) return first === second;
  if (first.kind === 'rest') return true;
  if (second.kind === 'rest') return false;
  if (first.kind === 'literal' && (second.kind !== 'literal' || first.text !== second.text)) return false;
  return covers(others, more);
}

function ungrantedScopes(policy: CompiledPolicy, rules: readonly CompiledRule[]): Diagnostic[] {
  if (policy.roles.size === 0) return [];
  const granted = [...policy.roles.values()].flatMap((role) => role.scopes);
  return rules.flatMap((rule) =>
    rule.scopes.scopes
      .filter((scope) => !scopeWithin(scope, granted))
      .map((scope) => warn(rule.source, `rule "${rule.name}" asks for scope "${scope}", which no role grants`)),
  );
}

function unusedRoles(policy: CompiledPolicy, rules: readonly CompiledRule[]): Diagnostic[] {
  const required = rules.flatMap((rule) => rule.scopes.scopes);
  return [...policy.roles.values()]
    .filter((role) => !role.scopes.some((scope) => scope.startsWith(ADMIN_SCOPES)))
    .filter((role) => !required.some((scope) => scopeWithin(scope, role.scopes)))
    .map((role) => warn(role.source, `role "${role.name}" is unused: it grants no scope that a rule asks for`));
}

function uselessBounds(policy: CompiledPolicy): Diagnostic[] {
  return [...policy.classes.values()].flatMap((entry) =>
    entry.source !== null && entry.rotateEveryMs !== null && entry.rotateEveryMs > entry.maxTtlMs
      ? [
          warn(
            entry.source,
            `class "${entry.name}": rotate_every is longer than max_ttl, so no token lives to be rotated`,
          ),
        ]
      : [],
  );
}
