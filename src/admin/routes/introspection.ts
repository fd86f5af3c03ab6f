import { z } from 'zod';
import type { FieldError } from '../../lifecycle/context.ts';
import { reachedScopes } from '../../lifecycle/grants.ts';
import { isForeignTokenId, revokeForeign } from '../../lifecycle/mark.ts';
import { revokeToken } from '../../lifecycle/revoke.ts';
import type { Confirmation, Principal } from '../../model/principal.ts';
import type { Reason } from '../../model/reason.ts';
import { statusAt } from '../../model/token-record.ts';
import type { CompiledPolicy } from '../../policy/compiled-policy.ts';
import type { StoredToken } from '../../store/token-store.ts';
import { actorOf, ISSUER_SILENT, lifecycleRefusal } from '../lifecycle-call.ts';
import type { AdminOptions } from '../options.ts';
import { type Refusal, refusal } from '../problem.ts';
import { type AdminRoute, defineRoute, json } from '../route.ts';

/**
 * The form of RFC 7662 §2.1 and RFC 7009 §2.1. Not strict: a client's `client_id` and other parameters that
 * this server does not know are ignored, as RFC 6749 §3.1 wants it. The hint changes nothing: there is one kind of token.
 * White space around the token is what a file or a paste brings along: "200" for a token that was not
 * recognised because of a line end would leave a leaked one alive.
 */
const TOKEN_FORM = z.object({
  token: z.string().trim().min(1, 'must not be empty').meta({ description: 'The whole token' }),
  token_type_hint: z.string().optional(),
});

const ACTIVE = z.strictObject({
  active: z.literal(true),
  token_type: z.enum(['Bearer', 'DPoP']),
  scope: z.string(),
  sub: z.string().optional(),
  client_id: z.string().optional(),
  jti: z.string(),
  iat: z.int(),
  nbf: z.int().optional(),
  exp: z.int(),
  cnf: z
    .strictObject({ jkt: z.string().optional(), 'x5t#S256': z.string().optional() })
    .optional()
    .meta({ description: 'What its holder has to prove possession of (RFC 9449 §6.2, RFC 8705 §3.2)' }),
});

export function introspectionRoutes(options: AdminOptions): AdminRoute[] {
  return [introspectRoute(options), revocationRoute(options)];
}

function introspectRoute(options: AdminOptions): AdminRoute {
  return defineRoute({
    method: 'POST',
    path: '/v1/introspect',
    operationId: 'introspectToken',
    tag: 'OAuth 2.0',
    summary: 'Token introspection (RFC 7662)',
    description: 'Whatever is not valid at this moment, for whatever reason, is only `{"active": false}` (§2.2).',
    scope: 'portcullis:tokens:read',
    body: { kind: 'form', schema: TOKEN_FORM },
    answers: {
      200: {
        description: 'What the token stands for, or that it is not active',
        schema: z.union([ACTIVE, z.strictObject({ active: z.literal(false) })]),
      },
    },
    invalid: invalidForm,
    handle: async ({ body }) => {
      const now = options.clock.now();
      const outcome = await options.authenticate(body.token, now);
      if (!outcome.ok) return json(200, { active: false });
      const stored =
        outcome.principal.tokenType === 'opaque' ? await options.store.load(outcome.principal.tokenId) : null;
      // Revoked, or gone, between the two reads.
      const current = stored !== null && !['revoked', 'expired'].includes(statusAt(stored.record, now));
      if (outcome.principal.tokenType === 'opaque' && !current) return json(200, { active: false });
      return json(200, description(outcome.principal, stored, options.policy.current()));
    },
  });
}

/**
 * The token itself is the proof that it is in the caller's hands, so it is verified first: an id with a made-up secret
 * revokes nothing. What is not valid any more, or is not known, is answered as RFC 7009 §2.2 wants it: 200. What may be let in later
 * is revoked all the same, or 200 would be a promise that does not hold.
 */
