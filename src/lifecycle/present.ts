import { rfc3339 } from '../base/encoding.ts';
import { type Claims, statusAt, type TokenBinding, type TokenStatus } from '../model/token-record.ts';
import type { DescribedToken } from './context.ts';

/** A token record as the admin API gives it out: times in RFC 3339, never a digest. */
export interface PresentedToken {
  readonly id: string;
  readonly name: string;
  readonly owner: string;
  readonly class: string;
  readonly environment: string;
  readonly subject: string | null;
  readonly scopes: readonly string[];
  readonly roles: readonly string[];
  readonly claims: Claims;
  readonly ip: readonly string[];
  readonly created_at: string;
  readonly created_by: string;
  readonly not_before: string | null;
  readonly expires_at: string;
  readonly status: TokenStatus;
  readonly generation: number;
  readonly rotated_at: string | null;
  readonly grace_until: string | null;
  readonly rotate_after: string | null;
  readonly revoked_at: string | null;
  readonly revoked_by: string | null;
  readonly revoke_reason: string | null;
  readonly last_used_at: string | null;
  readonly last_used_ip: string | null;
  readonly use_count: number;
  /** Earlier generations, newest first, and how each was last used. */
  readonly superseded: readonly {
    readonly generation: number;
    readonly grace_until: string;
    readonly last_used_at: string | null;
    readonly last_used_ip: string | null;
    /** When it ends, or has ended, before `grace_until`: with the first use of a newer one. */
    readonly retire: 'at_grace_end' | 'on_first_use';
  }[];
  /** What its holder has to prove possession of; null: a bearer token. */
  readonly bound_to: TokenBinding | null;
  /** Why the token has ended before its time, or null. */
  readonly expired_by: 'idle_expiry' | null;
}

/** Named member by member, so that a field added to the stored record stays inside until it is let out here. */
export function presentToken(stored: DescribedToken, now: number): PresentedToken {
  const { record, usage } = stored;
  return {
    id: record.id,
    name: record.name,
    owner: record.owner,
    class: record.class,
    environment: record.environment,
    subject: record.subject,
    scopes: record.scopes,
    roles: record.roles,
    claims: record.claims,
    ip: record.ip,
    created_at: rfc3339(record.created_at),
    created_by: record.created_by,
    not_before: timeOrNull(record.not_before),
    expires_at: rfc3339(record.expires_at),
    status: statusAt(record, now),
    generation: record.generation,
    rotated_at: timeOrNull(record.rotated_at),
    grace_until: timeOrNull(record.grace_until),
    rotate_after: timeOrNull(record.rotate_after),
    revoked_at: timeOrNull(record.revoked_at),
    revoked_by: record.revoked_by,
    revoke_reason: record.revoke_reason,
    last_used_at: timeOrNull(usage.last_used_at),
    last_used_ip: usage.last_used_ip,
    use_count: usage.use_count,
    superseded: record.superseded.map((generation) => ({
      generation: generation.generation,
      grace_until: rfc3339(generation.grace_until),
      last_used_at: timeOrNull(generation.last_used_at),
      last_used_ip: generation.last_used_ip,
      retire: generation.retire ?? 'at_grace_end',
    })),
    bound_to: record.bound_to ?? null,
    expired_by: record.expired_by ?? null,
  };
}

function timeOrNull(epochMs: number | null): string | null {
  return epochMs === null ? null : rfc3339(epochMs);
}
