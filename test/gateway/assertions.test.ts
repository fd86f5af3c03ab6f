import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { decodeJwt, decodeProtectedHeader, jwtVerify } from 'jose';
import { describe, expect, it } from 'vitest';
import { parseSigningKeys } from '../../src/base/signing-key.ts';
import { AssertionKeys } from '../../src/gateway/assertion-keys.ts';
import { Assertions } from '../../src/gateway/assertions.ts';
import type { Principal } from '../../src/model/principal.ts';

const START = Date.parse('2030-01-01T00:00:00.500Z');

const PRINCIPAL: Principal = {
  tokenType: 'opaque',
  tokenId: 'abc123def456',
  subject: 'jörg "the first"\n',
  owner: 'tests',
  class: 'service',
  scopes: ['orders:read', 'orders:write'],
  roles: ['support'],
  claims: { tenant: 't1' },
  ip: [],
  issuedAt: START,
  expiresAt: START + 3_600_000,
  supersededUntil: null,
  foreign: null,
  confirmation: null,
};

class Rig {
  now = START;
  readonly publicKey: KeyObject;
  readonly assertions: Assertions;
  constructor(upstreams: readonly string[] = ['orders', 'stock']) {
    const { privateKey, publicKey } = generateKeyPairSync('ed25519');
    const given = parseSigningKeys(String(privateKey.export({ type: 'pkcs8', format: 'pem' })));
    const keys = new AssertionKeys(given.ok ? given.value : [], 0, { monotonic: () => 0 });
    this.publicKey = publicKey;
    this.assertions = new Assertions({ issuer: 'https://gw', keys }, upstreams, { now: () => this.now });
  }
  of(principal: Principal = PRINCIPAL, upstream = 'orders'): string {
    return this.assertions.of(upstream, principal, principal.scopes);
  }
}

describe('an assertion', () => {
  it('says who, for whom and until when, and verifies', async () => {
    const rig = new Rig();
    const { payload, protectedHeader } = await jwtVerify(rig.of(), rig.publicKey, {
      issuer: 'https://gw',
      audience: 'orders',
      typ: 'portcullis-assertion+jwt',
      algorithms: ['EdDSA'],
      currentDate: new Date(START),
    });
    expect(protectedHeader).toEqual({ alg: 'EdDSA', typ: 'portcullis-assertion+jwt', kid: expect.any(String) });
    const iat = Math.floor(START / 1000);
    expect(payload).toEqual({
      iss: 'https://gw',
      aud: 'orders',
      sub: 'jörg "the first"\n',
      token_id: 'abc123def456',
      token_type: 'opaque',
      scope: 'orders:read orders:write',
      roles: ['support'],
      iat,
      exp: iat + 60,
      jti: expect.stringMatching(/^[A-Za-z0-9_-]{22}$/),
    });
  });

  it('names no subject where the token has none, and the issuer where it is another’s', () => {
    const rig = new Rig();
    expect(decodeJwt(rig.of({ ...PRINCIPAL, subject: null }))).not.toHaveProperty('sub');
    const foreign = { issuer: 'https://idp', jti: 'x', subject: 'alice', issuedAt: null };
    const told = decodeJwt(rig.of({ ...PRINCIPAL, tokenType: 'jwt', tokenId: 'jwt:x', subject: 'alice', foreign }));
    expect(told).toMatchObject({ sub: 'alice', token_id: 'jwt:x', token_type: 'jwt', token_issuer: 'https://idp' });
  });

  it('is made once for half its life, for each token and upstream', () => {
    const rig = new Rig();
    const first = rig.of();
    rig.now = START + 29_999;
    expect(rig.of({ ...PRINCIPAL })).toBe(first);
    const other = rig.of(PRINCIPAL, 'stock');
    expect([decodeJwt(other).aud, decodeJwt(first).jti === decodeJwt(other).jti]).toEqual(['stock', false]);
    rig.now = START + 30_000;
    const second = rig.of();
    expect(decodeJwt(second).iat).toBe((decodeJwt(first).iat ?? 0) + 30);
  });

  it('is made anew when it would say something else', () => {
    const rig = new Rig();
    const changes: Partial<Principal>[] = [
      { scopes: ['orders:read'] },
      { roles: [] },
      { subject: 'somebody else' },
      { tokenType: 'jwt', foreign: { issuer: 'https://idp', jti: null, subject: null, issuedAt: null } },
    ];
    for (const change of changes) {
      const before = rig.of();
      const after = rig.of({ ...PRINCIPAL, ...change });
      expect(after).not.toBe(before);
      expect(decodeJwt(after).scope).toBe((change.scopes ?? PRINCIPAL.scopes).join(' '));
    }
    // The roles of a token may have come to give more: what the policy says counts.
    expect(decodeJwt(rig.assertions.of('orders', PRINCIPAL, ['a', 'b'])).scope).toBe('a b');
  });

  it('is made anew when the clock was set back: what is signed is never from a time to come', () => {
    const rig = new Rig();
    rig.of();
    rig.now = START - 10_000;
    expect(decodeJwt(rig.of()).iat).toBe(Math.floor(rig.now / 1000));
  });

  it('is forgotten, the oldest first, when there are more than a bound in number or in characters', () => {
    const rig = new Rig(['orders']);
    const of = (tokenId: string, scopes = PRINCIPAL.scopes): string => rig.of({ ...PRINCIPAL, tokenId, scopes });
    const first = of('first');
    const second = of('second');
    expect([of('first'), of('second')]).toEqual([first, second]);
    const long = Array.from({ length: 100 }, (_, index) => `${'x'.repeat(3000)}${index}`);
    for (let i = 0; i < 45; i += 1) of(`large-${i}`, long);
    // 45 of 400 KB each are more than may be kept.
    expect(of('first')).not.toBe(first);
    expect(of('large-44', long)).toBe(of('large-44', long));
  });

  it('of an upstream that takes none is a fault', () => {
    expect(() => new Rig().of(PRINCIPAL, 'elsewhere')).toThrow(TypeError);
  });

  it('has the key in its header by which it is found', () => {
    expect(decodeProtectedHeader(new Rig().of()).kid).toMatch(/^[A-Za-z0-9_-]{43}$/);
  });
});
