import { describe, expect, it } from 'vitest';
import { presentToken } from '../../src/lifecycle/present.ts';
import type { TokenRecord } from '../../src/model/token-record.ts';
import { HOUR, T0 } from './rig.ts';

const record: TokenRecord = {
  id: 'abcdefABCDEF',
  name: 'orders reader',
  owner: 'team-a',
  class: 'service',
  environment: 'prod',
  subject: null,
  scopes: ['orders:read'],
  roles: ['support'],
  claims: { tenant: 'acme' },
  ip: ['10.0.0.0/8'],
  created_at: T0,
  created_by: 'break-glass',
  not_before: null,
  expires_at: T0 + 10 * HOUR,
  generation: 2,
  rotated_at: T0 + HOUR,
  grace_until: T0 + 2 * HOUR,
  rotate_after: null,
  revoked_at: null,
  revoked_by: null,
  revoke_reason: null,
  digest: 'd'.repeat(64),
  superseded: [
    {
      generation: 1,
      digest: 'e'.repeat(64),
      grace_until: T0 + 2 * HOUR,
      last_used_at: T0 + 1,
      last_used_ip: '10.0.0.1',
    },
  ],
};
const usage = { last_used_at: T0 + 2, last_used_ip: '10.0.0.2', use_count: 7 };

describe('a presented token', () => {
  it('shows the record with its times in words and without any digest', () => {
    const presented = presentToken({ record, usage }, T0 + HOUR);
    expect(presented).toEqual({
      id: 'abcdefABCDEF',
      name: 'orders reader',
      owner: 'team-a',
      class: 'service',
      environment: 'prod',
      subject: null,
      scopes: ['orders:read'],
      roles: ['support'],
      claims: { tenant: 'acme' },
      ip: ['10.0.0.0/8'],
      created_at: '2030-01-01T00:00:00.000Z',
      created_by: 'break-glass',
      not_before: null,
      expires_at: '2030-01-01T10:00:00.000Z',
      status: 'rotating',
      generation: 2,
      rotated_at: '2030-01-01T01:00:00.000Z',
      grace_until: '2030-01-01T02:00:00.000Z',
      rotate_after: null,
      revoked_at: null,
      revoked_by: null,
      revoke_reason: null,
      last_used_at: '2030-01-01T00:00:00.002Z',
      last_used_ip: '10.0.0.2',
      use_count: 7,
      superseded: [
        {
          generation: 1,
          grace_until: '2030-01-01T02:00:00.000Z',
          last_used_at: '2030-01-01T00:00:00.001Z',
          last_used_ip: '10.0.0.1',
          retire: 'at_grace_end',
        },
      ],
      bound_to: null,
      expired_by: null,
    });
    expect(JSON.stringify(presented)).not.toMatch(/d{64}|e{64}|digest/);
  });

  it.each([
    [T0 + 2 * HOUR - 1, {}, 'rotating'],
    [T0 + 2 * HOUR, {}, 'active'],
    [T0 + 10 * HOUR, {}, 'expired'],
    [T0 + 10 * HOUR, { revoked_at: T0 }, 'revoked'],
  ])('at %d with %j is %s', (now, changes, status) => {
    expect(presentToken({ record: { ...record, ...changes }, usage }, now).status).toBe(status);
  });
});
