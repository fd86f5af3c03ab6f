import { SignJWT } from 'jose';
import { describe, expect, it } from 'vitest';
import type { JwsAlgorithm } from '../../src/base/jws-algorithm.ts';
import { CredentialMemo } from '../../src/token/authenticator.ts';
import { SecretKeySet } from '../../src/token/key-sets.ts';
import { createJwtTokens } from '../../src/token/verify-jwt.ts';
import {
  AUDIENCE,
  claimsOf,
  encode,
  ISSUER,
  issuerOf,
  jwt,
  type Members,
  NOW,
  present,
  SECONDS,
  secretKey,
  signatureOf,
  signingKey,
} from './jwt-fixture.ts';

const es256 = signingKey('ES256');
const ed = signingKey('EdDSA');
const issuer = issuerOf([es256, ed]);

describe('a JWT of a trusted issuer', () => {
  it('becomes a principal with what it says', () => {
    const claims = claimsOf({
      scope: 'orders:read orders:write orders:read',
      roles: ['support'],
      tenant: 'acme',
      nbf: SECONDS - 5,
    });
    const outcome = createJwtTokens([issuer]).authenticate(jwt(es256, claims, { typ: 'at+jwt' }), NOW);
    expect(outcome).toEqual({
      ok: true,
      generation: 0,
      principal: {
        tokenType: 'jwt',
        tokenId: expect.stringMatching(/^jwt:[A-Za-z0-9_-]{22}$/),
        subject: 'user-7',
        owner: null,
        class: null,
        scopes: ['orders:read', 'orders:write'],
        roles: ['support'],
        claims: {
          aud: AUDIENCE,
          iss: ISSUER,
          roles: ['support'],
          scope: 'orders:read orders:write orders:read',
          tenant: 'acme',
        },
        ip: [],
        issuedAt: NOW,
        expiresAt: NOW + 630_000,
        supersededUntil: null,
        foreign: { issuer: ISSUER, jti: 'id-1', subject: 'user-7', issuedAt: NOW },
        confirmation: null,
      },
    });
  });

  it.each<JwsAlgorithm>([
    'RS256',
    'RS384',
    'RS512',
    'PS256',
    'PS384',
    'PS512',
    'ES256',
    'ES384',
    'ES512',
    'EdDSA',
    'Ed25519',
  ])('signed with %s as jose signs it', async (algorithm) => {
    const key = signingKey(algorithm);
    const token = await new SignJWT(claimsOf())
      .setProtectedHeader({ alg: algorithm, kid: key.kid })
      .sign(key.privateKey);
    expect(present(token, issuerOf([key], { algorithms: [algorithm] }))).toBe('ok');
    expect(present(jwt(key), issuerOf([key], { algorithms: [algorithm] }))).toBe('ok');
  });

  it('signed with a shared secret, where one is configured', () => {
    const key = secretKey(Buffer.alloc(32, 7));
    const keys = new SecretKeySet({ kid: null, algorithms: ['HS256'], key, identity: 'x' });
    const input = `${encode({ alg: 'HS256' })}.${encode(claimsOf())}`;
    const token = `${input}.${signatureOf('HS256', key, input).toString('base64url')}`;
    const symmetric = issuerOf([], { algorithms: ['HS256'], keys });
    expect(present(token, symmetric)).toBe('ok');
    expect(present(`${token.slice(0, -4)}AAAA`, symmetric)).toBe(
      'token_untrusted: None of the keys of its issuer has made its signature.',
    );
    expect(present(jwt(es256), symmetric)).toContain('Its algorithm (alg)');
  });

  it.each<[string, Members]>([
    ['one audience of several', { aud: ['https://other.test', AUDIENCE] }],
    ['no subject, id or scope', { sub: undefined, jti: undefined }],
    ['times with a fraction', { iat: SECONDS + 0.25, exp: SECONDS + 599.75 }],
    ['scopes as a list', { scope: ['orders:read'] }],
    ['the very longest life', { exp: SECONDS + 3600 }],
  ])('may have %s', (_name, more) => {
    expect(present(jwt(es256, claimsOf(more)), issuer)).toBe('ok');
  });

  it.each<[string, Members, Members, string]>([
    ['another issuer', { iss: 'https://issuer.test/' }, {}, 'Its issuer (iss) is not trusted here.'],
    ['another audience', { aud: `${AUDIENCE}/` }, {}, 'It is for another audience (aud).'],
    ['no audience', { aud: undefined }, {}, 'It is for another audience (aud).'],
    ['another type', {}, { typ: 'dpop+jwt' }, 'Its type (typ) is not that of an access token.'],
    ['an unknown key', {}, { kid: 'other' }, 'The key that it names (kid) is not among those of its issuer.'],
    ['the key of another algorithm', {}, { kid: 'EdDSA' }, 'Its signature is not that of its issuer.'],
    [
      'a life beyond the bound',
      { exp: SECONDS + 3601 },
      {},
      'It lives longer than tokens of its issuer may here (exp, iat).',
    ],
    [
      'no time of issue and an end beyond the bound',
      { iat: undefined, exp: SECONDS + 3631 },
      {},
      'It lives longer than tokens of its issuer may here (exp, iat).',
    ],
    [
      'a text as its end',
      { exp: String(SECONDS + 600) },
      {},
      'It says not when it ends (exp), or not as a number of seconds.',
    ],
    [
      'a binding to a key that is not understood',
      { cnf: { jwk: {} } },
      {},
      'It is bound to a key in a way that is not understood here (cnf).',
    ],
  ])('with %s is not trusted, and the client is told why', (_name, claims, header, why) => {
    expect(present(jwt(es256, claimsOf(claims), header), issuer)).toBe(`token_untrusted: ${why}`);
  });

  it.each([
    ['exp', 'ok', SECONDS - 29.999],
    ['exp', 'token_expired', SECONDS - 30],
    ['nbf', 'ok', SECONDS + 30],
    ['nbf', 'token_not_yet_valid', SECONDS + 30.001],
    ['iat', 'token_not_yet_valid', SECONDS + 30.001],
  ])('%s draws its line to the millisecond, clock skew included: %s', (claim, expected, value) => {
    const claims = claimsOf({ iat: SECONDS - 60, exp: SECONDS + 600, [claim]: value });
    expect(present(jwt(es256, claims), issuer)).toBe(expected);
  });

  it('that has expired is named only where its signature is right, and never asks for keys', () => {
    const tokens = createJwtTokens([issuer]);
    const expired = claimsOf({ iat: SECONDS - 700, exp: SECONDS - 100 });
    expect(tokens.authenticate(jwt(es256, expired), NOW)).toEqual({
      ok: false,
      reason: 'token_expired',
      tokenId: expect.stringMatching(/^jwt:/),
      generation: 0,
    });
    expect(tokens.authenticate(jwt(es256, expired, { kid: 'gone' }), NOW)).toEqual({
      ok: false,
      reason: 'token_expired',
      tokenId: null,
      generation: null,
    });
  });

  it('without a time of issue is as old as it can be', () => {
    const outcome = createJwtTokens([issuer]).authenticate(jwt(es256, claimsOf({ iat: undefined })), NOW);
    expect(outcome).toMatchObject({ principal: { issuedAt: NOW + 600_000 - 3_600_000, foreign: { issuedAt: null } } });
  });

  it('is called the same whenever it is presented, by its id or else by its claims', () => {
    const tokens = createJwtTokens([issuer]);
    const idOf = (claims: Members): unknown => {
      const outcome = tokens.authenticate(jwt(es256, claims), NOW);
      return outcome !== null && 'principal' in outcome ? outcome.principal.tokenId : null;
    };
    expect(idOf(claimsOf())).toBe(idOf(claimsOf({ sub: 'other' })));
    expect(idOf(claimsOf())).not.toBe(idOf(claimsOf({ jti: 'id-2' })));
    // ECDSA signs anew each time, so these are two tokens with the same claims.
    expect(idOf(claimsOf({ jti: undefined }))).toBe(idOf(claimsOf({ jti: undefined })));
    expect(idOf(claimsOf({ jti: undefined }))).not.toBe(idOf(claimsOf({ jti: undefined, sub: 'other' })));
  });

  it('has the scopes and roles of the claims that are configured', () => {
    const own = issuerOf([es256], { scopeClaim: 'scp', rolesClaim: '/realm_access/roles' });
    const claims = claimsOf({ scp: ['a'], scope: 'b', realm_access: { roles: ['x', 'y'] }, roles: ['z'] });
    const outcome = createJwtTokens([own]).authenticate(jwt(es256, claims), NOW);
    expect(outcome).toMatchObject({ principal: { scopes: ['a'], roles: ['x', 'y'] } });
  });

  it('has one role where roles is a text, whatever is in it', () => {
    const outcome = createJwtTokens([issuer]).authenticate(jwt(es256, claimsOf({ roles: 'not admin' })), NOW);
    expect(outcome).toMatchObject({ principal: { roles: ['not admin'] } });
  });

  it('needs the claims that are required', () => {
    const strict = issuerOf([es256], {
      requiredClaims: [
        { name: 'client_id', value: null },
        { name: 'groups', value: 'staff' },
      ],
    });
    expect(present(jwt(es256, claimsOf({ client_id: 'c', groups: ['staff', 'x'] })), strict)).toBe('ok');
    expect(present(jwt(es256, claimsOf({ groups: 'staff' })), strict)).toContain('required here (client_id)');
    expect(present(jwt(es256, claimsOf({ client_id: 'c', groups: 'staff2' })), strict)).toContain(
      'required here (groups)',
    );
  });

  it.each([
    [null, undefined, 'ok'],
    [null, 'JWT', 'ok'],
    [null, 'application/AT+JWT', 'ok'],
    [['at+jwt'], 'application/at+jwt', 'ok'],
    [['at+jwt'], 'JWT', 'token_untrusted'],
    [['at+jwt'], undefined, 'token_untrusted'],
  ])('of type %j only where %j is asked for', (types, typ, expected) => {
    expect(present(jwt(es256, claimsOf(), typ === undefined ? {} : { typ }), issuerOf([es256], { types }))).toMatch(
      new RegExp(`^${expected}`),
    );
  });

  it('bound to a key is handed on with that key, so that its possession can be asked for', () => {
    const thumbprint = Buffer.alloc(32, 9).toString('base64url');
    const bound = (cnf: Members): unknown => {
      const outcome = createJwtTokens([issuer]).authenticate(jwt(es256, claimsOf({ cnf })), NOW);
      return outcome !== null && 'principal' in outcome ? outcome.principal.confirmation : null;
    };
    expect(bound({ 'x5t#S256': thumbprint })).toEqual({ certificateThumbprint: thumbprint, keyThumbprint: null });
    expect(bound({ jkt: thumbprint })).toEqual({ certificateThumbprint: null, keyThumbprint: thumbprint });
    for (const cnf of [{}, { jkt: 'short' }, { jkt: thumbprint, kid: 'x' }, { jkt: 7 }, null, [], 'x']) {
      expect(present(jwt(es256, claimsOf({ cnf })), issuer)).toContain('(cnf)');
    }
  });

  it('without a kid is tried with the keys that fit, and with not more than four', () => {
    const others = Array.from({ length: 4 }, (_, i) => signingKey('ES256', `other-${i}`));
    const nameless = jwt(es256, claimsOf(), { kid: undefined });
    expect(present(nameless, issuerOf([...others.slice(1), es256]))).toBe('ok');
    expect(present(nameless, issuerOf([...others, es256]))).toBe(
      'token_untrusted: None of the keys of its issuer has made its signature.',
    );
  });
});

