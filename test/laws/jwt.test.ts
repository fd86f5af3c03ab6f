import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeBase64url } from '../../src/base/base64url.ts';
import { readJwkSet } from '../../src/base/jwk-set.ts';
import { parseStrictJson } from '../../src/base/strict-json.ts';
import { createJwtTokens } from '../../src/token/verify-jwt.ts';
import { claimsOf, encode, issuerOf, jwt, NOW, present, publicJwk, signingKey } from '../token/jwt-fixture.ts';

const key = signingKey('EdDSA');
const issuer = issuerOf([key]);
const token = jwt(key);
const bytesOf = (text: string): Buffer => Buffer.from(text);

describe('a JWT', () => {
  it('is not taken any more once one character of it is another', () => {
    const tokens = createJwtTokens([issuer]);
    // Remembered, so that the law holds for what is remembered as well.
    expect(tokens.authenticate(token, NOW)).toMatchObject({ ok: true });
    const digit = fc.constantFrom(...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.= +/\0é');
    fc.assert(
      fc.property(fc.nat(token.length - 1), digit, fc.constantFrom(0, 1), (at, other, removed) => {
        const changed = token.slice(0, at) + other + token.slice(at + removed);
        if (changed === token) return;
        const outcome = tokens.authenticate(changed, NOW);
        expect(outcome === null || 'reason' in outcome).toBe(true);
      }),
      { numRuns: 1000 },
    );
  });

  it('of whatever header and claims never throws, and without the right signature never passes', () => {
    const json = fc.json({ maxDepth: 3 });
    fc.assert(
      fc.property(json, json, fc.uint8Array({ maxLength: 80 }), (header, claims, signature) => {
        const parts = [encode(header), encode(claims), Buffer.from(signature).toString('base64url')];
        expect(present(parts.join('.'), issuer)).not.toBe('ok');
      }),
      { numRuns: 300 },
    );
  });

  it('with any value in any claim is taken or refused, and keeps its principal clean', () => {
    const names = fc.constantFrom('iss', 'aud', 'sub', 'exp', 'nbf', 'iat', 'jti', 'scope', 'roles', 'cnf', 'x');
    fc.assert(
      fc.property(names, fc.jsonValue({ maxDepth: 2 }), (name, value) => {
        const outcome = createJwtTokens([issuer]).authenticate(jwt(key, claimsOf({ [name]: value })), NOW);
        if (outcome === null || !('principal' in outcome)) return;
        const { subject, scopes, roles, expiresAt, issuedAt, confirmation } = outcome.principal;
        expect(subject === null || /^[^\p{C}]+$/u.test(subject)).toBe(true);
        expect(scopes.every((scope) => /^[!#-[\]-~]+$/.test(scope))).toBe(true);
        expect(roles.every((role) => typeof role === 'string')).toBe(true);
        expect([Number.isSafeInteger(expiresAt), Number.isSafeInteger(issuedAt)]).toEqual([true, true]);
        expect(confirmation).toBeNull();
        // No later than it may live, both clock skews granted.
        expect(expiresAt).toBeLessThanOrEqual(NOW + issuer.maxLifetimeMs + 2 * issuer.clockSkewMs);
      }),
      { numRuns: 500 },
    );
  });
});

describe('strict JSON', () => {
  it('is JSON with the same meaning', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 4 }), (value) => {
        const text = JSON.stringify(value);
        const parsed = parseStrictJson(bytesOf(text));
        expect(parsed).toEqual({ ok: true, value: JSON.parse(text) });
      }),
    );
  });

  it('has no member twice, however it is spelled and wherever it stands', () => {
    const spelled = (name: string): string =>
      `"${[...name].map((each) => `\\u${each.charCodeAt(0).toString(16).padStart(4, '0')}`).join('')}"`;
    const name = fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(name, fc.jsonValue({ maxDepth: 2 }), fc.nat(3), (member, value, depth) => {
        const text = JSON.stringify(value);
        const twice = `{${JSON.stringify(member)}:${text},"${'z'.repeat(9)}":0,${spelled(member)}:${text}}`;
        const wrapped = `${'{"a":['.repeat(depth)}${twice}${']}'.repeat(depth)}`;
        expect(JSON.parse(wrapped)).toBeDefined();
        expect(parseStrictJson(bytesOf(wrapped))).toEqual({ ok: false, error: 'a member stands twice' });
      }),
    );
  });
});

describe('base64url', () => {
  it('has one text for each bytes, and each text that is read is that one', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), fc.string({ maxLength: 12 }), (bytes, text) => {
        const written = Buffer.from(bytes).toString('base64url');
        expect(decodeBase64url(written)).toEqual(Buffer.from(bytes));
        const read = decodeBase64url(text);
        if (read !== null) expect(read.toString('base64url')).toBe(text);
      }),
    );
  });
});

describe('a JWK Set', () => {
  it('of whatever members is read or refused, and never throws', () => {
    const jwk = publicJwk(signingKey('ES256'));
    const names = fc.constantFrom('kty', 'crv', 'x', 'y', 'n', 'e', 'd', 'k', 'use', 'key_ops', 'alg', 'kid');
    fc.assert(
      fc.property(fc.dictionary(names, fc.jsonValue({ maxDepth: 1 }), { maxKeys: 3 }), (more) => {
        const set = readJwkSet(bytesOf(JSON.stringify({ keys: [{ ...jwk, ...more }] })), ['ES256', 'RS256', 'EdDSA']);
        expect(set.ok).toBe(true);
      }),
    );
  });
});
