import { z } from 'zod';
import type { Diagnostic } from '../../base/diagnostic.ts';
import { formatDiagnostic } from '../../base/diagnostic.ts';
import { rfc3339 } from '../../base/encoding.ts';
import type { CompiledApi, CompiledPolicy, CompiledRule } from '../../policy/compiled-policy.ts';
import type { AdminOptions, PolicySource } from '../options.ts';
import { refusal } from '../problem.ts';
import { type AdminRoute, defineRoute, json } from '../route.ts';

const PLACE = z.strictObject({ file: z.string(), line: z.int(), col: z.int() });
const DIAGNOSTIC = PLACE.extend({ severity: z.enum(['error', 'warning']), message: z.string() });

const RULE = z.strictObject({
  id: z.string(),
  name: z.string(),
  methods: z.array(z.string()).nullable().meta({ description: 'Null: every method' }),
  paths: z.array(z.string()),
  public: z.boolean(),
  scopes: z.strictObject({ kind: z.enum(['all', 'any']), scopes: z.array(z.string()) }),
  conditions: z.array(z.string()),
  rate_limit: z.strictObject({ requests: z.int(), per_ms: z.int(), by: z.enum(['token', 'subject', 'ip']) }).nullable(),
  mode: z.enum(['enforce', 'report']),
  source: PLACE,
  hits: z
    .int()
    .nullable()
    .meta({ description: 'Requests decided by this rule since the gateway started; null where not counted' }),
});

const POLICIES = z.strictObject({
  status: z.enum(['in_force', 'rejected']).meta({
    description: '`rejected`: the newest files did not load, and what is shown is what was in force before',
  }),
  version: z.string().nullable().meta({ description: 'Hash over the files in force; null while none could be loaded' }),
  loaded_at: z.iso.datetime().nullable(),
  files: z.array(z.string()),
  apis: z.array(
    z.strictObject({
      name: z.string(),
      upstream: z.string(),
      hosts: z.array(z.string()),
      base: z.string(),
      mode: z.enum(['enforce', 'report']),
      rules: z.array(RULE),
    }),
  ),
  roles: z.array(z.strictObject({ name: z.string(), scopes: z.array(z.string()) })),
  classes: z.array(
    z.strictObject({ name: z.string(), max_ttl_ms: z.int(), default_ttl_ms: z.int(), scopes: z.array(z.string()) }),
  ),
  rejected_at: z.iso.datetime().nullable().meta({ description: 'When the newest files were rejected' }),
  last_error: z
    .array(DIAGNOSTIC)
    .nullable()
    .meta({ description: 'What was wrong at the last reload, which changed nothing; null when it succeeded' }),
});

/** By the rule's id; null where nobody counts. */
type Hits = ReadonlyMap<string, number> | null;

export function policyRoutes(options: AdminOptions): AdminRoute[] {
  return [showRoute(options), reloadRoute(options)];
}

function showRoute(options: AdminOptions): AdminRoute {
  return defineRoute({
    method: 'GET',
    path: '/v1/policies',
    operationId: 'getPolicies',
    tag: 'Policies',
    summary: 'The policies in force, with the hits of each rule, and why the last reload failed if it did',
    scope: 'portcullis:policy:read',
    answers: { 200: { description: 'What is loaded', schema: POLICIES } },
    handle: async () => json(200, await described(options.policy)),
  });
}

function reloadRoute(options: AdminOptions): AdminRoute {
  return defineRoute({
    method: 'POST',
    path: '/v1/policies/reload',
    operationId: 'reloadPolicies',
    tag: 'Policies',
    summary: 'Load the policy files again; what does not load leaves the policies in force as they are',
    scope: 'portcullis:policy:reload',
    answers: { 200: { description: 'What is loaded now', schema: POLICIES } },
    refusals: ['policy_rejected'],
    handle: async () => {
      const outcome = await options.policy.reload();
      if (outcome.ok) return json(200, await described(options.policy));
      const errors = outcome.diagnostics.filter(({ severity }) => severity === 'error');
      return refusal('policy_rejected', `${errors.length} errors; the policies in force stay as they are.`, {
        errors: errors.map((error) => ({ path: `${error.file}:${error.line}:${error.col}`, message: error.message })),
        members: { diagnostics: outcome.diagnostics.map(formatDiagnostic) },
      });
    },
  });
}

async function described(source: PolicySource): Promise<z.input<typeof POLICIES>> {
  const hits = (await source.hits?.()) ?? null;
  const policy = source.current();
  const { loadedAt, rejectedAt = null, lastError } = source.state();
  return {
    status: lastError === null && policy !== null ? 'in_force' : 'rejected',
    version: policy?.version ?? null,
    loaded_at: loadedAt === null ? null : rfc3339(loadedAt),
    files: [...(policy?.files ?? [])],
    apis: (policy?.apis ?? []).map((api) => describedApi(api, hits)),
    roles: [...(policy?.roles.values() ?? [])].map(({ name, scopes }) => ({ name, scopes: [...scopes] })),
    classes: describedClasses(policy),
    rejected_at: rejectedAt === null ? null : rfc3339(rejectedAt),
    last_error: lastError === null ? null : lastError.map(describedDiagnostic),
  };
}

function describedApi(api: CompiledApi, hits: Hits): z.input<typeof POLICIES>['apis'][number] {
  return {
    name: api.name,
    upstream: api.upstream,
    hosts: [...api.hosts],
    base: api.base,
    mode: api.mode,
    rules: api.rules.map((rule) => describedRule(rule, hits)),
  };
}

function describedRule(rule: CompiledRule, hits: Hits): z.input<typeof RULE> {
  const { rateLimit, scopes } = rule;
  return {
    id: rule.id,
    name: rule.name,
    methods: rule.methods === null ? null : [...rule.methods],
    paths: [...rule.paths],
    public: rule.public,
    scopes: { kind: scopes.kind, scopes: [...scopes.scopes] },
    conditions: rule.conditions.map(({ text }) => text),
    rate_limit: rateLimit === null ? null : { requests: rateLimit.requests, per_ms: rateLimit.perMs, by: rateLimit.by },
    mode: rule.mode,
    source: { file: rule.source.file, line: rule.source.line, col: rule.source.col },
    hits: hits === null ? null : (hits.get(rule.id) ?? 0),
  };
}

function describedClasses(policy: CompiledPolicy | null): z.input<typeof POLICIES>['classes'] {
  return [...(policy?.classes.values() ?? [])].map((tokenClass) => ({
    name: tokenClass.name,
    max_ttl_ms: tokenClass.maxTtlMs,
    default_ttl_ms: tokenClass.defaultTtlMs,
    scopes: [...tokenClass.scopes],
  }));
}

function describedDiagnostic({ severity, file, line, col, message }: Diagnostic): z.input<typeof DIAGNOSTIC> {
  return { severity, file, line, col, message };
}