describe('what is remembered of JWTs', () => {
  it('is the outcome, at once and as the same object, until the token ends', () => {
    const tokens = createJwtTokens([issuer]);
    const token = jwt(es256);
    const first = tokens.authenticate(token, NOW);
    expect(tokens.authenticate(token, NOW + 629_999)).toBe(first);
    expect(tokens.authenticate(token, NOW + 630_000)).toMatchObject({ ok: false, reason: 'token_expired' });
    // A clock that was set back is not believed either.
    expect(tokens.authenticate(token, NOW)).toMatchObject({ ok: true });
    expect(tokens.authenticate(token, NOW - 30_001)).toMatchObject({ ok: false, reason: 'token_not_yet_valid' });
  });

  it('is nothing any more once the issuer has withdrawn the key', () => {
    const keys = { ...issuer.keys, withdrawn: false };
    const rotating = issuerOf([es256], {
      keys: {
        ...keys,
        find: (kid, algorithm) => (keys.withdrawn ? [] : issuer.keys.find(kid, algorithm)),
        knows: (kid) => !keys.withdrawn && issuer.keys.knows(kid),
        holds: (key) => !keys.withdrawn && issuer.keys.holds(key),
      },
    });
    const tokens = createJwtTokens([rotating]);
    const token = jwt(es256);
    expect(tokens.authenticate(token, NOW)).toMatchObject({ ok: true });
    keys.withdrawn = true;
    expect(tokens.authenticate(token, NOW)).toMatchObject({ ok: false, reason: 'token_untrusted' });
  });

  it('is found again by a memo of the connection, which is no word for the token either', () => {
    const tokens = createJwtTokens([issuer]);
    const token = jwt(es256);
    const memo = new CredentialMemo();
    const first = tokens.authenticate(token, NOW, memo);
    expect(memo.jwtDigest).not.toBeNull();
    expect(tokens.authenticate(token, NOW, memo)).toBe(first);
    expect(tokens.authenticate(token, NOW + 630_000, memo)).toMatchObject({ ok: false, reason: 'token_expired' });
    const forged = new CredentialMemo();
    const other = `${token.slice(0, token.lastIndexOf('.'))}.${encode('x'.repeat(64))}`;
    for (let time = 0; time < 2; time += 1) {
      expect(tokens.authenticate(other, NOW, forged)).toMatchObject({ ok: false, reason: 'token_untrusted' });
    }
  });

  it('is no refusal: a forged token never stands for a good one', () => {
    const tokens = createJwtTokens([issuer]);
    const token = jwt(es256);
    const forged = `${token.slice(0, token.lastIndexOf('.'))}.${encode('x'.repeat(64))}`;
    expect(tokens.authenticate(forged, NOW)).toMatchObject({ ok: false, reason: 'token_untrusted' });
    expect(tokens.authenticate(token, NOW)).toMatchObject({ ok: true });
    expect(tokens.authenticate(forged, NOW)).toMatchObject({ ok: false, reason: 'token_untrusted' });
  });

  it('tells the same bytes cut at other places apart', () => {
    const tokens = createJwtTokens([issuer]);
    const token = jwt(es256);
    expect(tokens.authenticate(token, NOW)).toMatchObject({ ok: true });
    const [header = '', payload = '', signature = ''] = token.split('.').map((part) => Buffer.from(part, 'base64url'));
    const all = Buffer.concat([Buffer.from(header), Buffer.from(payload), Buffer.from(signature)]);
    const cut = header.length + payload.length - 1;
    const moved = [all.subarray(0, header.length), all.subarray(header.length, cut), all.subarray(cut)];
    const recut = moved.map((part) => part.toString('base64url')).join('.');
    expect(tokens.authenticate(recut, NOW)).toMatchObject({ ok: false });
  });
});
