import { STATUS_CODES } from 'node:http';
import { z } from 'zod';
import { REASON_NAMES } from '../model/reason.ts';
import { ADMIN_REASONS, type AdminReason, PROBLEM_CONTENT_TYPE, statusOf } from './problem.ts';
import { ADMIN_SCOPES, type AdminRoute, type AnswerDescription, type PublicRoute } from './route.ts';

type Schema = Readonly<Record<string, unknown>>;

/** Refusals that every call with a token can get. */
const COMMON_REFUSALS: readonly AdminReason[] = [
  'request_invalid',
  'request_malformed',
  'token_ambiguous',
  'token_missing',
  'token_malformed',
  'token_unknown',
  'token_expired',
  'token_revoked',
  'scope_insufficient',
  'condition_failed',
  'origin_refused',
  'internal_error',
  'store_unavailable',
];
const BODY_REFUSALS: readonly AdminReason[] = ['body_too_large', 'media_type_unsupported'];

/** The OpenAPI 3.1 document of the route table; bodies and queries come from the schemas that validate them. */
export function openApiDocument(version: string, calls: readonly AdminRoute[], open: readonly PublicRoute[]): Schema {
  const paths: Record<string, Record<string, unknown>> = {};
  const add = (route: AdminRoute | PublicRoute, operation: Schema): void => {
    const item = paths[route.path] ?? {};
    paths[route.path] = { ...item, [route.method.toLowerCase()]: operation };
  };
  for (const route of calls) add(route, callOperation(route));
  for (const route of open) add(route, { ...described(route), responses: answers(route.answers), security: [] });
  const document = {
    openapi: '3.1.0',
    info: {
      title: 'Portcullis admin API',
      version,
      description:
        'Tokens, policies and the audit trail. Times are RFC 3339; durations are written `30d`, `24h`, `5m`.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/', description: 'The admin listener that serves this document' }],
    tags: [...new Set([...calls, ...open].map(({ tag }) => tag))].map((name) => ({ name })),
    paths,
    components: {
      securitySchemes: {
        token: {
          type: 'http',
          scheme: 'bearer',
          description: `An opaque token with the scope that the call names: ${ADMIN_SCOPES.join(', ')}.`,
        },
      },
      responses: {
        Problem: {
          description: 'A refusal (RFC 9457)',
          content: { [PROBLEM_CONTENT_TYPE]: { schema: ref('Problem') } },
        },
      },
    },
  };
  const schemas: Record<string, unknown> = { Problem: problemSchema() };
  const hoisted = record(withoutDefinitions(document, schemas));
  return { ...hoisted, components: { ...record(hoisted['components']), schemas } };
}

function callOperation(route: AdminRoute): Schema {
  const parameters = [
    ...pathParameters(route.path),
    ...queryParameters(route.query),
    ...(route.idempotent === true ? [IDEMPOTENCY_KEY] : []),
  ];
  const refusals = [...COMMON_REFUSALS, ...(route.body === null ? [] : BODY_REFUSALS), ...(route.refusals ?? [])];
  return {
    ...described(route),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(route.body === null ? {} : { requestBody: requestBody(route.body) }),
    responses: { ...answers(route.answers), ...problems(refusals, route.answers) },
    security: [{ token: [route.scope] }],
  };
}

function described(route: AdminRoute | PublicRoute): Schema {
  return {
    operationId: route.operationId,
    tags: [route.tag],
    summary: route.summary,
    ...(route.description === undefined ? {} : { description: route.description }),
  };
}

const IDEMPOTENCY_KEY = {
  name: 'Idempotency-Key',
  in: 'header',
  required: false,
  description: 'A repeat within 24 hours gets the first record with `token: null` and `Idempotent-Replay: true`.',
  schema: { type: 'string', minLength: 1, maxLength: 255 },
};

function pathParameters(path: string): Schema[] {
  return [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string', pattern: '^[0-9A-Za-z]{12}$' },
  }));
}

