import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import { HeldBytes } from '../../src/gateway/held-bytes.ts';
import type { ForeignToken, Principal } from '../../src/model/principal.ts';

const SHARE = LIMITS.heldBodyBytesOfHolder;

interface Holding {
  principal: Principal | null;
  heldBytes: number;
  heldFor: string | null;
}

/** A request under way with this token. */
function request(tokenId: string, foreign: ForeignToken | null = null): Holding {
  const principal: Principal = {
    tokenType: foreign === null ? 'opaque' : 'jwt',
    tokenId,
    subject: foreign?.subject ?? null,
    owner: 'tests',
    class: 'service',
    scopes: [],
    roles: [],
    claims: {},
    ip: [],
    issuedAt: 0,
    expiresAt: 1,
    supersededUntil: null,
    foreign,
    confirmation: null,
  };
  return { principal, heldBytes: 0, heldFor: null };
}

describe('bodies that are held', () => {
  it('are bounded for a token with several, and one alone may be larger', () => {
    const held = new HeldBytes();
    const [first, second, other] = [request('a'), request('a'), request('b')];
    expect(held.add(first, SHARE + 1)).toBe(true);
    expect(held.add(second, 1)).toBe(false);
    expect(held.add(other, SHARE)).toBe(true);
    held.release(first);
    expect(held.add(second, SHARE - 1)).toBe(true);
    expect(held.add(request('a'), 1)).toBe(false);
  });

  it('are bounded for all, and free again once', () => {
    const held = new HeldBytes();
    const requests = ['a', 'b', 'c', 'd'].map((id) => request(id));
    expect(requests.map((each) => held.add(each, LIMITS.heldBodyBytes / 4))).toEqual([true, true, true, true]);
    expect(held.add(request('e'), 1)).toBe(false);
    for (const each of [...requests, ...requests]) held.release(each);
    const large = request('f');
    expect([held.add(large, LIMITS.heldBodyBytes - 1), held.add(large, 1)]).toEqual([true, false]);
  });

  it('count for the subject of whoever may get as many tokens as they like, and stay with whom they were counted for', () => {
    const held = new HeldBytes();
    const of = (issuer: string, subject: string | null): ForeignToken => ({
      issuer,
      jti: null,
      subject,
      issuedAt: null,
    });
    const first = request('jwt:1', of('https://a.test', 'one'));
    expect(held.add(first, SHARE)).toBe(true);
    expect(held.add(request('jwt:2', of('https://a.test', 'one')), 1)).toBe(false);
    expect(held.add(request('jwt:3', of('https://a.test', 'two')), 1)).toBe(true);
    expect(held.add(request('jwt:4', of('https://b.test', 'one')), 1)).toBe(true);
    expect(held.add(request('jwt:5', of('https://a.test', null)), SHARE)).toBe(true);
    first.principal = null;
    held.release(first);
    expect(held.add(request('jwt:6', of('https://a.test', 'one')), SHARE - 1)).toBe(true);
  });
});
