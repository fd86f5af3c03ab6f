import { isIP } from 'node:net';
import { z } from 'zod';
import { parseDuration } from '../../base/quantity.ts';
import { maskTokens } from '../../base/token-mask.ts';
import { CONDITION_NAMES } from '../../model/condition.ts';
import { type Principal, TOKEN_TYPES } from '../../model/principal.ts';
import { REASONS, type Reason } from '../../model/reason.ts';
import type { CompiledPolicy, PolicyRequest } from '../../policy/compiled-policy.ts';
import { type ExplainedStep, explain } from '../../policy/explain.ts';
import { samplePrincipal } from '../../policy/sample-principal.ts';
import { CLAIMS, TEXT, TEXTS, TIME } from '../fields.ts';
import type { AdminOptions } from '../options.ts';
import { type AdminRoute, defineRoute, json } from '../route.ts';

const AGE = TEXT.transform((text, context) => {
  const parsed = parseDuration(text);
  if (parsed.ok) return parsed.value;
  context.addIssue({ code: 'custom', message: parsed.error, input: text });
  return z.NEVER;
});

const SAMPLE = z
  .strictObject({
    scopes: TEXTS.optional(),
    roles: TEXTS.optional(),
    claims: CLAIMS.optional(),
    type: z.enum(TOKEN_TYPES).optional(),
    age: AGE.optional().meta({ description: 'Since the issue: 30d' }),
    subject: TEXT.optional(),
    owner: TEXT.optional(),
    class: TEXT.optional(),
    ip: TEXTS.optional(),
  })
  .meta({ description: 'A valid token with these attributes, as in a policy test' });

const EXPLAIN_BODY = z
  .strictObject({
    method: z.string().min(1, 'must not be empty').max(64),
    path: z.string().min(1, 'must not be empty').meta({ description: 'The request-target as a client would send it' }),
    host: TEXT.default('localhost'),
    ip: TEXT.refine((text) => isIP(text) !== 0, 'expected an IP address').default('127.0.0.1'),
    mcp: z
      .strictObject({ method: TEXT.nullable(), tool: TEXT.nullable().optional() })
      .optional()
      .meta({ description: 'The message of the Model Context Protocol in the body of a POST' }),
    time: TIME.optional().meta({ description: 'When the request comes; now where it is left out' }),
    token: z
      .union([z.string().min(1, 'must not be empty'), SAMPLE])
      .optional()
      .meta({ description: 'A whole token, which is verified, or the attributes of one' }),
    scopes: TEXTS.optional(),
    roles: TEXTS.optional(),
    claims: CLAIMS.optional(),
  })
  .check((context) => {
    const { token, scopes, roles, claims } = context.value;
    if (token === undefined || (scopes ?? roles ?? claims) === undefined) return;
    const message = 'cannot be combined with scopes, roles or claims beside it: give the one or the others';
    context.issues.push({ code: 'custom', path: ['token'], message, input: context.value });
  });

const STEP = z.strictObject({
  step: z.enum(['path', 'route', 'token', 'token_ip', 'scopes', ...CONDITION_NAMES]),
  outcome: z.enum(['pass', 'fail', 'unjudged']),
  text: z.string(),
});

const EXPLANATION = z.strictObject({
  decision: z.enum(['allow', 'deny']),
  reason: z.string().nullable().meta({ description: 'Null for an allow' }),
  status: z.int().nullable().meta({ description: 'What the client is answered; null where the request goes on' }),
  detail: z.string().nullable(),
  condition: z.enum(CONDITION_NAMES).nullable(),
  report_only: z.boolean().meta({ description: 'With a valid token the request goes through all the same' }),
  required_scopes: z.array(z.string()),
  api: z.string().nullable(),
  rule: z.strictObject({ id: z.string(), name: z.string(), file: z.string(), line: z.int(), col: z.int() }).nullable(),
  params: z.record(z.string(), z.string()),
  request: z.strictObject({ method: z.string(), host: z.string(), path: z.string().nullable(), ip: z.string() }),
  token_id: z.string().nullable(),
  policy: z.string().nullable(),
  steps: z.array(STEP),
});
type Explained = z.input<typeof EXPLANATION>;

