import { createHash, randomUUID } from 'node:crypto';
import { CompactSign, calculateJwkThumbprint, exportJWK, generateKeyPair, type JWK } from 'jose';

/** A client's key, and proofs made with it: right ones, and such as an attacker would make. */
export class ProofKey {
  readonly alg: string;
  readonly publicJwk: JWK;
  readonly privateKey: CryptoKey;
  readonly thumbprint: string;

  private constructor(alg: string, publicJwk: JWK, privateKey: CryptoKey, thumbprint: string) {
    this.alg = alg;
    this.publicJwk = publicJwk;
    this.privateKey = privateKey;
    this.thumbprint = thumbprint;
  }

  static async generate(alg = 'ES256'): Promise<ProofKey> {
    const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
    const jwk = await exportJWK(publicKey);
    return new ProofKey(alg, jwk, privateKey, await calculateJwkThumbprint(jwk));
  }

  async privateJwk(): Promise<JWK> {
    return await exportJWK(this.privateKey);
  }

  /** A proof for one request; members of header and claims can be replaced, and with `undefined` left out. */
  async proof(
    of: { readonly method?: string; readonly url: string; readonly token: string },
    change: {
      readonly header?: Record<string, unknown>;
      readonly claims?: Record<string, unknown>;
      /** Changes the text of the claims. */
      readonly text?: (claims: string) => string;
    } = {},
  ): Promise<string> {
    const claims: Record<string, unknown> = {
      jti: randomUUID(),
      htm: of.method ?? 'GET',
      htu: of.url,
      iat: Math.floor(Date.now() / 1000),
      ath: createHash('sha256').update(of.token).digest('base64url'),
      ...change.claims,
    };
    const header = { alg: this.alg, typ: 'dpop+jwt', jwk: this.publicJwk, ...change.header };
    const text = JSON.stringify(withoutUndefined(claims));
    return await new CompactSign(Buffer.from(change.text?.(text) ?? text))
      .setProtectedHeader({ ...withoutUndefined(header), alg: this.alg })
      .sign(this.privateKey);
  }
}

function withoutUndefined<T extends Record<string, unknown>>(members: T): T {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as T;
}

/** A JWS with whatever header and signature, as nobody's library would make it. */
export function forgedJws(header: object, claims: object, signature: string): string {
  const segment = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${segment(header)}.${segment(claims)}.${signature}`;
}
