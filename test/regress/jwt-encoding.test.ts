/*
 * One token in many spellings (RFC 8725 §2.5 and the leniency of base64 decoders). A token that can be written in two ways escapes
 * whatever is remembered of its text: a deny list, a cache, a count. And a decoder that passes over what it does not know lets two
 * readers see two tokens.
 */
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import { createAuthenticator } from '../../src/token/authenticate.ts';
import { createJwtTokens } from '../../src/token/verify-jwt.ts';
import { claimsOf, encode, issuerOf, jwt, NOW, present, signatureOf, signingKey } from '../token/jwt-fixture.ts';

const key = signingKey('ES256');
const ed = signingKey('EdDSA');
const issuer = issuerOf([key, ed]);
const token = jwt(key);
const [header = '', payload = '', signature = ''] = token.split('.');

/** Signed as it is spelled, so that only the spelling is against it. */
function signed(first: string, second: string): string {
  return `${first}.${second}.${signatureOf('ES256', key.privateKey, `${first}.${second}`).toString('base64url')}`;
}

describe('a part in another spelling', () => {
  it.each<[string, (part: string) => string]>([
    ['padding', (part) => `${part}${'='.repeat((4 - (part.length % 4)) % 4 || 1)}`],
    ['a space at its end', (part) => `${part} `],
    ['a space within', (part) => `${part.slice(0, 8)} ${part.slice(8)}`],
    ['a line break', (part) => `${part.slice(0, 8)}\n${part.slice(8)}`],
    ['a tab', (part) => `${part}\t`],
    ['a foreign character', (part) => `${part}!`],
    ['a percent escape', (part) => `%${part.charCodeAt(0).toString(16)}${part.slice(1)}`],
    ['a NUL', (part) => `${part}\0`],
    [
      'one character too many',
      (part) => `${part}${'A'.repeat((5 - (part.length % 4)) % 4 || 4)}`.slice(0, part.length + 1),
    ],
  ])('%s: the same token would have a second text, or two readers two tokens', (_name, spell) => {
    for (const other of [
      signed(spell(header), payload),
      signed(header, spell(payload)),
      `${header}.${payload}.${spell(signature)}`,
    ]) {
      expect(present(other, issuer)).toMatch(/^(token_malformed|token_untrusted.*|no JWT)$/);
    }
  });

  it('stray bits behind the last byte: the same', () => {
    const digits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    const others = [...digits].filter((digit) => digit !== signature.at(-1));
    const same = others.filter((digit) =>
      Buffer.from(`${signature.slice(0, -1)}${digit}`, 'base64url').equals(Buffer.from(signature, 'base64url')),
    );
    // 64 bytes leave four bits over, so there are fifteen other spellings.
    expect(same.length).toBe(15);
    for (const digit of same)
      expect(present(`${header}.${payload}.${signature.slice(0, -1)}${digit}`, issuer)).toBe('token_malformed');
  });

  it('the alphabet with + and /: the same', () => {
    const text = '{"alg":"ES256","kid":"ES256","x":"\u00fb\u00ff\u00fe?>~"}';
    const url = Buffer.from(text).toString('base64url');
    const plain = Buffer.from(text).toString('base64').replaceAll('=', '');
    expect(plain).not.toBe(url);
    expect(present(signed(url, payload), issuer)).toBe('ok');
    expect(present(signed(plain, payload), issuer)).toBe('token_malformed');
  });

  it('another number of parts, or an empty one: something else would be read than what was signed', () => {
    for (const other of [
      `${token}.`,
      `.${token}`,
      `${token}.${signature}`,
      `${header}..${signature}`,
      signed(header, ''),
      `.${payload}.${signature}`,
      `${header}.${payload}`,
      `..`,
      'eyJ.',
      'eyJ',
    ]) {
      expect(present(other, issuer)).toMatch(/^(token_malformed|no JWT)$/);
    }
  });

  it('what is no JSON object: anything else has no claims', () => {
    for (const text of ['[]', '"x"', 'null', '7', '', '{', '{}x', "{'a':1}", '\ufeff{}', '{"a":1,}', '\u0000']) {
      expect(present(signed(header, encode(text)), issuer)).toBe('token_malformed');
      expect(present(signed(encode(text), payload), issuer)).toMatch(/^(token_malformed|no JWT)$/);
    }
  });

  it('bytes that are no UTF-8: two decoders would see two texts', () => {
    for (const bytes of [
      [0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d],
      [0x7b, 0x22, 0xc0, 0xae, 0x22, 0x3a, 0x31, 0x7d],
    ]) {
      expect(present(signed(header, Buffer.from(bytes).toString('base64url')), issuer)).toBe('token_malformed');
    }
  });
});

describe('a token that is too large', () => {
  it('of 16 KiB, as jose takes it: it would be decoded and parsed for nothing', async () => {
    const authenticator = createAuthenticator({
      prefix: 'pct',
      environment: 'test',
      pepper: null,
      store: { find: () => null },
      foreign: { kinds: [createJwtTokens([issuer])], revocations: null },
    });
    const large = jwt(key, claimsOf({ x: 'x'.repeat(12_000) }));
    expect(large.length).toBeGreaterThan(16_000);
    expect(await authenticator.authenticate(large, NOW)).toMatchObject({ ok: false, reason: 'token_malformed' });
    expect(present(large, issuer)).toBe('token_malformed');
    const room = LIMITS.credentialBytes - jwt(ed, claimsOf({ x: '' })).length;
    const largest = jwt(ed, claimsOf({ x: 'x'.repeat(Math.floor((room * 3) / 4) - 2) }));
    expect(largest.length).toBeGreaterThan(LIMITS.credentialBytes - 8);
    expect(await authenticator.authenticate(largest, NOW)).toMatchObject({ ok: true });
  });

  it('or made to be slow, is read in time that grows with its length alone', () => {
    const parts = [
      '"'.repeat(6000),
      '\\"'.repeat(3000),
      `${'{"":'.repeat(1500)}`,
      `${'[" '.repeat(2000)}`,
      `"${'\\\\'.repeat(3000)}`,
    ];
    const begun = performance.now();
    for (const text of parts) expect(present(`${header}.${encode(text)}.${signature}`, issuer)).toBe('token_malformed');
    // Quadratic work takes seconds here.
    expect(performance.now() - begun).toBeLessThan(1_000);
  });
});
