import type { Diagnostic } from '../base/diagnostic.ts';
import { didYouMean } from '../base/nearest.ts';
import type { DocumentPath, LocatedDocument } from '../base/yaml-document.ts';
import type { CompiledApi, CompiledRule } from './compiled-policy.ts';
import { compileConditions } from './conditions/table.ts';
import { type PathPattern, parameterNames, parsePathPattern } from './path-pattern.ts';
import { reservedPrefix } from './reserved-paths.ts';
import type { RoutedPath } from './route.ts';
import type { ApiFile, RuleInFile } from './schema/api-file.ts';

/** One API with everything that is wrong with it alone. */
export interface ApiDraft {
  readonly api: CompiledApi;
  /** Whether it has a name of its own, or only a stand-in for one that is missing or wrong. */
  readonly named: boolean;
  /** The decoded segments of its base. */
  readonly base: readonly string[];
  /** Every path of every rule that was read whole. */
  readonly paths: readonly RoutedPath[];
  readonly diagnostics: readonly Diagnostic[];
}

type Report = (path: DocumentPath, message: string, part?: 'key') => void;

/** `upstreams`: the known names, null where they are not known. */
export function compileApi(document: LocatedDocument<ApiFile>, upstreams: ReadonlySet<string> | null): ApiDraft {
  const { value: file, locate } = document;
  const diagnostics: Diagnostic[] = [];
  const report: Report = (path, message, part) => {
    diagnostics.push({ severity: 'error', file: document.file, ...locate(path, part), message });
  };
  if (upstreams !== null && !upstreams.has(file.upstream) && !document.damaged(['upstream'])) {
    report(
      ['upstream'],
      `unknown upstream ${JSON.stringify(file.upstream)}${knownUpstreams(file.upstream, upstreams)}`,
    );
  }
  const rules: CompiledRule[] = [];
  const api: CompiledApi = {
    name: file.api,
    upstream: file.upstream,
    hosts: file.hosts ?? [],
    base: file.base,
    stripBase: file.strip_base,
    preflight: file.preflight,
    mode: file.mode,
    onUnavailable: file.on_unavailable ?? null,
    resource: resourceOf(file),
    source: { file: document.file, ...locate(['api'], 'key') },
    rules,
  };
  const base = parsePathPattern(file.base === '' ? '/' : file.base);
  const prefix = base.ok ? base.value.segments : [];
  const whole = ['hosts', 'base'].every((key) => !document.damaged([key]));
  const paths: RoutedPath[] = [];
  const names = new Map<string, number>();
  for (const [index, written] of file.rules.entries()) {
    const at: DocumentPath = ['rules', index];
    const first = names.get(written.name);
    if (first === undefined) names.set(written.name, locate(['rules', index, 'name']).line);
    else
      report(
        [...at, 'name'],
        `rule name ${JSON.stringify(written.name)} is already used at line ${first}; names are unique in a file`,
      );
    const patterns = [written.path].flat().map((path) => below(file.base, prefix, path));
    checkRule(written, patterns, (path, message, part) => report([...at, ...path], message, part));
    const source = { file: document.file, ...locate(at) };
    const rule = compileRule(written, patterns, api, source);
    rules.push(rule);
    const comparable = whole && !document.damaged(at);
    for (const [position, pattern] of patterns.entries()) {
      const place = Array.isArray(written.path) ? [...at, 'path', position] : [...at, 'path'];
      if (comparable) paths.push({ rule, pattern, source: { file: document.file, ...locate(place) } });
      const reserved = reservedPrefix(pattern.segments);
      if (reserved !== null)
        report(place, `path ${JSON.stringify(pattern.text)} is reserved: the gateway itself answers below ${reserved}`);
    }
  }
  const segments = prefix.flatMap((segment) => (segment.kind === 'literal' ? [segment.text] : []));
  return { api, named: !document.damaged(['api']), base: segments, paths, diagnostics };
}

function resourceOf({ resource }: ApiFile): CompiledApi['resource'] {
  if (resource === undefined) return null;
  return {
    identifier: resource.identifier,
    authorizationServers: resource.authorization_servers ?? null,
    scopesSupported: resource.scopes_supported ?? null,
    documentation: resource.documentation ?? null,
    name: resource.name ?? null,
  };
}

function compileRule(
  written: RuleInFile,
  patterns: readonly PathPattern[],
  api: CompiledApi,
  source: CompiledRule['source'],
): CompiledRule {
  return {
    id: `${api.name}/${written.name}`,
    name: written.name,
    api,
    source,
    methods: written.methods === undefined ? null : new Set(written.methods),
    paths: patterns.map((pattern) => pattern.text),
    public: written.public,
    scopes: demandedScopes(written),
    conditions: written.when === undefined ? [] : compileConditions(written.when),
    rateLimit:
      written.rate_limit === undefined
        ? null
        : { requests: written.rate_limit.requests, perMs: written.rate_limit.per, by: written.rate_limit.by },
    mode: written.mode ?? api.mode,
  };
}

function demandedScopes({ scopes, any_of: anyOf }: RuleInFile): CompiledRule['scopes'] {
  if (anyOf !== undefined) return { kind: 'any', scopes: anyOf };
  if (scopes === undefined) return { kind: 'all', scopes: [] };
  if (Array.isArray(scopes)) return { kind: 'all', scopes };
  return 'any_of' in scopes ? { kind: 'any', scopes: scopes.any_of } : { kind: 'all', scopes: scopes.all_of };
}

/** What contradicts itself within one rule. */
function checkRule(written: RuleInFile, patterns: readonly PathPattern[], report: Report): void {
  if (written.scopes !== undefined && written.any_of !== undefined) {
    report(['any_of'], 'state "scopes" or "any_of", not both', 'key');
  }
  if (written.public) {
    for (const key of ['scopes', 'any_of', 'when'] as const) {
      if (written[key] !== undefined)
        report([key], `a public rule lets everyone through, so it can state no "${key}"`, 'key');
    }
    if (written.rate_limit !== undefined && written.rate_limit.by !== 'ip') {
      report(['rate_limit'], 'a public rule is passed without a token, so its rate limit needs "by: ip"', 'key');
    }
  }
  for (const [claim, want] of Object.entries(written.when?.claims ?? {})) {
    if (want.kind !== 'segment') continue;
    for (const pattern of patterns) {
      const names = parameterNames(pattern);
      if (names.includes(want.name)) continue;
      const there = names.length === 0 ? '; it has no parameters' : didYouMean(want.name, names);
      report(['when', 'claims', claim], `path ${JSON.stringify(pattern.text)} has no {${want.name}}${there}`);
    }
  }
}

function below(base: string, prefix: PathPattern['segments'], path: PathPattern): PathPattern {
  if (base === '') return path;
  return { text: path.text === '/' ? base : `${base}${path.text}`, segments: [...prefix, ...path.segments] };
}

function knownUpstreams(name: string, upstreams: ReadonlySet<string>): string {
  const hint = didYouMean(name, upstreams);
  if (hint !== '') return hint;
  return upstreams.size === 0 ? '; the configuration has none' : `; the configuration has ${[...upstreams].join(', ')}`;
}
