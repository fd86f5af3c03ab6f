import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { jwks, jwt, type Members, type SigningKey, signingKey } from '../token/jwt-fixture.ts';

/** An issuer whose keys stand in a file, and the tokens that it makes. */
export class TestIssuer {
  readonly name: string;
  readonly folder: string;
  readonly #key: SigningKey;
  #made = 0;

  private constructor(name: string, folder: string, key: SigningKey) {
    this.name = name;
    this.folder = folder;
    this.#key = key;
  }

  static async create(name: string): Promise<TestIssuer> {
    const folder = await mkdtemp(join(tmpdir(), 'portcullis-issuer-'));
    const key = signingKey('EdDSA');
    await writeFile(join(folder, 'jwks.json'), jwks(key));
    return new TestIssuer(name, folder, key);
  }

  /** Its entry in `issuers`. */
  get yaml(): string {
    return `{ issuer: "${this.name}", audience: "https://api.test", jwks_file: "${join(this.folder, 'jwks.json')}" }`;
  }

  /** How many tokens it has made. */
  get made(): number {
    return this.#made;
  }

  /** A good token of its own for ten minutes with the scope orders:read, unless the claims say otherwise. */
  token(claims: Members = {}): string {
    this.#made += 1;
    const now = Math.floor(Date.now() / 1000);
    const own = {
      iss: this.name,
      aud: 'https://api.test',
      sub: 'user-1',
      jti: `id-${this.#made}`,
      scope: 'orders:read',
    };
    return jwt(this.#key, { ...own, iat: now, exp: now + 600, ...claims });
  }

  async close(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }
}