function queryParameters(query: z.ZodType): Schema[] {
  const schema = jsonSchema(query, 'input');
  const properties = record(schema['properties']);
  const required: readonly unknown[] = Array.isArray(schema['required']) ? schema['required'] : [];
  return Object.entries(properties).map(([name, property]) => ({
    name,
    in: 'query',
    required: required.includes(name),
    schema: property,
  }));
}

function requestBody(body: NonNullable<AdminRoute['body']>): Schema {
  const type = body.kind === 'json' ? 'application/json' : 'application/x-www-form-urlencoded';
  return { required: !body.optional, content: { [type]: { schema: jsonSchema(body.schema, 'input') } } };
}

function answers(described: Readonly<Record<number, AnswerDescription>>): Schema {
  return Object.fromEntries(
    Object.entries(described).map(([status, { description, schema, contentType, headers }]) => [
      status,
      {
        description,
        ...(headers === undefined
          ? {}
          : {
              headers: Object.fromEntries(
                Object.entries(headers).map(([name, text]) => [
                  name,
                  { description: text, schema: { type: 'string' } },
                ]),
              ),
            }),
        ...(schema === undefined
          ? {}
          : { content: { [contentType ?? 'application/json']: { schema: jsonSchema(schema, 'output') } } }),
      },
    ]),
  );
}

/** One answer per status, naming the reasons that lead to it. */
function problems(reasons: readonly AdminReason[], taken: Readonly<Record<number, unknown>>): Schema {
  const byStatus = Map.groupBy(new Set(reasons), statusOf);
  return Object.fromEntries(
    [...byStatus]
      .filter(([status]) => !Object.hasOwn(taken, status))
      .map(([status, names]) => [
        status,
        {
          description: `${STATUS_CODES[status] ?? 'Refused'}: ${names.join(', ')}`,
          content: { [PROBLEM_CONTENT_TYPE]: { schema: ref('Problem') } },
        },
      ]),
  );
}

function problemSchema(): Schema {
  const reasons = [...Object.keys(ADMIN_REASONS), ...REASON_NAMES];
  return jsonSchema(
    z.looseObject({
      type: z.string(),
      title: z.string(),
      status: z.int(),
      detail: z.string(),
      reason: z.enum(reasons),
      request_id: z.string(),
      errors: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
    }),
    'output',
  );
}

function ref(name: string): Schema {
  return { $ref: `#/components/schemas/${name}` };
}

function jsonSchema(schema: z.ZodType, io: 'input' | 'output'): Schema {
  // The document's own dialect is JSON Schema 2020-12 (OpenAPI 3.1 §4.7.24.1); a `$schema` in every part would be noise.
  const { $schema: _dialect, ...rest } = z.toJSONSchema(schema, {
    io,
    target: 'draft-2020-12',
    // A claim may be any JSON; everything else has a form.
    unrepresentable: 'any',
    override: ({ jsonSchema: made }) => {
      // The format says it; the expression behind it fills a screen.
      if (made.format === 'date-time') delete made.pattern;
      // An answer may gain members; clients pass over what they do not know.
      if (io === 'output' && made.additionalProperties === false) delete made.additionalProperties;
    },
  });
  return rest;
}

/** Moves the definitions of schemas with a name to where every part of the document finds them. */
function withoutDefinitions(node: unknown, schemas: Record<string, unknown>): unknown {
  if (Array.isArray(node)) return node.map((item) => withoutDefinitions(item, schemas));
  if (typeof node !== 'object' || node === null) return node;
  const { $defs, $ref, ...rest } = record(node);
  for (const [name, schema] of Object.entries(record($defs))) schemas[name] = withoutDefinitions(schema, schemas);
  const members = Object.entries(rest).map(([name, value]) => [name, withoutDefinitions(value, schemas)]);
  const reference = typeof $ref === 'string' ? { $ref: $ref.replace('#/$defs/', '#/components/schemas/') } : {};
  return { ...reference, ...Object.fromEntries(members) };
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? Object.fromEntries(Object.entries(value)) : {};
}
