/*
 * Signatures collected by Project Wycheproof: forged, mutilated, of the wrong key, and right ones. They sign texts that are no
 * claims, so each is tried twice: as it is against whole tokens, and by itself with what reads header, keys and signature.
 */
import { describe, expect, it } from 'vitest';
import type { JwsAlgorithm } from '../../src/base/jws-algorithm.ts';
import { isJsonObject, parseStrictJson } from '../../src/base/strict-json.ts';
import { createAuthenticator } from '../../src/token/authenticate.ts';
import { JwtDecoder } from '../../src/token/jwt-decoder.ts';
import { readJwtHeader } from '../../src/token/jwt-header.ts';
import type { JwtIssuer } from '../../src/token/jwt-issuer.ts';
import { SecretKeySet } from '../../src/token/key-sets.ts';
import { createJwtTokens } from '../../src/token/verify-jwt.ts';
import { verifySignature } from '../../src/token/verify-signature.ts';
import { hasCorpus, NO_CORPUS, readCorpus } from '../support/corpus.ts';
import { fixedKeys, issuerOf, NOW, secretKey } from './jwt-fixture.ts';

const FILE = 'wycheproof/blackbox_jws.jsonl';
const PUBLIC: readonly JwsAlgorithm[] = [
  ...(['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'] as const),
  ...(['ES256', 'ES384', 'ES512', 'EdDSA'] as const),
];

/**
 * Called valid, and refused here as other vectors of the collection want it: the key is named for another algorithm than the
 * token (PS256 and PS384; `ES521`, which is none).
 */
const KEY_OF_ANOTHER_ALGORITHM = [346, 347, 350, 351].map((n) => `wycheproof-json_web_signature-${n}`);

/** Called valid although a character stands in them that is none of base64url. */
const FOREIGN_CHARACTER = [372, 373].map((n) => `wycheproof-json_web_signature-${n}`);

/** Called invalid for a padding that is not in their text: to the letter, it is a token with the right MAC. */
const NOTHING_WRONG = [367, 370].map((n) => `wycheproof-json_web_signature-${n}`);

interface Jwk {
  readonly kty: string;
  readonly alg?: string;
  readonly kid?: string;
  readonly k?: string;
}

interface Vector {
  readonly id: string;
  readonly jwks: { readonly keys: readonly Jwk[] };
  readonly jws: string | null;
  readonly jws_json: unknown;
  readonly wycheproof_result: 'valid' | 'invalid';
}

/** As an operator would configure it: a set of public keys, or one shared secret. */
function issuerFor({ jwks: { keys }, jws }: Vector): JwtIssuer {
  const [key] = keys.filter(({ kid }) => jws !== null && headerText(jws).includes(`"kid":"${kid}"`));
  const shared = keys.every(({ kty, alg }) => kty === 'oct' && /^HS(256|384|512)$/.test(alg ?? ''));
  const named = new Set(keys.map(({ kid }) => kid)).size === keys.length;
  const secret = (key ?? keys[0])?.k;
  if (!shared || !named || secret === undefined) {
    return issuerOf([], { algorithms: PUBLIC, keys: fixedKeys(JSON.stringify({ keys }), PUBLIC) });
  }
  const algorithm = (key ?? keys[0])?.alg as JwsAlgorithm;
  const imported = secretKey(Buffer.from(secret, 'base64url'));
  const set = new SecretKeySet({ kid: null, algorithms: [algorithm], key: imported, identity: 'x' });
  return issuerOf([], { algorithms: [algorithm], keys: set });
}

function headerText(jws: string): string {
  return Buffer.from(jws.split('.')[0] ?? '', 'base64url').toString();
}

function isSignedBy(issuer: JwtIssuer, jws: string): boolean {
  const decoder = new JwtDecoder();
  if (decoder.digest(jws) === null) return false;
  const decoded = decoder.decode(jws);
  const parsed = parseStrictJson(decoded.header);
  if (!parsed.ok || !isJsonObject(parsed.value)) return false;
  const header = readJwtHeader(parsed.value, issuer);
  if (!header.ok) return false;
  const { kid, algorithm } = header.value;
  return issuer.keys
    .find(kid, algorithm)
    .some(({ key }) => verifySignature(algorithm, key, decoded.signingInput, decoded.signature));
}

describe.skipIf(!hasCorpus(FILE))(`the signatures of Wycheproof (${NO_CORPUS})`, () => {
  const vectors = hasCorpus(FILE) ? readCorpus<Vector>(FILE) : [];
  const compact = vectors.map((vector) => ({ ...vector, jws: vector.jws ?? JSON.stringify(vector.jws_json ?? '') }));
  const invalid = compact.filter(({ wycheproof_result: result }) => result === 'invalid');
  const valid = compact.filter(({ wycheproof_result: result }) => result === 'valid');

  it('are all there', () => {
    expect([vectors.length, invalid.length, valid.length]).toEqual([476, 421, 55]);
  });

  it('that are invalid are refused, but for two with nothing wrong in them', () => {
    const taken = invalid.filter((vector) => isSignedBy(issuerFor(vector), vector.jws)).map(({ id }) => id);
    expect(taken).toEqual(NOTHING_WRONG);
  });

  it('that are valid verify, but for four whose key is for another algorithm and two that are no base64url', () => {
    const refused = valid.filter((vector) => !isSignedBy(issuerFor(vector), vector.jws)).map(({ id }) => id);
    expect(refused).toEqual([...KEY_OF_ANOTHER_ALGORITHM, ...FOREIGN_CHARACTER]);
  });

  it('are no tokens: each is 401 as a whole, valid or not', async () => {
    const answers = await Promise.all(
      compact.map(async (vector) => {
        const kinds = [createJwtTokens([issuerFor(vector)])];
        const store = { find: () => null };
        const names = { prefix: 'pct', environment: 'test', pepper: null };
        const authenticator = createAuthenticator({ ...names, store, foreign: { kinds, revocations: null } });
        const outcome = await authenticator.authenticate(vector.jws, NOW);
        return outcome.ok ? 'ok' : outcome.reason;
      }),
    );
    expect(new Set(answers)).toEqual(new Set(['token_malformed']));
  });
});
