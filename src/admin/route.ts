import type { ServerResponse } from 'node:http';
import { z } from 'zod';
import type { MaybePromise } from '../base/result.ts';
import type { FieldError } from '../lifecycle/context.ts';
import type { Caller } from './authorize.ts';
import { type AdminReason, type Refusal, refusal } from './problem.ts';
import { validate } from './validate.ts';

/** The scopes of the admin API (RFC 6750 §3); `portcullis:*` on a token of an administrator covers them all. */
export const ADMIN_SCOPES = [
  'portcullis:tokens:read',
  'portcullis:tokens:issue',
  'portcullis:tokens:rotate',
  'portcullis:tokens:revoke',
  'portcullis:policy:read',
  'portcullis:policy:reload',
  'portcullis:audit:read',
  'portcullis:status:read',
] as const;
export type AdminScope = (typeof ADMIN_SCOPES)[number];

export type Method = 'GET' | 'POST' | 'PATCH';

/** What a handler sees of a request that was let in: everything validated. */
export interface Call<B, Q> {
  readonly body: B;
  readonly query: Q;
  /** The `{id}` of the path; a text that has the form of a token id, or empty where the path has none. */
  readonly id: string;
  readonly caller: Caller;
  readonly request: RequestFacts;
}

export interface RequestFacts {
  readonly requestId: string;
  /** The peer's address. */
  readonly ip: string;
  readonly method: string;
  /** The path with only well-formed ids in it, safe to write down. */
  readonly path: string;
  readonly accept: string;
  readonly idempotencyKey: string | null;
}

export type Answer =
  | {
      readonly ok: true;
      readonly kind: 'json';
      readonly status: number;
      readonly body: unknown;
      readonly headers?: Headers;
    }
  | { readonly ok: true; readonly kind: 'text'; readonly contentType: string; readonly text: string }
  | { readonly ok: true; readonly kind: 'stream'; readonly start: (response: ServerResponse) => void };

type Headers = Readonly<Record<string, string>>;

export function json(status: number, body: unknown, headers: Headers = {}): Answer {
  return { ok: true, kind: 'json', status, body, headers };
}

/** What the OpenAPI document says about an answer. */
export interface AnswerDescription {
  readonly description: string;
  readonly schema?: z.ZodType;
  /** `application/json` unless told. */
  readonly contentType?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

interface Description {
  readonly method: Method;
  /** `/v1/tokens/{id}` */
  readonly path: string;
  readonly operationId: string;
  readonly tag: string;
  readonly summary: string;
  readonly description?: string;
  readonly answers: Readonly<Record<number, AnswerDescription>>;
  /** Refusals beyond those that every call can get. */
  readonly refusals?: readonly AdminReason[];
  /** True where `Idempotency-Key` is honoured. */
  readonly idempotent?: boolean;
  /** True where HEAD has no meaning: an answer without end. */
  readonly headless?: boolean;
}

/** A call that needs a token, as its handler is written. */
export interface RouteSpec<B extends z.ZodType, Q extends z.ZodType> extends Description {
  readonly scope: AdminScope;
  readonly body?: { readonly kind: 'json' | 'form'; readonly schema: B; readonly optional?: boolean };
  readonly query?: Q;
  handle(call: Call<z.output<B>, z.output<Q>>): Promise<Answer | Refusal>;
  /**
   * What else is wrong with a body whose shape is wrong already: of the members that can be read, so that a caller is
   * told everything in one go.
   */
  furtherErrors?(body: unknown, input: RawCall): MaybePromise<readonly FieldError[]>;
  /** Turns a list of wrong fields into the refusal; where a foreign standard names its own error codes. */
  invalid?(errors: readonly FieldError[]): Refusal;
}

/** An entry of the route table: what the server registers and the OpenAPI document describes. */
export interface AdminRoute extends Description {
  readonly scope: AdminScope;
  readonly body: { readonly kind: 'json' | 'form'; readonly schema: z.ZodType; readonly optional: boolean } | null;
  readonly query: z.ZodType;
  run(input: RawCall): Promise<Answer | Refusal>;
}

export interface RawCall {
  readonly body: unknown;
  readonly query: unknown;
  readonly id: string;
  readonly caller: Caller;
  readonly request: RequestFacts;
}

/** A call that everybody who reaches the listener may make. */
export interface PublicRoute extends Description {
  run(request: RequestFacts): Promise<Answer>;
}

const NOTHING = z.strictObject({});

export function defineRoute<B extends z.ZodType = typeof NOTHING, Q extends z.ZodType = typeof NOTHING>(
  spec: RouteSpec<B, Q>,
): AdminRoute {
  const body = spec.body === undefined ? null : { optional: false, ...spec.body };
  const bodySchema: z.ZodType = body?.schema ?? NOTHING;
  const query: z.ZodType = spec.query ?? NOTHING;
  const invalid = spec.invalid ?? invalidRequest;
  return {
    ...spec,
    body,
    query,
    run: async (input) => {
      const queryResult = validate(query, input.query);
      const missing = input.body === undefined && body?.optional !== false;
      const bodyResult = validate(bodySchema, missing ? {} : input.body);
      if (!queryResult.ok || !bodyResult.ok) {
        const shape = [...(queryResult.ok ? [] : queryResult.error), ...(bodyResult.ok ? [] : bodyResult.error)];
        const named = new Set(shape.map(({ path }) => path));
        // A body that is no object at all, or too deep to walk, has nothing more to say.
        const readable = !bodyResult.ok && !named.has('');
        const further = readable ? ((await spec.furtherErrors?.(input.body, input)) ?? []) : [];
        return invalid([...shape, ...further.filter(({ path }) => !named.has(path))]);
      }
      // The schemas are those of the spec, so their outputs are what its handler takes.
      return await spec.handle({
        ...input,
        body: bodyResult.value as z.output<B>,
        query: queryResult.value as z.output<Q>,
      });
    },
  };
}

/** Whether a text can be a token id at all (12 base62 characters). */
export function isTokenId(text: string): boolean {
  return /^[0-9A-Za-z]{12}$/.test(text);
}

/** The methods of the routes whose path this is; empty for an unknown path. */
export function allowedMethods(
  routes: readonly Pick<AdminRoute, 'method' | 'path' | 'headless'>[],
  url: string,
): string[] {
  const path = url.split('?', 1)[0] ?? '';
  const methods = routes
    .filter((route) => new RegExp(`^${route.path.replaceAll(/\{\w+\}/g, '[^/]+').replaceAll('.', '\\.')}$`).test(path))
    .flatMap((route) => (route.method === 'GET' && route.headless !== true ? ['GET', 'HEAD'] : [route.method]));
  return [...new Set(methods)];
}

export function invalidRequest(errors: readonly FieldError[]): Refusal {
  const [first] = errors;
  const detail =
    errors.length === 1 && first !== undefined
      ? `${first.path === '' ? '' : `${first.path}: `}${first.message}`
      : `${errors.length} things are wrong; see errors`;
  return refusal('request_invalid', detail, { errors });
}
