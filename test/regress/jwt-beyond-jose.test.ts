/*
 * Tokens and keys that a careful library takes, each verified with jose here so that nobody need believe it, and that must not pass.
 * jose leaves them to whoever uses it, for reasons of its own; without a reading of our own they would all be let in.
 */
import { createHash } from 'node:crypto';
import { importJWK, type JWK, jwtVerify } from 'jose';
import { describe, expect, it } from 'vitest';
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
  publicJwk,
  SECONDS,
  signingKey,
} from '../token/jwt-fixture.ts';

const key = signingKey('ES256');
const issuer = issuerOf([key]);
const [header, payload, signature] = jwt(key).split('.');

/** What jose says of a token under everything that our configuration asks for as well. */
async function takenByJose(token: string, jwk: Members = publicJwk(key), algorithm = 'ES256'): Promise<boolean> {
  const options = {
    issuer: ISSUER,
    audience: AUDIENCE,
    algorithms: [algorithm],
    requiredClaims: ['exp'],
    currentDate: new Date(NOW),
    clockTolerance: 30,
  };
  return await jwtVerify(token, await importJWK(jwk as JWK, algorithm), options).then(
    () => true,
    () => false,
  );
}

describe('a token that jose takes, and that is refused', () => {
  const text = (claims: string): string => jwt(key, `{"iss":"${ISSUER}","aud":"${AUDIENCE}",${claims}}`);
  it.each<[string, string]>([
    ['a signature with padding', `${header}.${payload}.${signature}==`],
    ['a signature with white space in it', `${header}.${payload}.${signature?.slice(0, 20)} ${signature?.slice(20)}`],
    ['an end at 1e309, which is never', text('"exp":1e309')],
    ['a subject that is no text', jwt(key, claimsOf({ sub: { admin: true } }))],
    ['a subject with a line break', jwt(key, claimsOf({ sub: 'a\r\nx-admin: 1' }))],
    ['a binding to a key that nobody asked for', jwt(key, claimsOf({ cnf: { jwk: {} } }))],
    ['the type of a proof', jwt(key, claimsOf(), { typ: 'dpop+jwt' })],
    ['16 KiB', jwt(key, claimsOf({ x: 'x'.repeat(12_000) }))],
    ['a claim that stands twice', text(`"exp":${SECONDS + 60},"sub":"a","sub":"b"`)],
    ['a life of a year', jwt(key, claimsOf({ exp: SECONDS + 31_536_000 }))],
  ])('has %s', async (_name, token) => {
    expect(await takenByJose(token)).toBe(true);
    expect(present(token, issuer)).toMatch(/^token_(malformed|untrusted)/);
  });

  it('is signed with an RSA key whose exponent is 1: the padded text is its own signature', async () => {
    const rsa = signingKey('RS256');
    const jwk = { ...publicJwk(rsa), e: 'AQ' };
    const input = `${encode({ alg: 'RS256', kid: 'RS256' })}.${encode(claimsOf({ sub: 'admin' }))}`;
    const digestInfo = Buffer.concat([
      Buffer.from('3031300d060960864801650304020105000420', 'hex'),
      createHash('sha256').update(input).digest(),
    ]);
    const padded = Buffer.concat([
      Buffer.from([0, 1]),
      Buffer.alloc(256 - 3 - digestInfo.length, 0xff),
      Buffer.from([0]),
      digestInfo,
    ]);
    const token = `${input}.${padded.toString('base64url')}`;
    expect(await takenByJose(token, jwk, 'RS256')).toBe(true);
    expect(present(token, issuerOf([jwk]))).toContain('token_untrusted');
  });

  it('is signed with an Ed25519 key of small order: the key is taken, and only newer versions of OpenSSL refuse what it signs', async () => {
    // The neutral point as key and as R, and S = 0: S·B = R + h·A whatever the text.
    const point = Buffer.concat([Buffer.from([1]), Buffer.alloc(31)]);
    const jwk = { kty: 'OKP', crv: 'Ed25519', alg: 'EdDSA', kid: 'weak', x: point.toString('base64url') };
    expect(await importJWK(jwk)).toMatchObject({ type: 'public' });
    const input = `${encode({ alg: 'EdDSA', kid: 'weak' })}.${encode(claimsOf({ sub: 'admin' }))}`;
    const token = `${input}.${Buffer.concat([point, Buffer.alloc(32)]).toString('base64url')}`;
    expect(present(token, issuerOf([jwk]))).toBe(
      'token_untrusted: The key that it names (kid) is not among those of its issuer.',
    );
  });

  it('and a good token is taken by both', async () => {
    expect([await takenByJose(jwt(key)), present(jwt(key), issuer)]).toEqual([true, 'ok']);
  });
});
