import { z } from 'zod';
import { rfc3339 } from '../../base/encoding.ts';
import type { Result } from '../../base/result.ts';
import type { LifecycleError, TokenWithSecret } from '../../lifecycle/context.ts';
import { issueErrors, issueToken } from '../../lifecycle/issue.ts';
import { isForeignTokenId, revokeForeign } from '../../lifecycle/mark.ts';
import { narrowErrors, narrowToken } from '../../lifecycle/narrow.ts';
import { presentToken } from '../../lifecycle/present.ts';
import { revokeToken } from '../../lifecycle/revoke.ts';
import { rotateErrors, rotateToken } from '../../lifecycle/rotate.ts';
import { InvalidCursor } from '../../store/token-store.ts';
import { NEXT_CURSOR } from '../fields.ts';
import { onceForKey, type SecretAnswer } from '../idempotency.ts';
import { actorOf, lifecycleRefusal, NO_SUCH_TOKEN } from '../lifecycle-call.ts';
import type { AdminOptions } from '../options.ts';
import type { Refusal } from '../problem.ts';
import { type AdminRoute, defineRoute, invalidRequest, isTokenId, json } from '../route.ts';
import {
  ISSUE_BODY,
  LIST_QUERY,
  NARROW_BODY,
  REVOCATION,
  REVOKE_BODY,
  ROTATE_BODY,
  TOKEN_RECORD,
  TOKEN_WITH_SECRET,
} from './token-schemas.ts';

const REPLAYED = { 'Idempotent-Replay': '`true` where the answer repeats an earlier one' };

export function tokenRoutes(options: AdminOptions): AdminRoute[] {
  return [
    issueRoute(options),
    listRoute(options),
    showRoute(options),
    narrowRoute(options),
    rotateRoute(options),
    revokeRoute(options),
  ];
}

function issueRoute(options: AdminOptions): AdminRoute {
  return defineRoute({
    method: 'POST',
    path: '/v1/tokens',
    operationId: 'issueToken',
    tag: 'Tokens',
    summary: 'Issue a token',
    description: 'Its scopes have to lie within its class and within what the caller holds.',
    scope: 'portcullis:tokens:issue',
    idempotent: true,
    body: { kind: 'json', schema: ISSUE_BODY },
    answers: {
      201: { description: 'The record, and the token this once', schema: TOKEN_WITH_SECRET, headers: REPLAYED },
    },
    refusals: ['conflict', 'idempotency_in_progress', 'idempotency_key_reused', 'audit_unavailable'],
    furtherErrors: (body, call) =>
      issueErrors(options.lifecycle, actorOf(call), wellShaped(ISSUE_BODY.partial(), body)),
    handle: (call) =>
      onceForKey(
        {
          key: call.request.idempotencyKey,
          callerId: call.caller.principal.tokenId,
          route: 'POST /v1/tokens',
          request: { body: call.body },
        },
        options,
        async () => secretAnswer(201, await issueToken(options.lifecycle, actorOf(call), call.body), options),
      ),
  });
}

/** The members of a body that have the right shape; `schema` requires none. */
function wellShaped<T>(
  schema: z.ZodType<T> & { readonly shape: Readonly<Record<string, z.ZodType>> },
  body: unknown,
): Partial<T> {
  if (typeof body !== 'object' || body === null) return {};
  const readable = Object.entries(body).filter(
    ([name, value]) => Object.hasOwn(schema.shape, name) && schema.shape[name]?.safeParse(value).success === true,
  );
  const parsed = schema.safeParse(Object.fromEntries(readable));
  return parsed.success ? parsed.data : {};
}

function rotateRoute(options: AdminOptions): AdminRoute {
  return defineRoute({
    method: 'POST',
    path: '/v1/tokens/{id}/rotate',
    operationId: 'rotateToken',
    tag: 'Tokens',
    summary: 'Give a token a new secret; the old one works until its grace is over',
    description: 'A working secret is handed out, so the caller has to hold whatever the token holds.',
    scope: 'portcullis:tokens:rotate',
    idempotent: true,
    body: { kind: 'json', schema: ROTATE_BODY, optional: true },
    answers: {
      200: { description: 'The record, and the new token this once', schema: TOKEN_WITH_SECRET, headers: REPLAYED },
    },
    refusals: ['not_found', 'conflict', 'idempotency_in_progress', 'idempotency_key_reused', 'audit_unavailable'],
    furtherErrors: (body, call) =>
      isTokenId(call.id) ? rotateErrors(options.lifecycle, actorOf(call), call.id, wellShaped(ROTATE_BODY, body)) : [],
    handle: async (call) => {
      if (!isTokenId(call.id)) return NO_SUCH_TOKEN;
      return await onceForKey(
        {
          key: call.request.idempotencyKey,
          callerId: call.caller.principal.tokenId,
          route: 'POST /v1/tokens/{id}/rotate',
          request: { id: call.id, body: call.body },
        },
        options,
        async () => secretAnswer(200, await rotateToken(options.lifecycle, actorOf(call), call.id, call.body), options),
      );
    },
  });
}

