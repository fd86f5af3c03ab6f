/*
 * Keys that protect nothing, and signatures that fit every key (RFC 8725 §2.3, §3.2, §3.4, §3.5). A key set comes from the issuer,
 * which may be careless; what it would let in stands in the name of each test.
 */
import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { readJwkSet } from '../../src/base/jwk-set.ts';
import type { JwsAlgorithm } from '../../src/base/jws-algorithm.ts';
import { claimsOf, encode, issuerOf, jwt, type Members, present, publicJwk, signingKey } from '../token/jwt-fixture.ts';

const ALL: readonly JwsAlgorithm[] = ['RS256', 'PS256', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'];
const FORGED = claimsOf({ sub: 'admin' });

/** What becomes of a key: the algorithms it may be used with, or why it is left out; `other` where it is for another use. */
function fate(jwk: unknown): string {
  const set = readJwkSet(Buffer.from(JSON.stringify({ keys: [jwk] })), ALL);
  if (!set.ok) return set.error;
  return set.value.unusable[0]?.why ?? set.value.keys[0]?.algorithms.join(' ') ?? 'other';
}

const b64 = (hex: string): string => Buffer.from(hex, 'hex').toString('base64url');
const rsa = signingKey('RS256');
const ec = signingKey('ES256');
const ed = signingKey('EdDSA');

describe('an RSA key', () => {
  it.each([512, 1024, 2047])('of %i bits: it can be factored', (bits) => {
    const { publicKey } = generateKeyPairSync('rsa', { modulusLength: bits });
    expect(fate(publicKey.export({ format: 'jwk' }))).toBe(`has ${bits} bits; an RSA key needs 2048`);
  });

  it('of 512 bits, with the token that its owner signed: the forger would be that owner', () => {
    const weak = signingKey('RS256', 'weak', 1024);
    expect(present(jwt(weak, FORGED), issuerOf([weak, rsa]))).toContain('token_untrusted');
  });

  it('of 16384 bits: each verification would cost hundreds of times as much', () => {
    const n = Buffer.alloc(2048, 0xff).toString('base64url');
    expect(fate({ kty: 'RSA', n, e: 'AQAB' })).toBe('has 16384 bits, more than 8192');
  });

  it('with the exponent 1: every padded text would be its own signature', () => {
    const n = String(publicJwk(rsa)['n']);
    for (const e of ['AQ', 'AAE', 'AAAAAQ'])
      expect(fate({ kty: 'RSA', n, e })).toBe('has an exponent that protects nothing');
    expect(fate({ kty: 'RSA', n, e: 'Aw' })).toBe('RS256 PS256');
  });

  it('with an exponent that is even, empty or endless, or an even modulus: no such key exists', () => {
    const n = String(publicJwk(rsa)['n']);
    expect(fate({ kty: 'RSA', n, e: 'Ag' })).toBe('has an exponent that protects nothing');
    for (const e of ['', 'AA', 'AQAAAAE']) expect(fate({ kty: 'RSA', n, e })).toBe('has an exponent out of bounds');
    const even = Buffer.from(n, 'base64url');
    even[even.length - 1] = (even.at(-1) ?? 0) & 0xfe;
    expect(fate({ kty: 'RSA', n: even.toString('base64url'), e: 'AQAB' })).toBe('has an even modulus');
    for (const wrong of [{ n }, { n, e: 7 }, { n: `${n}=`, e: 'AQAB' }, { n: [n], e: 'AQAB' }]) {
      expect(fate({ kty: 'RSA', ...wrong })).toBe('lacks n or e, or they are not base64url');
    }
  });
});

describe('an elliptic curve key', () => {
  it('off its curve: what is known of another curve would forge signatures (RFC 8725 §2.3)', () => {
    const { x } = publicJwk(ec) as { x: string };
    expect(fate({ kty: 'EC', crv: 'P-256', x, y: x })).toBe('is no point of its curve, or no key');
    const zero = Buffer.alloc(32).toString('base64url');
    expect(fate({ kty: 'EC', crv: 'P-256', x: zero, y: zero })).toBe('is no point of its curve, or no key');
  });

  it('of another curve or length: it would be read as another key', () => {
    const jwk = publicJwk(ec);
    expect(fate({ ...jwk, crv: 'P-384' })).toBe('other');
    expect(fate({ ...jwk, alg: undefined, crv: 'P-384' })).toBe('has no whole x and y');
    expect(fate({ ...jwk, crv: 'secp256k1', alg: undefined })).toBe('other');
    expect(fate({ ...jwk, x: String(jwk['x']).slice(0, -2) })).toBe('has no whole x and y');
  });

  it('and signatures of zeros, or of the order of the curve: a verifier without bounds takes them for every text', () => {
    const issuer = issuerOf([ec]);
    const order = 'ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551';
    const zero = '00'.repeat(32);
    const one = `${'00'.repeat(31)}01`;
    const good = jwt(ec, FORGED).split('.')[2] ?? '';
    const half = Buffer.from(good, 'base64url').toString('hex');
    for (const signature of [
      zero + zero,
      zero + one,
      one + zero,
      order + order,
      order + one,
      one + order,
      zero + half.slice(64),
      half.slice(0, 64) + zero,
      'ff'.repeat(64),
      '',
      zero,
      half.slice(0, -2),
      `${half}00`,
      `00${half}`,
    ]) {
      const token = `${encode({ alg: 'ES256', kid: 'ES256' })}.${encode(FORGED)}.${b64(signature)}`;
      expect(present(token, issuer)).toBe('token_untrusted: Its signature is not that of its issuer.');
    }
  });

  it('and a signature in DER, as other protocols write it: one token would have two', () => {
    const signature = Buffer.from(jwt(ec, FORGED).split('.')[2] ?? '', 'base64url');
    const integer = (bytes: Buffer): Buffer => Buffer.concat([Buffer.from([2, bytes.length + 1, 0]), bytes]);
    const body = Buffer.concat([integer(signature.subarray(0, 32)), integer(signature.subarray(32))]);
    const der = Buffer.concat([Buffer.from([0x30, body.length]), body]).toString('base64url');
    expect(present(`${encode({ alg: 'ES256', kid: 'ES256' })}.${encode(FORGED)}.${der}`, issuerOf([ec]))).toContain(
      'token_untrusted',
    );
  });
});

describe('an Ed25519 key of small order: one signature would fit every text', () => {
  const weak = {
    'order 1': '0100000000000000000000000000000000000000000000000000000000000000',
    'order 1, with the sign': '0100000000000000000000000000000000000000000000000000000000000080',
    'order 2': 'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
    'order 4': '0000000000000000000000000000000000000000000000000000000000000000',
    'order 4, with the sign': '0000000000000000000000000000000000000000000000000000000000000080',
    'order 8': '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
    'order 8, with the sign': '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85',
    'order 8, the other': 'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
    'order 8, the other, with the sign': 'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa',
    'order 4, beyond the field': 'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
    'order 1, beyond the field': 'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
    'order 1, beyond the field, with the sign': 'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff',
  };
  it.each(Object.entries(weak))('%s', (_name, hex) => {
    expect(fate({ kty: 'OKP', crv: 'Ed25519', x: b64(hex) })).toBe(
      'is a point of small order, under which anything verifies',
    );
  });

  it('and not of full order', () => {
    expect(fate(publicJwk(ed))).toBe('EdDSA Ed25519');
    expect(fate({ ...publicJwk(ed), alg: undefined })).toBe('EdDSA Ed25519');
    expect(fate({ kty: 'OKP', crv: 'Ed25519', x: 'AA' })).toBe('has no x of 32 bytes');
    expect(fate({ kty: 'OKP', crv: 'X25519', x: b64(weak['order 2']) })).toBe('other');
  });
});

describe('a key for something else', () => {
  it.each<[string, Members, string]>([
    ['use enc: a key of another purpose would be a signer', { use: 'enc' }, 'other'],
    ['use that is no text', { use: ['sig'] }, 'its use is no text'],
    ['key_ops without verify', { key_ops: ['encrypt'] }, 'other'],
    ['key_ops that is no list: "verify" is found in a text as well', { key_ops: 'verify' }, 'its key_ops is no list'],
    ['key_ops with verify', { key_ops: ['verify'] }, 'ES256'],
    ['the alg of another algorithm', { alg: 'ECDH-ES' }, 'other'],
    ['alg none', { alg: 'none' }, 'other'],
    ['a kid that is no text', { kid: 7 }, 'its kid is no short text'],
    ['its private half, which whoever reads the set could sign with', { d: 'AAAA' }, 'is a private key'],
  ])('%s', (_name, more, expected) => {
    expect(fate(publicJwk(ec, more))).toBe(expected);
  });

  it('a shared secret in a public set: everybody who reads the set could sign', () => {
    expect(fate({ kty: 'oct', k: 'AAAA', alg: 'HS256' })).toBe(
      'is a shared secret, which has no place in a set of public keys',
    );
    expect(fate('no object')).toBe('is no object');
  });
});