export function explainRoute(options: AdminOptions): AdminRoute {
  return defineRoute({
    method: 'POST',
    path: '/v1/explain',
    operationId: 'explainDecision',
    tag: 'Policies',
    summary: 'How a request would be decided, with every step',
    description:
      'Without a token or attributes of one the request is decided as one that carries none. Nothing is counted or recorded.',
    scope: 'portcullis:policy:read',
    body: { kind: 'json', schema: EXPLAIN_BODY },
    answers: { 200: { description: 'The decision and its trace', schema: EXPLANATION } },
    handle: async ({ body }) => {
      const now = options.clock.now();
      const holder = await holderOf(body, now, options);
      return json(200, explained(body, holder, body.time ?? now, options));
    },
  });
}

type Question = z.output<typeof EXPLAIN_BODY>;

/** Whose request it is; `refused`: a token was given that is not accepted. */
interface Holder {
  readonly principal: Principal | null;
  readonly refused: Reason | null;
  readonly tokenId: string | null;
}

async function holderOf(body: Question, now: number, options: AdminOptions): Promise<Holder> {
  if (typeof body.token === 'string') {
    const outcome = await options.authenticate(body.token, now);
    return outcome.ok
      ? { principal: outcome.principal, refused: null, tokenId: outcome.principal.tokenId }
      : { principal: null, refused: outcome.reason, tokenId: outcome.tokenId };
  }
  const { scopes, roles, claims } = body;
  const sample = body.token ?? ((scopes ?? roles ?? claims) === undefined ? null : { scopes, roles, claims });
  return {
    principal: sample === null ? null : samplePrincipal(sample, body.time ?? now),
    refused: null,
    tokenId: null,
  };
}

function explained(body: Question, holder: Holder, now: number, options: AdminOptions): Explained {
  const target = options.canonicalise(body.path);
  const request = {
    method: body.method,
    host: hostName(target.ok ? (target.authority ?? body.host) : body.host),
    path: target.ok ? target.path : null,
    ip: body.ip,
  };
  const shown = { ...request, path: request.path === null ? null : maskTokens(request.path) };
  const policy = options.policy.current();
  const base: Explained = {
    decision: 'deny',
    reason: null,
    status: null,
    detail: null,
    condition: null,
    report_only: false,
    required_scopes: [],
    api: null,
    rule: null,
    params: {},
    request: shown,
    token_id: holder.tokenId,
    policy: policy?.version ?? null,
    steps: [],
  };
  if (!target.ok) {
    const step: ExplainedStep = { step: 'path', outcome: 'fail', text: `${REASONS[target.reason].title}` };
    return { ...base, ...refused(target.reason), steps: [step] };
  }
  if (policy === null) return { ...base, ...refused('route_not_declared', 'No policy is loaded.') };
  const { method, mcp } = body;
  const message = mcp === undefined || method !== 'POST' ? null : { method: mcp.method, tool: mcp.tool ?? null };
  return { ...base, ...judged(policy, { ...request, path: target.path, mcp: message }, holder, now) };
}

function judged(policy: CompiledPolicy, request: PolicyRequest, holder: Holder, now: number): Partial<Explained> {
  const { decision, ambiguous, steps } = explain(policy, request, holder.principal, now);
  const { rule } = decision;
  const facts: Partial<Explained> = {
    api: decision.api?.name ?? null,
    rule: rule === null ? null : { id: rule.id, name: rule.name, ...rule.source },
    params: Object.fromEntries(Object.entries(decision.params).map(([name, value]) => [name, maskTokens(value)])),
    steps: steps.map((step) => presented(step, holder)),
  };
  if (ambiguous) return { ...facts, ...refused('path_ambiguous') };
  if (decision.effect === 'allow') return { ...facts, decision: 'allow', reason: null, status: null };
  // A public rule never looks at the token; any other refuses one that is not valid before it judges anything else.
  if (holder.refused !== null) return { ...facts, ...refused(holder.refused) };
  return {
    ...facts,
    ...refused(decision.reason, decision.detail),
    condition: decision.condition,
    report_only: decision.reportOnly,
    required_scopes: [...decision.requiredScopes],
  };
}

function refused(reason: Reason, detail: string = `${REASONS[reason].title}.`): Partial<Explained> {
  return { decision: 'deny', reason, status: REASONS[reason].status, detail };
}

function presented(step: ExplainedStep, holder: Holder): z.input<typeof STEP> {
  if (step.step !== 'token') return { ...step, text: maskTokens(step.text) };
  if (holder.refused !== null) return { ...step, text: `the token is not accepted: ${holder.refused}` };
  const made = holder.principal !== null && holder.tokenId === null;
  return { ...step, text: made ? 'a valid token with the attributes given' : step.text };
}

/** Lower case, without port (RFC 9110 §7.2). */
function hostName(authority: string): string {
  return authority.replace(/:\d*$/, '').toLowerCase();
}
