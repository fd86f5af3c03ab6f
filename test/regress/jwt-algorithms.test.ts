/*
 * Attacks on the choice of algorithm (RFC 8725 §2.1, §2.2, §3.1, §3.2). A verifier that lets the token choose is told by
 * the attacker to check nothing, or to check a MAC whose key everybody has. What each would get without its defence stands
 * in the name of the test.
 */
import { createHash, createHmac } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { SecretKeySet } from '../../src/token/key-sets.ts';
import { claimsOf, encode, issuerOf, jwt, present, secretKey, signatureOf, signingKey } from '../token/jwt-fixture.ts';

const rsa = signingKey('RS256');
const ec = signingKey('ES256');
const ed = signingKey('EdDSA');
const issuer = issuerOf([rsa, ec, ed]);
const FORGED = claimsOf({ sub: 'admin' });
const NOT_THE_ALGORITHM = 'token_untrusted: Its algorithm (alg) is not one that its issuer may use here.';

describe('a token without a signature', () => {
  const spellings = [
    'none',
    'None',
    'NONE',
    'nOnE',
    'none ',
    ' none',
    'n\u006fne',
    'none\u0000',
    'ｎone',
    '',
    'null',
    'NoNe',
  ];
  it.each(spellings)('with alg %j: anybody could write a token', (alg) => {
    for (const signature of ['', encode('x'), encode('x'.repeat(64))]) {
      const token = `${encode({ alg, kid: rsa.kid })}.${encode(FORGED)}.${signature}`;
      expect(present(token, issuer)).toBe(NOT_THE_ALGORITHM);
    }
  });

  it.each([null, 0, false, true, {}, [], ['RS256'], { RS256: 1 }, undefined])(
    'with alg %j, which is no text: a loose comparison could take it',
    (alg) => {
      expect(present(jwt(rsa, FORGED, { alg }), issuer)).toBe(NOT_THE_ALGORITHM);
    },
  );

  it('with a right algorithm and an empty signature: a verifier that skips what is not there would take it', () => {
    for (const key of [rsa, ec, ed]) {
      const token = `${encode({ alg: key.algorithm, kid: key.kid })}.${encode(FORGED)}.`;
      expect(present(token, issuer)).toBe('token_untrusted: Its signature is not that of its issuer.');
    }
  });

  it('with two parts only (RFC 7519 §6 with the dot left out): it would be read as unsecured', () => {
    expect(present(`${encode({ alg: 'none' })}.${encode(FORGED)}`, issuer)).toBe('token_malformed');
  });
});

describe('the public key as the secret of a MAC', () => {
  const spellings = [
    rsa.publicKey.export({ type: 'spki', format: 'pem' }),
    rsa.publicKey.export({ type: 'spki', format: 'der' }),
    rsa.publicKey.export({ type: 'pkcs1', format: 'pem' }),
    JSON.stringify(rsa.publicKey.export({ format: 'jwk' })),
    Buffer.from(String(rsa.publicKey.export({ format: 'jwk' }).n), 'base64url'),
  ];

  it.each(['HS256', 'HS384', 'HS512'])('under %s: everybody who can read the keys could sign', (alg) => {
    const hash = `sha${alg.slice(2)}`;
    for (const kid of [rsa.kid, ec.kid, undefined]) {
      for (const secret of [...spellings, Buffer.alloc(0), 'secret']) {
        const input = `${encode({ alg, kid })}.${encode(FORGED)}`;
        const token = `${input}.${createHmac(hash, secret).update(input).digest('base64url')}`;
        expect(present(token, issuer)).toBe(NOT_THE_ALGORITHM);
      }
    }
  });

  it('cannot happen either where HMAC is configured: then no public key is looked at', () => {
    const key = secretKey(Buffer.from('a shared secret of at least 32 bytes length'));
    const keys = new SecretKeySet({ kid: null, algorithms: ['HS256'], key, identity: 'x' });
    const symmetric = issuerOf([], { algorithms: ['HS256'], keys });
    for (const secret of [...spellings, Buffer.alloc(0), createHash('sha256').update('').digest()]) {
      const input = `${encode({ alg: 'HS256', kid: rsa.kid })}.${encode(FORGED)}`;
      const token = `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`;
      expect(present(token, symmetric)).toBe('token_untrusted: Its signature is not that of its issuer.');
    }
    expect(present(jwt(rsa, FORGED), symmetric)).toBe(NOT_THE_ALGORITHM);
    const shortened = `${encode({ alg: 'HS256' })}.${encode(FORGED)}`;
    const mac = signatureOf('HS256', key, shortened);
    // Weak MACs (RFC 8725 §2.2): one that is cut could be guessed.
    expect(present(`${shortened}.${mac.subarray(0, 8).toString('base64url')}`, symmetric)).toContain('token_untrusted');
    expect(present(`${shortened}.${mac.toString('base64url')}`, symmetric)).toBe('ok');
  });
});

describe('one key under the name of another algorithm', () => {
  const rsaBoth = { ...issuerOf([rsa], { algorithms: ['RS256', 'PS256', 'RS512'] }) };

  it.each(['PS256', 'RS512'])(
    '%s with a key for RS256: a weaker use would pass for the stronger one (RFC 8725 §3.1)',
    (alg) => {
      const input = `${encode({ alg, kid: rsa.kid })}.${encode(FORGED)}`;
      const token = `${input}.${signatureOf(alg, rsa.privateKey, input).toString('base64url')}`;
      expect(present(token, rsaBoth)).toBe('token_untrusted: Its signature is not that of its issuer.');
      // The same key without an `alg` of its own may do both.
      const open = issuerOf([{ ...rsa.publicKey.export({ format: 'jwk' }), kid: rsa.kid }], {
        algorithms: ['RS256', 'PS256', 'RS512'],
      });
      expect(present(token, open)).toBe('ok');
    },
  );

  it('an elliptic curve key under EdDSA, an Ed25519 key under ES256: bytes of one would be read as the other', () => {
    for (const [alg, key] of [
      ['EdDSA', ec],
      ['ES256', ed],
      ['RS256', ec],
      ['ES256', rsa],
    ] as const) {
      const input = `${encode({ alg, kid: key.kid })}.${encode(FORGED)}`;
      const token = `${input}.${signatureOf(key.algorithm, key.privateKey, input).toString('base64url')}`;
      expect(present(token, issuer)).toBe('token_untrusted: Its signature is not that of its issuer.');
    }
  });

  it('an algorithm that the issuer may not use here: whoever configured ES256 alone would get RSA', () => {
    const only = issuerOf([rsa, ec], { algorithms: ['ES256'] });
    expect(present(jwt(rsa), only)).toBe(NOT_THE_ALGORITHM);
    expect(present(jwt(ec), only)).toBe('ok');
  });
});