function secretAnswer(
  status: number,
  result: Result<TokenWithSecret, LifecycleError>,
  options: AdminOptions,
): SecretAnswer | Refusal {
  if (!result.ok) return lifecycleRefusal(result.error);
  const { stored, token } = result.value;
  return { ok: true, status, record: { ...presentToken(stored, options.clock.now()) }, secret: token };
}

function listRoute(options: AdminOptions): AdminRoute {
  return defineRoute({
    method: 'GET',
    path: '/v1/tokens',
    operationId: 'listTokens',
    tag: 'Tokens',
    summary: 'Tokens, the newest first; never their secrets',
    scope: 'portcullis:tokens:read',
    query: LIST_QUERY,
    answers: {
      200: { description: 'One page', schema: z.strictObject({ tokens: z.array(TOKEN_RECORD), cursor: NEXT_CURSOR }) },
    },
    handle: async ({ query }) => {
      const now = options.clock.now();
      const { cursor, limit, expires_before, ...filter } = query;
      try {
        const page = await options.store.list(
          { ...filter, expiresBefore: expires_before },
          { limit, cursor: cursor ?? null, now },
        );
        return json(200, { tokens: page.tokens.map((stored) => presentToken(stored, now)), cursor: page.cursor });
      } catch (error) {
        if (error instanceof InvalidCursor) return invalidRequest([{ path: 'cursor', message: error.message }]);
        throw error;
      }
    },
  });
}

function showRoute(options: AdminOptions): AdminRoute {
  return defineRoute({
    method: 'GET',
    path: '/v1/tokens/{id}',
    operationId: 'getToken',
    tag: 'Tokens',
    summary: 'One token; never its secret',
    scope: 'portcullis:tokens:read',
    answers: { 200: { description: 'The record', schema: TOKEN_RECORD } },
    refusals: ['not_found'],
    handle: async ({ id }) => {
      const stored = isTokenId(id) ? await options.store.load(id) : null;
      return stored === null ? NO_SUCH_TOKEN : json(200, presentToken(stored, options.clock.now()));
    },
  });
}

function narrowRoute(options: AdminOptions): AdminRoute {
  return defineRoute({
    method: 'PATCH',
    path: '/v1/tokens/{id}',
    operationId: 'narrowToken',
    tag: 'Tokens',
    summary: 'Take away from a token, or rename it or its owner; nothing can be added',
    description:
      'Needs the scope of an issue: what a token may do is decided by whoever may issue, not by whoever only renews secrets.',
    scope: 'portcullis:tokens:issue',
    body: { kind: 'json', schema: NARROW_BODY },
    answers: { 200: { description: 'The record as it is now', schema: TOKEN_RECORD } },
    refusals: ['not_found', 'conflict', 'audit_unavailable'],
    furtherErrors: (body, call) =>
      isTokenId(call.id) ? narrowErrors(options.lifecycle, call.id, wellShaped(NARROW_BODY, body)) : [],
    handle: async (call) => {
      if (!isTokenId(call.id)) return NO_SUCH_TOKEN;
      const result = await narrowToken(options.lifecycle, actorOf(call), call.id, call.body);
      return result.ok ? json(200, presentToken(result.value, options.clock.now())) : lifecycleRefusal(result.error);
    },
  });
}

function revokeRoute(options: AdminOptions): AdminRoute {
  return defineRoute({
    method: 'POST',
    path: '/v1/tokens/{id}/revoke',
    operationId: 'revokeToken',
    tag: 'Tokens',
    summary: 'Revoke a token for good',
    description:
      'When this has answered 200 the token is let in nowhere any more. A repeat gives the same answer. A token that somebody else issued is named as the audit trail names it: `jwt:…` or `ext:…`.',
    scope: 'portcullis:tokens:revoke',
    body: { kind: 'json', schema: REVOKE_BODY },
    answers: { 200: { description: 'Since when, and how far the revocation has reached', schema: REVOCATION } },
    refusals: ['not_found', 'conflict', 'audit_unavailable'],
    handle: async (call) => {
      const { id: wanted } = call;
      const foreign = isForeignTokenId(wanted);
      if (!foreign && !isTokenId(wanted)) return NO_SUCH_TOKEN;
      const result = foreign
        ? await revokeForeign(options.lifecycle, actorOf(call), { tokenId: wanted }, call.body)
        : await revokeToken(options.lifecycle, actorOf(call), wanted, call.body);
      if (!result.ok) return lifecycleRefusal(result.error);
      const { id, revoked_at, propagation } = result.value;
      return json(200, { id, revoked_at: rfc3339(revoked_at), propagation });
    },
  });
}
