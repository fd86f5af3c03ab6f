import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Fault } from '../../src/model/fault.ts';
import type { TokenRecord } from '../../src/model/token-record.ts';
import { openEmbeddedStore } from '../../src/store/sqlite/embedded-store.ts';
import type { Store, TokenReader } from '../../src/store/token-store.ts';
import { createAuthenticator } from '../../src/token/authenticate.ts';
import type { AuthenticationOutcome, Authenticator } from '../../src/token/authenticator.ts';
import { digestToken, mintToken, remintToken } from '../../src/token/opaque-format.ts';

const names = { prefix: 'pct', environment: 'prod' };
const T0 = Date.parse('2030-01-01T00:00:00Z');
const HOUR = 3_600_000;

const minted = mintToken(names);
const previous = remintToken(minted.id, names);
const oldest = remintToken(minted.id, names);
const stranger = remintToken(minted.id, names);

/** Generation 3 of a token, rotated at T0: generation 2 in its grace, generation 1 after it. */
function recordOf(changes: Partial<TokenRecord> = {}, pepper: Uint8Array | null = null): TokenRecord {
  const old = { last_used_at: null, last_used_ip: null };
  return {
    id: minted.id,
    name: 'orders reader',
    owner: 'team-a',
    class: 'service',
    environment: 'prod',
    subject: 'svc-1',
    scopes: ['orders:read'],
    roles: ['support'],
    claims: { tenant: 'acme' },
    ip: ['10.0.0.0/8'],
    created_at: T0 - 10 * HOUR,
    created_by: 'break-glass',
    not_before: null,
    expires_at: T0 + 10 * HOUR,
    generation: 3,
    rotated_at: T0,
    grace_until: T0 + HOUR,
    rotate_after: null,
    revoked_at: null,
    revoked_by: null,
    revoke_reason: null,
    digest: digestToken(minted.token, pepper),
    superseded: [
      { generation: 2, digest: digestToken(previous.token, pepper), grace_until: T0 + HOUR, ...old },
      { generation: 1, digest: digestToken(oldest.token, pepper), grace_until: T0 - HOUR, ...old },
    ],
    ...changes,
  };
}

/** What was looked up is part of the outcome: most refusals must not reach the store. */
interface Outcome {
  readonly outcome: AuthenticationOutcome;
  readonly lookups: readonly string[];
}

type Reader = (records: readonly TokenRecord[], lookups: string[]) => TokenReader;

const syncReader: Reader = (records, lookups) => ({
  find(id) {
    lookups.push(id);
    return records.find((record) => record.id === id) ?? null;
  },
});

const asyncReader: Reader = (records, lookups) => {
  const reader = syncReader(records, lookups);
  return { find: async (id) => reader.find(id) };
};

const refused = (reason: string, generation: number | null = null) => ({
  ok: false,
  reason,
  tokenId: generation === null ? null : minted.id,
  generation,
  // What the class has to say of a reuse is looked up by it.
  ...(reason === 'token_superseded' ? { tokenClass: 'service' } : {}),
});

const principal = {
  tokenType: 'opaque',
  tokenId: minted.id,
  subject: 'svc-1',
  owner: 'team-a',
  class: 'service',
  scopes: ['orders:read'],
  roles: ['support'],
  claims: { tenant: 'acme' },
  ip: ['10.0.0.0/8'],
  issuedAt: T0,
  expiresAt: T0 + 10 * HOUR,
  supersededUntil: null,
  foreign: null,
  confirmation: null,
};

