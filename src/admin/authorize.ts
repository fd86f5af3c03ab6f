import { LIMITS } from '../base/limits.ts';
import type { MaybePromise } from '../base/result.ts';
import type { Generations } from '../lifecycle/generations.ts';
import type { AuditEventInput } from '../model/audit-event.ts';
import type { Principal } from '../model/principal.ts';
import { REASONS, type Reason } from '../model/reason.ts';
import { ADMIN_CLASS } from '../policy/classes.ts';
import type { CompiledPolicy } from '../policy/compiled-policy.ts';
import { withinOwnBlocks } from '../policy/decide.ts';
import { holdsScope } from '../policy/scope.ts';
import type { TokenUse } from '../store/token-store.ts';
import { type Refusal, refusal, statusOf } from './problem.ts';
import type { AdminScope } from './route.ts';

/** As `token/authenticator.ts` has it; told here again because this room takes no part in verification. */
export type AuthenticationOutcome =
  | {
      readonly ok: true;
      readonly principal: Principal;
      readonly generation: number;
      readonly retiresOlder?: boolean;
    }
  | {
      readonly ok: false;
      readonly reason: Reason;
      readonly tokenId: string | null;
      readonly generation: number | null;
      readonly tokenClass?: string;
    };

/** One credential in, a principal or a refusal out. Throws (or rejects with) Fault `store_unavailable`. */
export type Authenticate = (credential: string, now: number) => MaybePromise<AuthenticationOutcome>;

/** Who makes a call, once it is let in. */
export interface Caller {
  readonly principal: Principal;
  /** Judges the same credential again, for a call that lasts: revoked, expired or narrowed, it no longer counts. */
  stillAllowed(now: number): Promise<boolean>;
}

export interface AuthorizeOptions {
  readonly authenticate: Authenticate;
  readonly policy: { current(): CompiledPolicy | null };
  readonly uses: { note(use: TokenUse): void };
  readonly generations: Pick<Generations, 'retireOlder'>;
}

/** `tokenId` is set once the credential is proven to belong to that token. */
export type Denial = Refusal & {
  readonly tokenId: string | null;
  /** Set where an old generation was presented after its end. */
  readonly reuse?: { readonly tokenId: string; readonly generation: number; readonly tokenClass: string };
};

export type Authorization = { readonly ok: true; readonly caller: Caller } | Denial;

/**
 * Whether the bearer of this credential may make a call that needs `scope`. Only opaque tokens count here: whoever
 * can sign a JWT for the traffic listener is not thereby an administrator.
 */
export async function authorize(
  rawHeaders: readonly string[],
  ip: string,
  scope: AdminScope,
  now: number,
  options: AuthorizeOptions,
): Promise<Authorization> {
  const presented = presentedCredential(rawHeaders);
  if (!presented.ok) return denied(presented.reason, null, scope);
  const { credential } = presented;
  const judged = await judgeCredential(credential, ip, scope, now, options);
  if (!judged.ok) return judged;
  const { principal, generation } = judged;
  if (judged.retiresOlder === true) await options.generations.retireOlder(principal.tokenId, generation);
  options.uses.note({ id: principal.tokenId, at: now, ip, count: 1, generation });
  const stillAllowed = async (later: number): Promise<boolean> =>
    (await judgeCredential(credential, ip, scope, later, options)).ok;
  return { ok: true, caller: { principal, stillAllowed } };
}

