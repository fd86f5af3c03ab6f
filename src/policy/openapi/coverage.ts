import type { CompiledApi, CompiledPolicy, CompiledRule, RouteMatch, SourcePlace } from '../compiled-policy.ts';
import { overlap, type PathPattern, parsePathPattern } from '../path-pattern.ts';
import type { OpenapiOperation } from './operations.ts';

export interface CoveredOperation {
  /** `GET /pets/{petId}`, and the id where it has one. */
  readonly operation: string;
  readonly id: string | null;
  readonly source: SourcePlace;
  /** The rule that judges its requests; null where none does. */
  readonly rule: { readonly id: string; readonly source: SourcePlace } | null;
}

export interface IdlePath {
  readonly rule: string;
  /** In full. */
  readonly path: string;
  readonly source: SourcePlace;
  /** No path of the rule matches an operation. */
  readonly whole: boolean;
}

export interface CoverageReport {
  /** The APIs whose rules were looked at. */
  readonly apis: readonly string[];
  readonly operations: number;
  readonly covered: number;
  /** No rule declares them: they are refused. */
  readonly uncovered: readonly CoveredOperation[];
  /** Judged by a public rule although the document asks for a token. */
  readonly open: readonly CoveredOperation[];
  /** Paths of rules that match no operation. */
  readonly idle: readonly IdlePath[];
}

export interface CoverageOptions {
  /** Of the requests; null: every host that some API names, and one that none does. */
  readonly host: string | null;
  /** The API whose rules are to match operations; null: every API that some operation falls to. */
  readonly api: string | null;
}

/** No literal of a policy: what stands in place of a path parameter is some value, not a special one. */
const SOME_VALUE = '~some-value~';

/** How a policy and an OpenAPI document agree. */
export function coverage(
  policy: CompiledPolicy,
  operations: readonly OpenapiOperation[],
  options: CoverageOptions,
): CoverageReport {
  const hosts = options.host === null ? ['localhost', ...policy.apis.flatMap((api) => api.hosts)] : [options.host];
  const apis = new Set<CompiledApi>();
  const judged = operations.map((operation) => {
    const matches = hosts.flatMap((host) =>
      operation.patterns.map((pattern) => matchOf(policy, operation, host, pattern)),
    );
    for (const match of matches) if (match !== null) apis.add(match.api);
    return { operation, rule: matches.find((match) => match !== null && match.rule !== null)?.rule ?? null };
  });
  const looked = policy.apis.filter((api) => (options.api === null ? apis.has(api) : api.name === options.api));
  const described = judged.map(({ operation, rule }) => ({ operation, rule, covered: describe(operation, rule) }));
  return {
    apis: looked.map(({ name }) => name),
    operations: operations.length,
    covered: judged.filter(({ rule }) => rule !== null).length,
    uncovered: described.filter(({ rule }) => rule === null).map(({ covered }) => covered),
    open: described
      .filter(
        ({ operation, rule }) => rule?.public === true && operation.demand.kind === 'token' && operation.demand.stated,
      )
      .map(({ covered }) => covered),
    idle: looked.flatMap((api) => api.rules.flatMap((rule) => idlePaths(rule, operations))),
  };
}

function matchOf(
  policy: CompiledPolicy,
  { method }: OpenapiOperation,
  host: string,
  pattern: PathPattern,
): RouteMatch | null {
  const segments = pattern.segments.map((segment) =>
    segment.kind === 'literal' ? encodeURIComponent(segment.text) : SOME_VALUE,
  );
  return policy.routes.match({ method, host, path: `/${segments.join('/')}`, ip: '127.0.0.1' });
}

function describe(operation: OpenapiOperation, rule: CompiledRule | null): CoveredOperation {
  const { method, template, id, source } = operation;
  return {
    operation: `${method} ${template}`,
    id,
    source,
    rule: rule === null ? null : { id: rule.id, source: rule.source },
  };
}

/** HEAD belongs to GET, and OPTIONS to every path: nobody writes them into a document (RFC 9110 §9.3.2, §9.3.7). */
function idlePaths(rule: CompiledRule, operations: readonly OpenapiOperation[]): IdlePath[] {
  const wanted = operations.filter(
    ({ method }) =>
      rule.methods === null ||
      rule.methods.has(method) ||
      (method === 'GET' && rule.methods.has('HEAD')) ||
      (rule.methods.size === 1 && rule.methods.has('OPTIONS')),
  );
  const idle = rule.paths.filter((path) => {
    const pattern = parsePathPattern(path);
    if (!pattern.ok) return false;
    return !wanted.some(({ patterns }) => patterns.some((its) => overlap(its.segments, pattern.value.segments)));
  });
  const whole = idle.length === rule.paths.length;
  const told = whole ? idle.slice(0, 1) : idle;
  return told.map((path) => ({ rule: rule.id, path, source: rule.source, whole }));
}