function revocationRoute(options: AdminOptions): AdminRoute {
  return defineRoute({
    method: 'POST',
    path: '/v1/revoke',
    operationId: 'revokePresentedToken',
    tag: 'OAuth 2.0',
    summary: 'Token revocation (RFC 7009)',
    description:
      'Every generation of the token ends. A token that is not valid any more, or not known, is answered 200 too. 503: nobody can say now whether it is one, and nothing was revoked (RFC 7009 §2.2.1).',
    scope: 'portcullis:tokens:revoke',
    body: { kind: 'form', schema: TOKEN_FORM },
    answers: { 200: { description: 'The token is valid nowhere', schema: z.strictObject({}) } },
    refusals: ['audit_unavailable', 'conflict'],
    invalid: invalidForm,
    handle: async (call) => {
      const { identify, authenticate, lifecycle } = options;
      const outcome = await (identify ?? authenticate)(call.body.token, options.clock.now());
      if (!outcome.ok && outcome.reason === 'store_unavailable') return refusal('store_unavailable', ISSUER_SILENT);
      if (!outcome.ok && outcome.reason === 'token_untrusted' && identify === null) return unsupportedTokenType();
      const id = outcome.ok ? outcome.principal.tokenId : PROVEN_AND_ALIVE.has(outcome.reason) ? outcome.tokenId : null;
      if (id === null) return json(200, {});
      const token = outcome.ok ? outcome.principal : { tokenId: id };
      const foreign = outcome.ok ? outcome.principal.foreign !== null : isForeignTokenId(id);
      const result = await (foreign
        ? revokeForeign(lifecycle, actorOf(call), token, { reason: REVOCATION_REASON })
        : revokeToken(lifecycle, actorOf(call), id, { reason: REVOCATION_REASON }));
      // Gone meanwhile is as good as revoked.
      return result.ok || result.error.kind === 'not_found' ? json(200, {}) : lifecycleRefusal(result.error);
    },
  });
}

const REVOCATION_REASON = 'revoked through RFC 7009';

/**
 * Refusals of a token that will or may be let in later. A revoked one is taken again too: a repeat makes sure that
 * the first call has reached everybody.
 */
const PROVEN_AND_ALIVE: ReadonlySet<Reason> = new Set<Reason>(['token_not_yet_valid', 'token_revoked']);

/** A JWT: it goes on being valid wherever its issuer is trusted, so "200" would be a false promise (RFC 7009 §2.2.1). */
function unsupportedTokenType(): Refusal {
  const detail = 'Only opaque tokens of this gateway can be revoked here: no issuers are configured.';
  return refusal('request_invalid', detail, {
    members: { error: 'unsupported_token_type', error_description: detail },
  });
}

function description(
  principal: Principal,
  stored: StoredToken | null,
  policy: CompiledPolicy | null,
): z.input<typeof ACTIVE> {
  const end = Math.min(principal.expiresAt, principal.supersededUntil ?? Number.POSITIVE_INFINITY);
  const notBefore = stored?.record.not_before ?? null;
  const { keyThumbprint, certificateThumbprint } = principal.confirmation ?? UNBOUND;
  return {
    active: true,
    token_type: keyThumbprint === null ? 'Bearer' : 'DPoP',
    scope: [...new Set(policy === null ? principal.scopes : reachedScopes(principal, policy))].join(' '),
    ...(principal.subject === null ? {} : { sub: principal.subject }),
    ...(principal.owner === null ? {} : { client_id: principal.owner }),
    jti: principal.tokenId,
    iat: seconds(principal.issuedAt),
    ...(notBefore === null ? {} : { nbf: seconds(notBefore) }),
    exp: seconds(end),
    ...(principal.confirmation === null
      ? {}
      : {
          cnf: {
            ...(keyThumbprint === null ? {} : { jkt: keyThumbprint }),
            ...(certificateThumbprint === null ? {} : { 'x5t#S256': certificateThumbprint }),
          },
        }),
  };
}

const UNBOUND: Confirmation = { keyThumbprint: null, certificateThumbprint: null };

/** NumericDate (RFC 7519 §2). */
function seconds(epochMs: number): number {
  return Math.floor(epochMs / 1000);
}

function invalidForm(errors: readonly FieldError[]): Refusal {
  const detail = errors.map(({ path, message }) => `${path}: ${message}`).join('; ');
  return refusal('request_invalid', detail, {
    errors,
    members: { error: 'invalid_request', error_description: detail },
  });
}
