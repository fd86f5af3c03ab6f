import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { AdminOptions } from '../../src/admin/options.ts';
import type { Principal } from '../../src/model/principal.ts';
import { markCovers } from '../../src/store/revocation-marks.ts';
import { createAuthenticator } from '../../src/token/authenticate.ts';
import { foreignToken, testTokens } from '../support/foreign-kind.ts';
import { type Harness, startAdmin } from './harness.ts';

const ISSUER = 'https://issuer.example';
const ID = 'jwt:0123456789abcdefghij_-';

/** The admin API of a gateway that takes tokens of others. */
function takingForeign(options: AdminOptions): AdminOptions {
  const { store, lifecycle } = options;
  const foreign = { kinds: [testTokens], revocations: null };
  const identifier = createAuthenticator({ ...lifecycle.tokens, store, foreign });
  const putMark: AdminOptions['store']['putMark'] = (mark, most) => store.putMark(mark, most);
  return {
    ...options,
    identify: (credential, now) => identifier.authenticate(credential, now),
    lifecycle: {
      ...lifecycle,
      foreign: { putMark, clockSkewMs: 0, longestLifeMs: 1000, countOpen: () => 5 },
    },
  };
}

describe('the admin API and tokens of others', () => {
  let admin: Harness;
  beforeAll(async () => {
    admin = await startAdmin(takingForeign);
  });
  afterAll(() => admin.close());

  const form = (token: string) => admin.call('POST', '/v1/revoke', { form: { token } });
  const bulk = (json: Record<string, unknown>) => admin.call('POST', '/v1/revocations', { json });
  async function covered(token: Pick<Principal, 'tokenId' | 'foreign'>): Promise<boolean> {
    return (await admin.store.allMarks()).some((mark) => markCovers(mark, token));
  }
  const named = (jti: string) => ({
    tokenId: ID,
    foreign: { issuer: ISSUER, jti, subject: null, issuedAt: null },
  });
  let round = 0;
  let jti = '';
  beforeEach(() => {
    round += 1;
    jti = `j${round}`;
  });

  it('revokes them by issuer, subject, jti and time of issue, and lists what stands against them', async () => {
    const { status, json } = await bulk({ jti, issuer: ISSUER, reason: 'incident 7' });
    expect([status, json]).toMatchObject([
      200,
      {
        dry_run: false,
        matched: 0,
        revoked: 0,
        tokens: [],
        notes: [],
        marks: [{ jti, issuer: ISSUER, subject: null, token_id: null, issued_before: null, repeated: false }],
        propagation: { replicas: 1, acknowledged: 1, streams_closed: 0 },
      },
    ]);
    expect(json).not.toHaveProperty('streams_open');
    expect(await covered(named(jti))).toBe(true);
    expect((await bulk({ jti, issuer: ISSUER, reason: 'again' })).json).toMatchObject({ marks: [{ repeated: true }] });
  });

  it('counts in a dry run what would end here, and makes nothing', async () => {
    const before = (await admin.store.allMarks()).length;
    const { status, json } = await bulk({ subject: 'alice', dry_run: true });
    expect([status, json]).toMatchObject([200, { marks: [{ subject: 'alice' }], streams_open: 5, dry_run: true }]);
    expect(await admin.store.allMarks()).toHaveLength(before);
  });

  it('revokes a whole token of somebody else, in bulk and as RFC 7009 has it, also again', async () => {
    const token = foreignToken({ jti });
    for (let again = 0; again < 2; again += 1) expect(await form(token)).toMatchObject({ status: 200, json: {} });
    expect(await covered(named(jti))).toBe(true);
    const [event] = (await admin.auditEvents()).filter(({ token_id: id }) => id === `jwt:${jti.padStart(22, '0')}`);
    expect(event).toMatchObject({ type: 'token.revoked', actor: admin.rootId, token_type: 'jwt' });
    const other = foreignToken({ jti: `${jti}b` });
    expect((await bulk({ token: other, reason: 'leaked' })).json).toMatchObject({ marks: [{ jti: `${jti}b` }] });
    // The token itself is nowhere to be found.
    for (const { text } of admin.answers) expect(text).not.toContain(other);
    expect(JSON.stringify([await admin.auditEvents(), await admin.store.allMarks()])).not.toContain(other);
  });

  it('answers 200 for a token that is good nowhere any more (RFC 7009 §2.2), and 503 where nobody can say', async () => {
    const before = (await admin.store.allMarks()).length;
    for (const untimely of ['token_expired', 'token_untrusted', 'token_malformed'] as const) {
      expect(await form(foreignToken({ jti, untimely }))).toMatchObject({ status: 200, json: {} });
      expect(await bulk({ token: foreignToken({ jti, untimely }), reason: 'x' })).toMatchObject({
        status: 200,
        json: { matched: 0, marks: [] },
      });
    }
    const silent = foreignToken({ jti, untimely: 'store_unavailable' });
    expect(await form(silent)).toMatchObject({ status: 503, json: { reason: 'store_unavailable' } });
    expect(await bulk({ token: silent, reason: 'x' })).toMatchObject({ status: 503 });
    expect(await admin.store.allMarks()).toHaveLength(before);
  });

  it('revokes one whose time has not come', async () => {
    expect(await form(foreignToken({ tokenId: ID, jti, untimely: 'token_not_yet_valid' }))).toMatchObject({
      status: 200,
    });
    expect(await covered({ tokenId: ID, foreign: { issuer: null, jti: null, subject: null, issuedAt: null } })).toBe(
      true,
    );
  });

  it('revokes by the id that the audit trail shows', async () => {
    const id = `ext:${'x'.repeat(20)}${String(round).padStart(2, '0')}`;
    const first = await admin.call('POST', `/v1/tokens/${id}/revoke`, { json: { reason: 'leaked' } });
    expect(first).toMatchObject({ status: 200, json: { id, propagation: { replicas: 1 } } });
    const again = await admin.call('POST', `/v1/tokens/${id}/revoke`, { json: { reason: 'leaked' } });
    expect(again.json['revoked_at']).toBe(first.json['revoked_at']);
    for (const strange of ['jwt:short', 'mark:0123456789abcdefghij_-', `${id}x`]) {
      const path = `/v1/tokens/${encodeURIComponent(strange)}/revoke`;
      expect(await admin.call('POST', path, { json: { reason: 'x' } })).toMatchObject({ status: 404 });
    }
  });

  it('is not called with one', async () => {
    const { status, json } = await admin.call('GET', '/v1/status', { token: foreignToken({ jti }) });
    expect([status, json['reason']]).toEqual([401, 'token_malformed']);
  });

  it('says how far it came where there is no room for more', async () => {
    const full = await startAdmin((options) => {
      const taking = takingForeign(options);
      const { foreign } = taking.lifecycle;
      if (foreign === undefined) throw new Error('the harness takes none');
      return { ...taking, lifecycle: { ...taking.lifecycle, foreign: { ...foreign, putMark: async () => null } } };
    });
    try {
      const { id } = await full.issue({ subject: 'alice' });
      const partly = await full.call('POST', '/v1/revocations', { json: { subject: 'alice', reason: 'x' } });
      expect(partly).toMatchObject({
        status: 409,
        json: { reason: 'conflict', revoked: 1, failures: [{ reason: 'conflict' }], tokens: [{ id }], marks: [] },
      });
      expect(partly.json['detail']).toContain('The revocation of tokens of others failed.');
      expect(await full.call('POST', '/v1/revoke', { form: { token: foreignToken({ jti }) } })).toMatchObject({
        status: 409,
        json: { reason: 'conflict' },
      });
    } finally {
      await full.close();
    }
  });
});
