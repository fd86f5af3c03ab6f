import { z } from 'zod';
import { validate } from '../admin/validate.ts';
import { rfc3339 } from '../base/encoding.ts';
import type { OwnTokenCaller, OwnTokenOutcome, OwnTokenService } from '../gateway/own-token.ts';
import type { Actor, DescribedToken, FieldError, LifecycleContext, LifecycleError } from '../lifecycle/context.ts';
import { revokeForeign } from '../lifecycle/mark.ts';
import { presentToken } from '../lifecycle/present.ts';
import { revokeToken } from '../lifecycle/revoke.ts';
import { rotateToken } from '../lifecycle/rotate.ts';
import { Fault } from '../model/fault.ts';
import type { Reason } from '../model/reason.ts';
import { statusAt, type TokenRecord } from '../model/token-record.ts';

const ROTATE_BODY = z.strictObject({
  grace: z.string().max(64).optional(),
  retire: z.enum(['at_grace_end', 'on_first_use']).optional(),
});
const REVOKE_BODY = z.strictObject({ reason: z.string().max(1024).optional() });

/** What a revocation by the holder says where no reason was given. */
const HOLDER_REASON = 'revoked by its holder';

/**
 * The lifecycle as the holder of a token may use it. Every answer comes from a fresh read of the store. What holders of tokens
 * of others may see and rotate, `foreign` says.
 */
export function createOwnTokenService(
  context: LifecycleContext,
  foreign: Pick<OwnTokenService, 'show' | 'rotate'>,
): OwnTokenService {
  const own = createOwnService(context);
  const serviceOf = ({ principal }: OwnTokenCaller) => (principal.foreign === null ? own : foreign);
  return {
    show: (caller) => serviceOf(caller).show(caller),
    rotate: (caller, body) => serviceOf(caller).rotate(caller, body),
    revoke: (caller, body) => own.revoke(caller, body),
  };
}

function createOwnService(context: LifecycleContext): OwnTokenService {
  return {
    show: async (caller) => {
      const now = context.clock.now();
      const stored = await context.store.load(caller.tokenId);
      const refusedFor = stored === null ? 'token_unknown' : standing(stored.record, caller.generation, now);
      if (stored === null || refusedFor !== null) return refused(refusedFor ?? 'token_unknown');
      return { kind: 'answer', body: described(stored, caller.generation, now) };
    },
    rotate: (caller, body) =>
      change(async () => {
        const request = validate(ROTATE_BODY, body);
        if (!request.ok) return invalid(request.error);
        const only = { onlyGeneration: caller.generation };
        const rotated = await rotateToken(context, actorOf(caller), caller.tokenId, request.value, only);
        if (!rotated.ok) return lifecycleProblem(rotated.error);
        const { stored, token } = rotated.value;
        const now = context.clock.now();
        return { kind: 'answer', body: { ...described(stored, stored.record.generation, now), token } };
      }),
    revoke: (caller, body) =>
      change(async () => {
        const request = validate(REVOKE_BODY, body);
        if (!request.ok) return invalid(request.error);
        const reason = request.value.reason ?? HOLDER_REASON;
        const { principal, tokenId } = caller;
        const revoked = await (principal.foreign === null
          ? revokeToken(context, actorOf(caller), tokenId, { reason })
          : revokeForeign(context, actorOf(caller), principal, { reason }));
        if (!revoked.ok) return lifecycleProblem(revoked.error);
        const { id, revoked_at, propagation } = revoked.value;
        return { kind: 'answer', body: { id, revoked_at: rfc3339(revoked_at), propagation } };
      }),
  };
}

/** The token itself: it holds what it holds, so it hands out nothing more. */
function actorOf({ tokenId, requestId, ip }: OwnTokenCaller): Actor {
  return { tokenId, name: tokenId, scopes: [], roles: [], class: null, requestId, ip };
}

/** Why this generation is not let in any more, or null. The request was let in before this was read. */
function standing(record: TokenRecord, generation: number, now: number): Reason | null {
  const status = statusAt(record, now);
  if (status === 'revoked') return 'token_revoked';
  if (generation !== record.generation) {
    const grace = record.superseded.find((entry) => entry.generation === generation)?.grace_until;
    if (grace === undefined || now >= grace) return 'token_superseded';
  }
  return status === 'expired' ? 'token_expired' : null;
}

/** What the holder may know: the record without who made it, who used it, and whatever else is about others. */
function described(stored: DescribedToken, presented: number, now: number): Readonly<Record<string, unknown>> {
  const token = presentToken(stored, now);
  const { id, name, owner, environment, subject, scopes, roles, claims, ip, status } = token;
  const { created_at, not_before, expires_at, generation, rotated_at, grace_until, rotate_after, bound_to } = token;
  return {
    id,
    name,
    owner,
    class: token.class,
    environment,
    status,
    subject,
    scopes,
    roles,
    claims,
    ip,
    created_at,
    not_before,
    expires_at,
    generation,
    presented_generation: presented,
    rotated_at,
    grace_until,
    rotate_after,
    bound_to,
  };
}

/** The lifecycle says for people what became of a change; every other fault goes the listener's way. */
async function change(perform: () => Promise<OwnTokenOutcome>): Promise<OwnTokenOutcome> {
  try {
    return await perform();
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    if (error.code === 'audit_unavailable' || error.code === 'conflict') {
      return { kind: 'problem', reason: error.code, detail: sentence(error.message) };
    }
    if (error.code === 'store_full') return refused('store_unavailable', 'The token store has no space left.');
    throw error;
  }
}

function lifecycleProblem(error: LifecycleError): OwnTokenOutcome {
  switch (error.kind) {
    case 'invalid':
    case 'forbidden':
      return invalid(error.errors);
    case 'not_found':
      return refused('token_unknown');
    case 'conflict':
      return { kind: 'problem', reason: 'conflict', detail: sentence(error.message) };
  }
}

function invalid(errors: readonly FieldError[]): OwnTokenOutcome {
  const [first] = errors;
  const detail =
    errors.length === 1 && first !== undefined
      ? `${first.path === '' ? '' : `${first.path}: `}${first.message}`
      : `${errors.length} things are wrong; see errors`;
  return { kind: 'problem', reason: 'request_invalid', detail, errors };
}

function refused(reason: Reason, detail: string | null = null): OwnTokenOutcome {
  return { kind: 'refused', reason, detail };
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}