async function judgeCredential(
  credential: string,
  ip: string,
  scope: AdminScope,
  now: number,
  options: AuthorizeOptions,
): Promise<Extract<AuthenticationOutcome, { ok: true }> | Denial> {
  const outcome = await options.authenticate(credential, now);
  if (!outcome.ok) return { ...denied(outcome.reason, outcome.tokenId, scope), ...reuseOf(outcome) };
  const { principal } = outcome;
  if (principal.tokenType !== 'opaque') return denied('token_untrusted', principal.tokenId, scope);
  // This listener sees neither client certificates nor proofs, so nobody can show here that the token is theirs.
  if (principal.confirmation !== null) {
    const detail = 'A token that is bound to a key or certificate cannot be used on the admin listener.';
    return denied('token_untrusted', principal.tokenId, scope, detail);
  }
  if (!withinOwnBlocks(principal, ip)) {
    return denied('condition_failed', principal.tokenId, scope, 'The token may not be used from this address (ip).');
  }
  if (!holds(principal, scope, options.policy.current())) {
    return denied('scope_insufficient', principal.tokenId, scope, `The call needs the scope ${scope}.`);
  }
  return outcome;
}

function reuseOf(outcome: Extract<AuthenticationOutcome, { ok: false }>): Pick<Denial, 'reuse'> {
  const { reason, tokenId, generation, tokenClass } = outcome;
  if (reason !== 'token_superseded' || tokenId === null || generation === null || tokenClass === undefined) return {};
  return { reuse: { tokenId, generation, tokenClass } };
}

/** Own scopes and those of the roles, as the policy's decisions count them. */
function holds(principal: Principal, scope: AdminScope, policy: CompiledPolicy | null): boolean {
  if (holdsScope(principal.scopes, scope, principal.class === ADMIN_CLASS)) return true;
  return principal.roles.some((name) => holdsScope(policy?.roles.get(name)?.scopes ?? [], scope, false));
}

type Presented = { readonly ok: true; readonly credential: string } | { readonly ok: false; readonly reason: Reason };

/** Exactly one `Authorization: Bearer` (RFC 6750 §2.1). Node merges repeated fields, so the raw ones are read. */
function presentedCredential(rawHeaders: readonly string[]): Presented {
  const values = rawHeaders.filter((_, i) => i % 2 === 1 && rawHeaders[i - 1]?.toLowerCase() === 'authorization');
  const [value] = values;
  if (value === undefined) return { ok: false, reason: 'token_missing' };
  if (values.length > 1) return { ok: false, reason: 'token_ambiguous' };
  const match = /^bearer +([^\s]+) *$/i.exec(value);
  if (match?.[1] === undefined)
    return { ok: false, reason: /^bearer\b/i.test(value) ? 'token_malformed' : 'token_missing' };
  if (match[1].length > LIMITS.credentialBytes) return { ok: false, reason: 'token_malformed' };
  return { ok: true, credential: match[1] };
}

function denied(
  reason: Reason,
  tokenId: string | null,
  scope: AdminScope,
  detail = `${REASONS[reason].title}.`,
): Denial {
  return { ...refusal(reason, detail, { headers: challenge(reason, detail, [scope]) }), tokenId };
}

/** RFC 6750 §3; the scopes are named wherever a better token would help. */
export function challenge(reason: Reason, detail: string, scopes: readonly string[]): Readonly<Record<string, string>> {
  const error = REASONS[reason].challenge;
  if (error === null) return {};
  const code = error === 'none' ? '' : `, error="${error}", error_description="${detail}"`;
  const scope = scopes.length === 0 ? '' : `, scope="${scopes.join(' ')}"`;
  return { 'www-authenticate': `Bearer realm="portcullis-admin"${code}${scope}` };
}

/** The event that a refused call leaves. It names a token only once it was proven to be that token. */
export function deniedEvent(
  refused: Denial,
  request: { readonly requestId: string; readonly ip: string; readonly method: string; readonly path: string },
  scope: AdminScope,
): AuditEventInput {
  return {
    type: 'admin.denied',
    outcome: 'failure',
    reason: refused.reason,
    request_id: request.requestId,
    ip: request.ip,
    method: request.method,
    path: request.path,
    status: statusOf(refused.reason),
    ...(refused.tokenId === null ? {} : { token_id: refused.tokenId }),
    details: { required_scope: scope },
  };
}