describe.each([
  ['a store in this process', syncReader],
  ['a store over the network', asyncReader],
])('authentication against %s', (_, reader) => {
  async function present(credential: string, record: TokenRecord | null, now = T0): Promise<Outcome> {
    const lookups: string[] = [];
    const store = reader(record === null ? [] : [record], lookups);
    const answer = createAuthenticator({ ...names, pepper: null, store }).authenticate(credential, now);
    // No promise where none is needed.
    if (reader === syncReader) expect(answer).not.toBeInstanceOf(Promise);
    return { outcome: await answer, lookups };
  }

  it.each([
    ['an empty credential', ''],
    ['a word', 'secret'],
    ['a mistyped token', `${minted.token.slice(0, -1)}${minted.token.endsWith('0') ? '1' : '0'}`],
    ['a token with something behind it', `${minted.token}x`],
    ['a token of another product', mintToken({ prefix: 'ghp', environment: 'prod' }).token],
    ['a token in other letters', minted.token.toUpperCase()],
    ['something too long', `pct_prod_${'a'.repeat(9000)}`],
    ['something too long that begins like a JWT', `eyJ.${'a'.repeat(9000)}`],
  ])('refuses %s as malformed without a look-up', async (_name, credential) => {
    expect(await present(credential, recordOf())).toEqual({ outcome: refused('token_malformed'), lookups: [] });
  });

  it('refuses a JWT as untrusted without a look-up', async () => {
    const jwt = 'eyJhbGciOiJub25lIn0.eyJzdWIiOiJtZSJ9.';
    expect(await present(jwt, recordOf())).toEqual({ outcome: refused('token_untrusted'), lookups: [] });
  });

  it('refuses a token of another environment without a look-up', async () => {
    const { token } = remintToken(minted.id, { prefix: 'pct', environment: 'staging' });
    expect(await present(token, recordOf())).toEqual({ outcome: refused('token_wrong_environment'), lookups: [] });
  });

  it.each([
    ['no record', minted.token, null, refused('token_unknown')],
    [
      'a record of another environment',
      minted.token,
      recordOf({ environment: 'staging' }),
      refused('token_wrong_environment'),
    ],
    ['another secret of that id', stranger.token, recordOf(), refused('token_unknown')],
    ['another secret of a revoked id', stranger.token, recordOf({ revoked_at: T0 }), refused('token_unknown')],
    ['another secret of an expired id', stranger.token, recordOf({ expires_at: T0 }), refused('token_unknown')],
    [
      'a damaged digest in the record',
      minted.token,
      recordOf({ digest: '', superseded: [] }),
      refused('token_unknown'),
    ],
    ['a revoked token', minted.token, recordOf({ revoked_at: T0 }), refused('token_revoked', 3)],
    [
      'revoked in the future, by a clock that ran ahead',
      minted.token,
      recordOf({ revoked_at: T0 + HOUR }),
      refused('token_revoked', 3),
    ],
    [
      'revoked and expired',
      minted.token,
      recordOf({ revoked_at: T0, expires_at: T0 - 1 }),
      refused('token_revoked', 3),
    ],
    ['revoked and superseded', oldest.token, recordOf({ revoked_at: T0 }), refused('token_revoked', 1)],
    ['an old generation after its grace', oldest.token, recordOf(), refused('token_superseded', 1)],
    ['superseded and expired', oldest.token, recordOf({ expires_at: T0 - 1 }), refused('token_superseded', 1)],
    [
      'an old generation in its grace of an expired token',
      previous.token,
      recordOf({ expires_at: T0 }),
      refused('token_expired', 2),
    ],
    ['an expired token', minted.token, recordOf({ expires_at: T0 - 1 }), refused('token_expired', 3)],
    [
      'expired and not yet valid',
      minted.token,
      recordOf({ expires_at: T0, not_before: T0 + 1 }),
      refused('token_expired', 3),
    ],
    [
      'a token that is not valid yet',
      minted.token,
      recordOf({ not_before: T0 + HOUR }),
      refused('token_not_yet_valid', 3),
    ],
    ['an end that is no number', minted.token, recordOf({ expires_at: Number.NaN }), refused('token_expired', 3)],
  ])('refuses %s', async (_name, credential, record, outcome) => {
    expect(await present(credential, record)).toEqual({ outcome, lookups: [minted.id] });
  });

  it('takes the current generation', async () => {
    expect(await present(minted.token, recordOf())).toEqual({
      outcome: { ok: true, generation: 3, principal },
      lookups: [minted.id],
    });
    const never = await present(minted.token, recordOf({ rotated_at: null }));
    expect(never.outcome).toEqual({ ok: true, generation: 3, principal: { ...principal, issuedAt: T0 - 10 * HOUR } });
  });

  it('takes an old generation within its grace, and says until when', async () => {
    expect(await present(previous.token, recordOf())).toEqual({
      outcome: {
        ok: true,
        generation: 2,
        principal: { ...principal, issuedAt: T0 - 10 * HOUR, supersededUntil: T0 + HOUR },
      },
      lookups: [minted.id],
    });
  });

  it.each([
    ['expires_at', minted.token, recordOf({ expires_at: T0 }), T0 - 1, 'ok'],
    ['expires_at', minted.token, recordOf({ expires_at: T0 }), T0, 'token_expired'],
    ['grace_until', previous.token, recordOf(), T0 + HOUR - 1, 'ok'],
    ['grace_until', previous.token, recordOf(), T0 + HOUR, 'token_superseded'],
    ['not_before', minted.token, recordOf({ not_before: T0 }), T0 - 1, 'token_not_yet_valid'],
    ['not_before', minted.token, recordOf({ not_before: T0 }), T0, 'ok'],
  ])('draws the line of %s to the millisecond', async (_name, credential, record, now, expected) => {
    const { outcome } = await present(credential, record, now);
    expect(outcome.ok ? 'ok' : outcome.reason).toBe(expected);
  });

  it('lets a fault of the store through', async () => {
    const fault = new Fault('store_unavailable', 'no answer');
    const store: TokenReader =
      reader === syncReader
        ? {
            find() {
              throw fault;
            },
          }
        : { find: () => Promise.reject(fault) };
    const authenticator = createAuthenticator({ ...names, pepper: null, store });
    await expect((async () => authenticator.authenticate(minted.token, T0))()).rejects.toBe(fault);
  });

  it('knows its own tokens by the pepper', async () => {
    const pepper = Buffer.from('pepper');
    const seasoned = createAuthenticator({ ...names, pepper, store: reader([recordOf({}, pepper)], []) });
    expect(await seasoned.authenticate(minted.token, T0)).toMatchObject({ ok: true, generation: 3 });
    const plain = createAuthenticator({ ...names, pepper: null, store: reader([recordOf({}, pepper)], []) });
    expect(await plain.authenticate(minted.token, T0)).toEqual(refused('token_unknown'));
  });
});

describe('authentication against the embedded store', () => {
  let folder: string;
  let store: Store;
  let authenticator: Authenticator;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'authenticate-'));
    store = openEmbeddedStore({ path: folder });
    authenticator = createAuthenticator({ ...names, pepper: null, store });
    await store.create(recordOf());
  });

  afterAll(async () => {
    await store.close();
    rmSync(folder, { recursive: true });
  });

  it('answers at once, from what is stored at that moment', async () => {
    expect(authenticator.authenticate(minted.token, T0)).toEqual({ ok: true, generation: 3, principal });
    expect(authenticator.authenticate(stranger.token, T0)).toEqual(refused('token_unknown'));
    const stored = await store.load(minted.id);
    await store.replace(stored?.version ?? -1, recordOf({ revoked_at: T0 }));
    expect(authenticator.authenticate(minted.token, T0)).toEqual(refused('token_revoked', 3));
  });
});
