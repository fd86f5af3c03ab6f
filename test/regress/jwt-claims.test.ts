/*
 * Attacks through the claims (RFC 8725 §2.6, §2.8, §2.9, §3.8, §3.9, §3.12), and claims of kinds that a program compares, adds or
 * prints in other ways than their issuer meant.
 */
import { describe, expect, it } from 'vitest';
import { CLAIM_LIMITS } from '../../src/token/jwt-claims.ts';
import {
  AUDIENCE,
  claimsOf,
  ISSUER,
  issuerOf,
  jwt,
  type Members,
  present,
  SECONDS,
  signingKey,
} from '../token/jwt-fixture.ts';

const key = signingKey('ES256');
const issuer = issuerOf([key]);
const withClaims = (more: Members): string => present(jwt(key, claimsOf(more)), issuer);
/** JSON.stringify would write null for some of these. */
const withText = (claim: string): string =>
  present(jwt(key, `{"iss":"${ISSUER}","aud":"${AUDIENCE}",${claim}}`), issuer);

describe('a token that never ends', () => {
  const NO_END = 'token_untrusted: It says not when it ends (exp), or not as a number of seconds.';

  it('because it does not say when: stolen once, it would work for ever', () => {
    expect(withClaims({ exp: undefined })).toBe(NO_END);
  });

  it.each([null, '9999999999', String(SECONDS + 60), {}, [], [SECONDS + 60], true, false, -1, 253_402_300_800, 1e300])(
    'because exp is %j: a comparison with it would be false, or true for a thousand years',
    (exp) => {
      expect(withClaims({ exp })).toBe(NO_END);
    },
  );

  it('because exp is 1e309, which JSON.parse makes Infinity: it would be later than every moment', () => {
    for (const exp of ['1e309', '-1e309', '1e999999']) {
      expect(withText(`"exp":${exp}`)).toBe(
        'token_untrusted: Its JSON is ambiguous: a number or a text in it has no value.',
      );
    }
    expect(withText('"exp":NaN')).toBe('token_malformed');
  });

  it('within the bound of its lifetime: a leaked token of a year would be taken for a year', () => {
    const long = 'token_untrusted: It lives longer than tokens of its issuer may here (exp, iat).';
    expect(withClaims({ exp: SECONDS + 3601 })).toBe(long);
    expect(withClaims({ iat: SECONDS - 3000, exp: SECONDS + 601 })).toBe(long);
    expect(withClaims({ iat: SECONDS - 86_400 * 365, exp: SECONDS + 60 })).toBe(long);
    expect(withClaims({ iat: undefined, exp: SECONDS + 86_400 })).toBe(long);
    expect(withClaims({ iat: 0, exp: SECONDS + 60 })).toBe(long);
    // Made to look younger than it is: not before it was made.
    expect(withClaims({ iat: SECONDS + 86_400, exp: SECONDS + 86_400 + 60 })).toBe('token_not_yet_valid');
  });
});

describe('times of the wrong kind', () => {
  it.each(['nbf', 'iat'])('%s: a text, a list or a negative number would be before every moment', (claim) => {
    for (const value of ['0', String(SECONDS), null, [], {}, true, -1]) {
      expect(withClaims({ [claim]: value })).toBe('token_untrusted: Its times (nbf, iat) are not numbers of seconds.');
    }
  });
});

describe('a token for somebody else', () => {
  it.each<[string, unknown]>([
    ['another audience', 'https://other.test'],
    ['a longer one', `${AUDIENCE}.evil.test`],
    ['a prefix', AUDIENCE.slice(0, -1)],
    ['another case', AUDIENCE.toUpperCase()],
    ['a text that holds it', `x ${AUDIENCE} y`],
    ['none', undefined],
    ['an empty list', []],
    ['null', null],
    ['an object', { [AUDIENCE]: true }],
    ['a number', 0],
    ['a list in a list', [[AUDIENCE]]],
    ['a list with more than texts', [AUDIENCE, 7]],
    ['more than can be meant', [...Array.from({ length: CLAIM_LIMITS.audiences }, (_, i) => `a${i}`), AUDIENCE]],
  ])('%s: a token for one service would open another (RFC 8725 §3.9)', (_name, aud) => {
    expect(withClaims({ aud })).toBe('token_untrusted: It is for another audience (aud).');
  });

  it.each<[string, unknown]>([
    ['another issuer', 'https://evil.test'],
    ['a slash more', `${ISSUER}/`],
    ['another case', ISSUER.toUpperCase()],
    ['a list', [ISSUER]],
    ['none', undefined],
    ['a member of Object', '__proto__'],
    ['null', null],
  ])('%s: keys of one issuer would vouch for another (RFC 8725 §3.8)', (_name, iss) => {
    expect(withClaims({ iss })).toBe('token_untrusted: Its issuer (iss) is not trusted here.');
  });

  it('signed by an issuer that is trusted for others: it could write tokens of its neighbour', async () => {
    const neighbour = signingKey('ES256');
    const { createJwtTokens } = await import('../../src/token/verify-jwt.ts');
    const tokens = createJwtTokens([issuer, issuerOf([neighbour], { issuer: 'https://neighbour.test' })]);
    const { NOW } = await import('../token/jwt-fixture.ts');
    expect(tokens.authenticate(jwt(neighbour), NOW)).toMatchObject({ ok: false, reason: 'token_untrusted' });
    expect(tokens.authenticate(jwt(neighbour, claimsOf({ iss: 'https://neighbour.test' })), NOW)).toMatchObject({
      ok: true,
    });
  });
});

