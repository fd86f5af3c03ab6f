import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import { sha256 } from './encoding.ts';
import { err, ok, type Result } from './result.ts';

/** What others verify with (RFC 8037 §2), as it is published. */
export interface PublishedKey {
  readonly kty: 'OKP';
  readonly crv: 'Ed25519';
  readonly x: string;
  /** RFC 7638 thumbprint, base64url: the same key has the same name wherever it is read. */
  readonly kid: string;
  readonly alg: 'EdDSA';
  readonly use: 'sig';
}

export interface SigningKey {
  readonly privateKey: KeyObject;
  readonly published: PublishedKey;
}

/** Keys of one file: the one in use, those before and after it, and room to spare. */
const MOST_KEYS = 8;

const PEM_BLOCK = /-----BEGIN ([A-Z0-9 ]{1,40})-----[\s\S]*?-----END \1-----/g;

/** How such a key is made, for whoever has none. */
export const MAKE_A_KEY = 'openssl genpkey -algorithm ed25519';

/**
 * The Ed25519 private keys of a text, in its order: PEM blocks (PKCS #8), one JWK, or a JWK Set. An error never repeats any
 * of the text.
 */
export function parseSigningKeys(text: string): Result<readonly SigningKey[], string> {
  const read = text.trimStart().startsWith('{') ? readJwks(text) : readPem(text);
  if (!read.ok) return read;
  const keys = read.value;
  if (keys.length === 0) return err(`holds no private key; make one with: ${MAKE_A_KEY}`);
  if (keys.length > MOST_KEYS) return err(`holds ${keys.length} keys; at most ${MOST_KEYS} are taken`);
  if (new Set(keys.map(({ published }) => published.kid)).size < keys.length) return err('holds the same key twice');
  return read;
}

function readPem(text: string): Result<readonly SigningKey[], string> {
  const keys: SigningKey[] = [];
  for (const [block, label = ''] of text.matchAll(PEM_BLOCK)) {
    const place = `key ${keys.length + 1}`;
    if (label === 'ENCRYPTED PRIVATE KEY') return err(`${place} has a passphrase; one without is needed`);
    if (label !== 'PRIVATE KEY') return err(`${place} is a ${label}; a PRIVATE KEY (PKCS #8) is needed: ${MAKE_A_KEY}`);
    const key = signingKey(block, place);
    if (!key.ok) return key;
    keys.push(key.value);
  }
  // A block that was cut off would otherwise be passed over without a word, and its key with it.
  if (text.split('-----BEGIN ').length - 1 !== keys.length) return err('holds a key that is not whole');
  return ok(keys);
}

function readJwks(text: string): Result<readonly SigningKey[], string> {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    return err('begins like a JWK, but is not JSON');
  }
  const set = isObject(document) && Array.isArray(document['keys']) ? document['keys'] : [document];
  const keys: SigningKey[] = [];
  for (const [index, jwk] of set.entries()) {
    const place = `key ${index + 1}`;
    const { kty, crv, x, d } = isObject(jwk) ? jwk : {};
    if (kty !== 'OKP' || crv !== 'Ed25519') return err(`${place} is not an Ed25519 key (kty OKP, crv Ed25519)`);
    if (typeof x !== 'string' || typeof d !== 'string') return err(`${place} needs both x and d`);
    const key = signingKey({ kty, crv, x, d }, place);
    if (!key.ok) return key;
    if (key.value.published.x !== x) return err(`x of ${place} does not belong to its d`);
    keys.push(key.value);
  }
  return ok(keys);
}

function signingKey(source: string | Readonly<Record<string, string>>, place: string): Result<SigningKey, string> {
  let privateKey: KeyObject;
  let x: string | undefined;
  try {
    privateKey =
      typeof source === 'string' ? createPrivateKey(source) : createPrivateKey({ key: source, format: 'jwk' });
    x = createPublicKey(privateKey).export({ format: 'jwk' }).x;
  } catch {
    return err(`${place} is not a valid private key`);
  }
  const type = privateKey.asymmetricKeyType;
  if (type !== 'ed25519' || x === undefined) {
    return err(`${place} is of type ${type}; Ed25519 is needed: ${MAKE_A_KEY}`);
  }
  const kid = sha256(`{"crv":"Ed25519","kty":"OKP","x":"${x}"}`).toString('base64url');
  return ok({ privateKey, published: { kty: 'OKP', crv: 'Ed25519', x, kid, alg: 'EdDSA', use: 'sig' } });
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
