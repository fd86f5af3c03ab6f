import { randomBase62, sha256 } from '../../src/base/encoding.ts';
import type { TokenRecord } from '../../src/model/token-record.ts';

export const NOW = 1_800_000_000_000;
export const DAY = 24 * 3_600_000;

/** A well-formed active record with an id of its own. */
export function aToken(changes: Partial<TokenRecord> = {}): TokenRecord {
  const id = changes.id ?? randomBase62(12);
  return {
    id,
    name: `token ${id}`,
    owner: 'team-a',
    class: 'service',
    environment: 'test',
    subject: 'svc-orders',
    scopes: ['orders:read', 'orders:write'],
    roles: ['support'],
    claims: { tenant: 'acme', nested: { list: [1, 'zwei', null, true] } },
    ip: ['10.0.0.0/8'],
    created_at: NOW,
    created_by: 'admin',
    not_before: null,
    expires_at: NOW + 30 * DAY,
    generation: 1,
    rotated_at: null,
    grace_until: null,
    rotate_after: null,
    revoked_at: null,
    revoked_by: null,
    revoke_reason: null,
    digest: sha256(id).toString('hex'),
    superseded: [],
    ...changes,
  };
}

export function revoked(record: TokenRecord): TokenRecord {
  return { ...record, revoked_at: NOW + 1, revoked_by: 'admin', revoke_reason: 'leaked' };
}

/** `record` after one rotation whose grace ends at `graceUntil`. */
export function rotated(record: TokenRecord, graceUntil: number): TokenRecord {
  const old = { generation: record.generation, digest: record.digest, last_used_at: null, last_used_ip: null };
  return {
    ...record,
    generation: record.generation + 1,
    digest: sha256(`${record.id}${record.generation + 1}`).toString('hex'),
    rotated_at: NOW,
    grace_until: graceUntil,
    superseded: [{ ...old, grace_until: graceUntil }, ...record.superseded],
  };
}
