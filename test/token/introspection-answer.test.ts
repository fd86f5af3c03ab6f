import { describe, expect, it } from 'vitest';
import { type AnswerRules, readIntrospectionAnswer } from '../../src/token/introspection-answer.ts';

const ANYBODY: AnswerRules = { audiences: null, requireTokenType: false };
const THUMBPRINT = 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM';

const readText = (text: string, rules: AnswerRules) => readIntrospectionAnswer(Buffer.from(text), rules);

function read(answer: unknown, rules: Partial<AnswerRules> = {}) {
  return readText(JSON.stringify(answer), { ...ANYBODY, ...rules });
}

describe('an answer about a token', () => {
  it('is read whole (the example of RFC 7662 §2.2)', () => {
    const answer = {
      active: true,
      client_id: 'l238j323ds-23ij4',
      username: 'jdoe',
      scope: 'read write dolphin',
      sub: 'Z5O3upPC88QrAjx00dis',
      aud: 'https://protected.example.net/resource',
      iss: 'https://server.example.com/',
      exp: 1_419_356_238,
      iat: 1_419_350_238,
      extension_field: 'twenty-seven',
    };
    expect(read(answer)).toEqual({
      ok: true,
      value: {
        active: true,
        untrusted: null,
        issuer: 'https://server.example.com/',
        jti: null,
        subject: 'Z5O3upPC88QrAjx00dis',
        scopes: ['read', 'write', 'dolphin'],
        roles: [],
        issuedAt: 1_419_350_238_000,
        notBefore: null,
        expiresAt: 1_419_356_238_000,
        confirmation: null,
        claims: {
          client_id: 'l238j323ds-23ij4',
          username: 'jdoe',
          aud: 'https://protected.example.net/resource',
          iss: 'https://server.example.com/',
          extension_field: 'twenty-seven',
        },
      },
    });
  });

  it('that says no more than that the token is active gives no rights', () => {
    expect(read({ active: true })).toMatchObject({
      value: { untrusted: null, scopes: [], roles: [], expiresAt: null },
    });
    expect(read({ active: false, scope: 'admin', exp: 'x' })).toEqual({ ok: true, value: { active: false } });
  });

  it('keeps a member called __proto__ from becoming anything', () => {
    const told = readText('{"active":true,"__proto__":{"tenant":"t1"}}', ANYBODY);
    expect(told).toMatchObject({ ok: true, value: { claims: {} } });
    expect(told.ok && 'claims' in told.value && told.value.claims['tenant']).toBe(undefined);
  });

  // A yes that is none, or a type that JavaScript would bend, must not let anybody in; nor is it a word against the token.
  it.each([
    ['not JSON', '<html>'],
    ['nothing', ''],
    ['two readings', '{"active":false,"active":true}'],
    ['two readings by an escape', '{"active":false,"\\u0061ctive":true}'],
    ['two documents', '{"active":true}{"active":true}'],
    ['a list', '[{"active":true}]'],
    ['null', 'null'],
    ['no active', '{"scope":"admin"}'],
    ['active as text', '{"active":"true"}'],
    ['active as number', '{"active":1}'],
    ['active as list', '{"active":[true]}'],
    ['active in the prototype', '{"__proto__":{"active":true}}'],
    ['scope as list', '{"active":true,"scope":["admin"]}'],
    ['scope as object', '{"active":true,"scope":{"admin":true}}'],
    ['scope with two spaces', '{"active":true,"scope":"a  b"}'],
    ['scope with a line break', '{"active":true,"scope":"a\\nb"}'],
    ['roles as number', '{"active":true,"roles":[1]}'],
    ['exp as text', '{"active":true,"exp":"99999999999"}'],
    ['exp beyond numbers', '{"active":true,"exp":1e309}'],
    ['exp negative', '{"active":true,"exp":-1}'],
    ['exp as true', '{"active":true,"exp":true}'],
    ['nbf as text', '{"active":true,"nbf":"0"}'],
    ['iat as list', '{"active":true,"iat":[0]}'],
    ['sub as number', '{"active":true,"sub":1}'],
    ['sub with CR LF', '{"active":true,"sub":"a\\r\\nx: y"}'],
    ['sub too long', JSON.stringify({ active: true, sub: 'x'.repeat(256) })],
    ['iss as object', '{"active":true,"iss":{}}'],
    ['jti empty', '{"active":true,"jti":""}'],
    [
      'too many scopes',
      JSON.stringify({ active: true, scope: Array.from({ length: 201 }, (_, i) => `s${i}`).join(' ') }),
    ],
    ['too deep', `{"active":true,"x":${'['.repeat(30_000)}${']'.repeat(30_000)}}`],
  ])('that cannot be read is an error of the server: %s', (_what, text) => {
    expect(readText(text, ANYBODY).ok).toBe(false);
  });

  it.each([
    ['cnf of an unknown kind', { cnf: { 'x5t#S512': THUMBPRINT } }],
    ['cnf with something more', { cnf: { jkt: THUMBPRINT, jwk: {} } }],
    ['cnf that is empty', { cnf: {} }],
    ['cnf as text', { cnf: 'jkt' }],
    ['cnf with a thumbprint that is none', { cnf: { jkt: 'short' } }],
    ['another type', { token_type: 'mac' }],
    ['a type that is no text', { token_type: ['Bearer'] }],
    ['a refresh token (Hydra)', { token_use: 'refresh_token' }],
    ['a refresh token (Keycloak)', { typ: 'Refresh' }],
    ['an ID token (Keycloak)', { typ: 'ID' }],
  ])('about a token that may not be used here says why: %s', (_what, members) => {
    expect(read({ active: true, ...members })).toEqual({
      ok: true,
      value: { active: true, untrusted: expect.any(String) },
    });
  });

  it('names the key that a token is bound to', () => {
    expect(read({ active: true, token_type: 'DPoP', cnf: { jkt: THUMBPRINT } })).toMatchObject({
      value: { confirmation: { keyThumbprint: THUMBPRINT, certificateThumbprint: null } },
    });
    expect(read({ active: true, cnf: { 'x5t#S256': THUMBPRINT } })).toMatchObject({
      value: { confirmation: { keyThumbprint: null, certificateThumbprint: THUMBPRINT } },
    });
  });

  it('has to be for this audience, and of an access token, where that is asked for', () => {
    const audiences = ['https://api', 'api'];
    const untrusted = (answer: object, rules: Partial<AnswerRules>): unknown => {
      const told = read({ active: true, ...answer }, rules);
      return told.ok && told.value.active && told.value.untrusted !== null;
    };
    for (const aud of ['api', 'https://api', ['other', 'api']])
      expect([aud, untrusted({ aud }, { audiences })]).toEqual([aud, false]);
    for (const aud of [undefined, null, 'API', 'https://api/', [], [['api']], { api: true }, 1, ['other']]) {
      expect([aud, untrusted({ aud }, { audiences })]).toEqual([aud, true]);
    }
    expect(untrusted({ aud: 'other' }, {})).toBe(false);
    expect(untrusted({}, { requireTokenType: true })).toBe(true);
    expect(untrusted({ token_type: 'bearer' }, { requireTokenType: true })).toBe(false);
  });
});
