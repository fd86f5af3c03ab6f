import { equalDigests } from '../base/encoding.ts';
import type { Confirmation, Principal } from '../model/principal.ts';
import type { SupersededGeneration, TokenBinding, TokenRecord } from '../model/token-record.ts';
import type { AuthenticationOutcome, CredentialMemo, GenerationMatch, TokenReason } from './authenticator.ts';

type Allowed = Extract<AuthenticationOutcome, { ok: true }>;
type Refusal = Extract<AuthenticationOutcome, { ok: false }>;

/** A refusal that says nothing about any record: the credential has not been shown to belong to one. */
export function unprovenRefusal(reason: TokenReason): Refusal {
  return { ok: false, reason, tokenId: null, generation: null };
}

/**
 * What a presented token is worth, given the record under its id (null: there is none). Pure.
 *
 * `digest` is the hex digest of the presented token, `now` milliseconds since the epoch. At `expires_at` a token is
 * expired, at `grace_until` an old generation's grace is over, at `not_before` a token is valid.
 */
export function verifyOpaque(
  record: TokenRecord | null,
  digest: string,
  environment: string,
  now: number,
  principals: Principals = new WeakMap(),
  memo: CredentialMemo | null = null,
): AuthenticationOutcome {
  // No record under this id.
  if (record === null) return unprovenRefusal('token_unknown');
  // A store shared between environments: the record decides, not what the token says about itself.
  if (record.environment !== environment) return unprovenRefusal('token_wrong_environment');
  const proven = memo?.record === record ? memo.match : matchGeneration(record, digest);
  // The id exists but the secret is not of any generation: told apart from an unknown id by nobody.
  if (proven === null) return unprovenRefusal('token_unknown');
  if (memo !== null) {
    memo.record = record;
    memo.match = proven;
  }
  const { superseded, generation } = proven;
  const refuse = (reason: TokenReason): Refusal => ({ ok: false, reason, tokenId: record.id, generation });
  // Revoked stays revoked, whatever else holds.
  if (record.revoked_at !== null) return refuse('token_revoked');
  // An old generation after its grace: a reuse, of which the class may have more to say.
  if (superseded !== null && !(now < superseded.grace_until)) {
    return { ...refuse('token_superseded'), tokenClass: record.class };
  }
  // The end has come.
  if (!(now < record.expires_at)) return refuse('token_expired');
  // The beginning has not.
  if (record.not_before !== null && !(now >= record.not_before)) return refuse('token_not_yet_valid');
  const allowed: Allowed = { ok: true, generation, principal: principalOf(record, superseded, principals) };
  return retiresOlder(record, generation, now) ? { ...allowed, retiresOlder: true } : allowed;
}

/** Whom a record's newest generation speaks for, by record: the same object for as long as the record is the same. */
export type Principals = WeakMap<TokenRecord, Principal>;

function principalOf(record: TokenRecord, superseded: SupersededGeneration | null, principals: Principals): Principal {
  const known = superseded === null ? principals.get(record) : undefined;
  if (known !== undefined) return known;
  const principal: Principal = {
    tokenType: 'opaque',
    tokenId: record.id,
    subject: record.subject,
    owner: record.owner,
    class: record.class,
    scopes: record.scopes,
    roles: record.roles,
    claims: record.claims,
    ip: record.ip,
    // When an old generation was made is not kept: taken as the oldest it can be, so that age limits err on refusal.
    issuedAt: superseded === null ? (record.rotated_at ?? record.created_at) : record.created_at,
    expiresAt: record.expires_at,
    supersededUntil: superseded === null ? null : superseded.grace_until,
    foreign: null,
    confirmation: confirmationOf(record.bound_to),
  };
  if (superseded === null) principals.set(record, principal);
  return principal;
}

function confirmationOf(binding: TokenBinding | undefined): Confirmation | null {
  if (binding === undefined) return null;
  return { certificateThumbprint: binding['x5t#S256'] ?? null, keyThumbprint: binding.jkt ?? null };
}

/** Whether a generation older than the one in use is to end with its first use, and has not yet. */
function retiresOlder(record: TokenRecord, used: number, now: number): boolean {
  // No older generation outlives the record's `grace_until`.
  if (record.grace_until === null || now >= record.grace_until) return false;
  return record.superseded.some(
    ({ generation, retire, grace_until }) => retire === 'on_first_use' && generation < used && now < grace_until,
  );
}

function matchGeneration(record: TokenRecord, digest: string): GenerationMatch | null {
  const presented = Buffer.from(digest, 'latin1');
  if (equalDigests(Buffer.from(record.digest, 'latin1'), presented)) {
    return { superseded: null, generation: record.generation };
  }
  for (const superseded of record.superseded) {
    if (equalDigests(Buffer.from(superseded.digest, 'latin1'), presented)) {
      return { superseded, generation: superseded.generation };
    }
  }
  return null;
}