describe('texts that are none', () => {
  const notAText = (name: string): string =>
    `token_untrusted: A claim that has to be one short line of text is not (${name}).`;

  it.each(['sub', 'jti'])(
    '%s: a line break would write a header, an object would pass as everybody or nobody',
    (name) => {
      for (const value of [
        'a\r\nportcullis-scopes: *',
        'a\nb',
        'a\u0000b',
        'a\tb',
        '\u2028',
        // A header field would lose the space, and the upstream would see somebody else.
        'admin ',
        ' admin',
        'admin\u00a0',
        '\u202e',
        'x'.repeat(256),
        '',
        7,
        null,
        {},
        [],
        ['admin'],
        true,
      ]) {
        expect(withClaims({ [name]: value })).toBe(notAText(name));
      }
      expect(withText(`"exp":${SECONDS + 60},"${name}":"\\ud800"`)).toBe(
        'token_untrusted: Its JSON is ambiguous: a number or a text in it has no value.',
      );
    },
  );

  it.each<[unknown]>([
    [7],
    [{}],
    [[7]],
    [['a b']],
    [['a\r\nb']],
    ['a  b'],
    ['a\tb'],
    [['']],
    [true],
    ['"'],
    [['a', null]],
  ])('scope %j: a scope that is no scope could match, or leave the header that it is sent on in', (scope) => {
    expect(withClaims({ scope })).toContain('Its scopes are neither');
  });

  it('too many scopes or roles: each request would go through all of them', () => {
    const many = (most: number): string[] => Array.from({ length: most + 1 }, (_, i) => `s${i}`);
    expect(withClaims({ scope: many(CLAIM_LIMITS.scopes).join(' ') })).toContain('Its scopes');
    expect(withClaims({ roles: many(CLAIM_LIMITS.roles) })).toContain('Its roles');
    expect(withClaims({ roles: { admin: true } })).toContain('Its roles');
    expect(withClaims({ roles: ['a\nb'] })).toContain('Its roles');
  });
});

describe('a token that is bound to a key', () => {
  it.each<[unknown]>([
    [{ jwk: {} }],
    [{ kid: 'k' }],
    [{ jku: 'https://x' }],
    [{}],
    [null],
    ['x'],
    [{ 'x5t#S256': 'x', jkt: 'y' }],
  ])('with cnf %j: a thief could use it as a bearer token', (cnf) => {
    expect(withClaims({ cnf })).toContain('(cnf)');
  });
});

describe('claims that stand twice', () => {
  it('exp, sub or a member deep inside: one reader would see the good one, another the bad one', () => {
    const twice = 'token_untrusted: Its JSON is ambiguous: a member stands twice.';
    expect(withText(`"exp":${SECONDS + 60},"exp":${SECONDS - 60}`)).toBe(twice);
    expect(withText(`"exp":${SECONDS + 60},"sub":"a","\\u0073ub":"b"`)).toBe(twice);
    expect(withText(`"exp":${SECONDS + 60},"x":[{"y":{"z":1,"z":1}}]`)).toBe(twice);
    // The same names in different objects are no repetition, and braces in texts are texts.
    expect(withText(`"exp":${SECONDS + 60},"x":{"exp":1,"y":"{\\"exp\\":1,\\"exp\\":2}"},"z":["exp","exp"]`)).toBe(
      'ok',
    );
  });

  it('__proto__: it would become the claims of every token', () => {
    expect(withText(`"exp":${SECONDS + 60},"__proto__":{"sub":"admin","scope":"a"},"constructor":1`)).toBe('ok');
    expect(withText('"__proto__":{"exp":9999999999}')).toContain('(exp)');
    expect(Reflect.get({}, 'scope')).toBeUndefined();
  });

  it('nested a thousand deep: whoever walks through it would run out of stack', () => {
    const deep = `${'['.repeat(1000)}${']'.repeat(1000)}`;
    expect(withText(`"exp":${SECONDS + 60},"x":${deep}`)).toBe(
      'token_untrusted: Its JSON is ambiguous: nested too deeply.',
    );
  });
});
