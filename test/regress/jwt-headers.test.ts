/*
 * Attacks through the header (RFC 8725 §2.7, §2.8, §3.8-§3.11): a token that brings its own key, says where to fetch it, names a
 * key by something that a verifier looks up somewhere, asks for other rules of signing, or is a token of another kind.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  claimsOf,
  encode,
  issuerOf,
  jwks,
  jwt,
  present,
  publicJwk,
  signatureOf,
  signingKey,
} from '../token/jwt-fixture.ts';

const good = signingKey('ES256', 'good');
const evil = signingKey('ES256', 'good');
const issuer = issuerOf([good]);
const FORGED = claimsOf({ sub: 'admin' });
const WRONG = 'token_untrusted: Its signature is not that of its issuer.';
const UNKNOWN = 'token_untrusted: The key that it names (kid) is not among those of its issuer.';

describe('a key that comes with the token', () => {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(request.url ?? '');
    response.end(jwks(evil));
  });
  beforeAll(() => new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening)));
  afterAll(() => {
    server.close();
  });

  it('in jwk or x5c: the attacker would verify the own signature', () => {
    const jwk = publicJwk(evil);
    expect(present(jwt(evil, FORGED, { jwk }), issuer)).toBe(WRONG);
    expect(present(jwt(evil, FORGED, { jwk, kid: undefined }), issuer)).toContain('None of the keys of its issuer');
    expect(present(jwt(evil, FORGED, { x5c: ['MIIB'] }), issuer)).toBe(WRONG);
    // A good token stays good: the header says nothing.
    expect(present(jwt(good, FORGED, { jwk, x5c: ['MIIB'] }), issuer)).toBe('ok');
  });

  it('by jku or x5u: the gateway would fetch it from the attacker, or from its own network (SSRF)', async () => {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`;
    for (const header of [{ jku: url }, { x5u: url }, { jku: url, kid: 'other' }]) {
      expect(present(jwt(evil, FORGED, header), issuer)).toBe('kid' in header ? UNKNOWN : WRONG);
    }
    // Whatever was sent before this has arrived.
    await (await fetch(`${url}-control`)).text();
    expect(asked).toEqual(['/keys-control']);
  });
});

describe('a kid that means something elsewhere', () => {
  it.each([
    '../../../../dev/null',
    '/dev/null',
    "x' UNION SELECT 'key",
    'key; curl http://127.0.0.1/',
    'http://127.0.0.1/jwks.json',
    '__proto__',
    'constructor',
    'toString',
    'good\u0000',
    'GOOD',
    ' good',
    'k'.repeat(256),
  ])('%j: a file, a query, a command or a member of Object would become the key', (kid) => {
    expect(present(jwt(evil, FORGED, { kid }), issuer)).toBe(UNKNOWN);
  });

  it.each([[['good']], [{}], [0], [true], ['k'.repeat(257)], ['']])(
    '%j: a kid that is no short text would be compared in other ways than keys are',
    (kid) => {
      expect(present(jwt(good, FORGED, { kid }), issuer)).toBe(
        'token_untrusted: The name of its key (kid) is not a short text.',
      );
    },
  );
});

describe('other rules', () => {
  it.each([[['exp']], [['b64']], [['unknown']], [[]], ['exp'], [null], [{}], [true]])(
    'crit %j: an extension that has to be understood would be passed over (RFC 7515 §4.1.11)',
    (crit) => {
      expect(present(jwt(good, FORGED, { crit, unknown: 1 }), issuer)).toBe(
        'token_untrusted: It has critical extensions (crit) that are not understood here.',
      );
    },
  );

  it('b64 false: the signature would be of other bytes than those that are read (RFC 7797)', () => {
    const payload = JSON.stringify(FORGED);
    const header = encode({ alg: 'ES256', kid: 'good', b64: false });
    const signature = signatureOf('ES256', good.privateKey, `${header}.${payload}`).toString('base64url');
    expect(present(`${header}.${encode(payload)}.${signature}`, issuer)).toContain('(b64)');
    expect(present(`${header}.${payload}.${signature}`, issuer)).toBe('token_malformed');
    for (const b64 of [false, true, 'false', null]) {
      expect(present(jwt(good, FORGED, { b64 }), issuer)).toContain('(b64)');
    }
    expect(present(jwt(good, FORGED, { b64: false, crit: ['b64'] }), issuer)).toContain('token_untrusted');
  });

  it('enc, or five parts: a token that nobody signed would be taken for one that is only hidden', () => {
    expect(present(jwt(good, FORGED, { enc: 'A256GCM' }), issuer)).toContain('encrypted');
    expect(present(`${jwt(good)}.${encode('x')}.${encode('y')}`, issuer)).toBe('token_malformed');
  });

  it.each([
    'dpop+jwt',
    'logout+jwt',
    'secevent+jwt',
    'token-introspection+jwt',
    'JOSE',
    'JOSE+JSON',
    'kb+jwt',
    '',
    'application/',
    'jwt ',
  ])('typ %j: a token made for another purpose would be an access token (RFC 8725 §2.8)', (typ) => {
    expect(present(jwt(good, FORGED, { typ }), issuer)).toBe(
      'token_untrusted: Its type (typ) is not that of an access token.',
    );
  });

  it.each([[null], [0], [['JWT']], [{}]])('typ %j, which is no text: the same', (typ) => {
    expect(present(jwt(good, FORGED, { typ }), issuer)).toContain('(typ)');
  });

  it('a header with a member twice: one reader would see the good one, another the bad one', () => {
    for (const header of [
      '{"alg":"none","alg":"ES256","kid":"good"}',
      '{"alg":"ES256","kid":"good","alg":"ES256"}',
      '{"alg":"ES256","kid":"good","\\u0061lg":"none"}',
      '{"alg":"ES256","kid":"good","x":{"a":1,"a":2}}',
    ]) {
      expect(present(jwt(good, FORGED, header), issuer)).toBe(
        'token_untrusted: Its JSON is ambiguous: a member stands twice.',
      );
    }
  });
});
