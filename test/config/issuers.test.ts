import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { parseConfig } from '../../src/config/load.ts';
import { jwks, publicJwk, signingKey } from '../token/jwt-fixture.ts';

const folder = mkdtempSync(join(tmpdir(), 'portcullis-issuers-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const SECRET = 'a secret of more than 32 bytes, as HS256 needs it';

function load(yaml: string) {
  const { config, diagnostics } = parseConfig(yaml, join(folder, 'portcullis.yaml'), { SECRET, SHORT: 'short' });
  return { config, told: diagnostics.map(({ line, col, message }) => `${line}:${col}: ${message}`) };
}

const first = (yaml: string): unknown =>
  load(`issuers:\n  - { issuer: https://a.test, audience: api, ${yaml} }`).config?.issuers[0];

const plain = {
  issuer: 'https://a.test',
  audiences: ['api'],
  algorithms: ['RS256', 'PS256', 'ES256', 'EdDSA'],
  maxLifetimeMs: 3_600_000,
  clockSkewMs: 30_000,
  scopeClaim: 'scope',
  rolesClaim: 'roles',
  requiredClaims: [],
  types: null,
};

describe('the issuers of a configuration', () => {
  it('have a default for everything but issuer, audience and keys', () => {
    expect(first('jwks_uri: https://a.test/jwks')).toEqual({
      ...plain,
      keys: { kind: 'uri', url: new URL('https://a.test/jwks') },
    });
    expect(first('discovery: true')).toMatchObject({ keys: { kind: 'discovery', document: null } });
    expect(first('discovery: http://127.0.0.1:9/x')).toMatchObject({
      keys: { kind: 'discovery', document: new URL('http://127.0.0.1:9/x') },
    });
    expect(first('secret: { env: SECRET }')).toMatchObject({ keys: { kind: 'secret' }, algorithms: ['HS256'] });
  });

  it('take lists, claims with values, and types in every spelling', () => {
    expect(
      load(`issuers:
  - issuer: https://a.test
    audience: [api, other]
    jwks_uri: http://[::1]:9/jwks
    algorithms: [ES256, Ed25519]
    max_lifetime: 10m
    clock_skew: 0s
    scope_claim: scp
    roles_claim: /realm_access/roles
    required_claims: { tenant: acme, staff: true }
    typ: [application/AT+JWT, jwt]
`).config?.issuers,
    ).toEqual([
      {
        ...plain,
        audiences: ['api', 'other'],
        keys: { kind: 'uri', url: new URL('http://[::1]:9/jwks') },
        algorithms: ['ES256', 'Ed25519'],
        maxLifetimeMs: 600_000,
        clockSkewMs: 0,
        scopeClaim: 'scp',
        rolesClaim: '/realm_access/roles',
        requiredClaims: [
          { name: 'tenant', value: 'acme' },
          { name: 'staff', value: true },
        ],
        types: ['at+jwt', 'jwt'],
      },
    ]);
    expect(first('jwks_uri: https://a.test/jwks, required_claims: [client_id]')).toMatchObject({
      requiredClaims: [{ name: 'client_id', value: null }],
    });
  });

  it('tell everything that is wrong at once, each at its place', () => {
    expect(
      load(`issuers:
  - issuer: https://a.test
    audience: []
    jwks_url: https://a.test/jwks
    algorithms: [RS265, none, HS256]
    max_lifetime: 0s
    clock_skew: 10m
    typ: "a b"
  - issuer: https://b.test
    audience: api
    jwks_uri: http://b.test/jwks
    discovery: false
    algorithms: [HS256]
  - { issuer: https://a.test, audience: api, jwks_uri: "https://u:p@a.test/" }
  - { issuer: not a url, audience: api, discovery: true }
  - { issuer: c, audience: api, secret: { env: SHORT }, algorithms: [HS512, RS256] }
  - { issuer: d, audience: api, secret: inline }
  - { issuer: e, audience: api, jwks_file: missing.json, required_claims: { a: [] } }
  - { issuer: "https://f.test/?x=1", audience: api, discovery: true }
`).told,
    ).toEqual([
      '2:5: issuers[0]: needs one of jwks_uri, discovery, jwks_file or secret',
      '3:15: issuers[0].audience: the list is empty',
      '4:5: unknown key "jwks_url" in issuers[0]; did you mean "jwks_uri"?',
      expect.stringMatching(/^5:18: issuers\[0\]\.algorithms\[0\]: expected one of .*; did you mean "RS256"\?$/),
      expect.stringMatching(/^5:25: issuers\[0\]\.algorithms\[1\]: expected one of "RS256"/),
      '6:19: issuers[0].max_lifetime: must be more than zero',
      '7:17: issuers[0].clock_skew: must be at most 5m',
      '8:10: issuers[0].typ: expected a type such as at+jwt',
      expect.stringMatching(/^11:15: issuers\[1\]\.jwks_uri: expected https:\/\/: whoever/),
      '12:16: issuers[1].discovery: expected true',
      '12:16: issuers[1].discovery: there is jwks_uri already; one of them is enough',
      '13:18: issuers[1].algorithms[0]: HS256 needs a secret; with public keys everybody could sign',
      '14:5: issuers[2]: the same as item 1 of the list',
      '14:56: issuers[2].jwks_uri: the URL must not hold credentials: keys are public',
      '15:52: issuers[3].discovery: discovery: true needs an issuer that is a URL; or write the URL of the metadata',
      '16:41: issuers[4].secret: has 5 bytes; the algorithm needs 64',
      '16:77: issuers[4].algorithms[1]: RS256 is not for a secret: HS256, HS384, HS512',
      expect.stringContaining('17:41: issuers[5].secret: a secret cannot stand in the configuration itself'),
      `18:44: jwks_file of "e": ${join(folder, 'missing.json')} cannot be read (ENOENT)`,
      '18:80: issuers[6].required_claims.a: expected a text, a number, true or false',
      '19:64: issuers[7].discovery: the issuer has a query; write the URL of the metadata',
    ]);
  });

  it('have key files with keys that can be used', () => {
    const file = join(folder, 'keys.json');
    const check = (text: string): readonly string[] => {
      writeFileSync(file, text);
      return load(`issuers: [ { issuer: a, audience: api, jwks_file: keys.json } ]`).told.map((line) =>
        line.replace(`1:51: jwks_file of "a": ${file} `, ''),
      );
    };
    expect(check(jwks(signingKey('ES256')))).toEqual([]);
    expect(check('{')).toEqual(['is no JWK Set: not JSON']);
    expect(check('[]')).toEqual(['is no JWK Set: it has no list "keys"']);
    expect(check('{"keys":[]}')).toEqual(['holds no key for RS256, PS256, ES256, EdDSA']);
    const weak = publicJwk(signingKey('RS256', 'weak', 1024));
    expect(check(JSON.stringify({ keys: [weak] }))).toEqual([
      'holds no key for RS256, PS256, ES256, EdDSA: keys[0] has 1024 bits; an RSA key needs 2048',
    ]);
  });
});
