import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { calculateJwkThumbprint } from 'jose';
import { describe, expect, it } from 'vitest';
import { parseSigningKeys } from '../../src/base/signing-key.ts';

const pem = (key: KeyObject): string => String(key.export({ type: 'pkcs8', format: 'pem' }));
const newKey = (): KeyObject => generateKeyPairSync('ed25519').privateKey;

describe('keys to sign with', () => {
  it('come as PEM, as a JWK and as a JWK Set, in order, named by their thumbprint', async () => {
    const [one, two] = [newKey(), newKey()];
    const jwks = [one, two].map((key) => key.export({ format: 'jwk' }));
    const texts = [`${pem(one)}\nany text between\n${pem(two)}`, JSON.stringify({ keys: jwks })];
    const kids = await Promise.all(jwks.map((jwk) => calculateJwkThumbprint(jwk)));
    for (const text of texts) {
      const read = parseSigningKeys(text);
      expect(read.ok && read.value.map(({ published }) => published)).toEqual(
        jwks.map(({ x }, index) => ({ kty: 'OKP', crv: 'Ed25519', x, kid: kids[index], alg: 'EdDSA', use: 'sig' })),
      );
    }
    const single = parseSigningKeys(JSON.stringify(jwks[1]));
    expect(single.ok && single.value.map(({ published }) => published.kid)).toEqual([kids[1]]);
  });

  const key = newKey();
  const jwk = key.export({ format: 'jwk' });
  const encrypted = String(key.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' }));
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
  const ed448 = generateKeyPairSync('ed448').privateKey;
  it.each([
    ['nothing', 'hello', 'holds no private key; make one with: openssl genpkey -algorithm ed25519'],
    ['an empty set', '{"keys":[]}', 'holds no private key; make one with: openssl genpkey -algorithm ed25519'],
    ['RSA', pem(rsa), 'key 1 is of type rsa; Ed25519 is needed: openssl genpkey -algorithm ed25519'],
    ['Ed448', pem(ed448), 'key 1 is of type ed448; Ed25519 is needed: openssl genpkey -algorithm ed25519'],
    ['a passphrase', encrypted, 'key 1 has a passphrase; one without is needed'],
    ['a cut block', `${pem(key)}${pem(newKey()).slice(0, 60)}`, 'holds a key that is not whole'],
    ['the same twice', pem(key) + pem(key), 'holds the same key twice'],
    ['too many', Array.from({ length: 9 }, () => pem(newKey())).join(''), 'holds 9 keys; at most 8 are taken'],
    ['broken JSON', '{"kty":"OKP","d":"SECRET', 'begins like a JWK, but is not JSON'],
    ['a public JWK', JSON.stringify({ ...jwk, d: undefined }), 'key 1 needs both x and d'],
    [
      'halves of two keys',
      JSON.stringify({ ...jwk, x: newKey().export({ format: 'jwk' }).x }),
      /does not belong|not a valid/,
    ],
    ['a symmetric key', '{"kty":"oct","k":"AAAA"}', 'key 1 is not an Ed25519 key (kty OKP, crv Ed25519)'],
    [
      'a PEM of nonsense',
      '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----',
      'key 1 is not a valid private key',
    ],
  ])('are refused: %s', (_what, text, message) => {
    const read = parseSigningKeys(text);
    expect(read.ok).toBe(false);
    expect(read.ok ? '' : read.error).toMatch(
      message instanceof RegExp ? message : new RegExp(`^${RegExp.escape(message)}$`),
    );
    expect(read.ok ? '' : read.error).not.toMatch(/SECRET|MC4C|AAAA/);
  });

  it('a public key is told from a private one', () => {
    const { publicKey } = generateKeyPairSync('ed25519');
    const read = parseSigningKeys(String(publicKey.export({ type: 'spki', format: 'pem' })));
    expect(read).toEqual({
      ok: false,
      error: 'key 1 is a PUBLIC KEY; a PRIVATE KEY (PKCS #8) is needed: openssl genpkey -algorithm ed25519',
    });
  });
});
