import { join } from 'node:path';
import type { TokenRecord } from '../../src/model/token-record.ts';
import { openEmbeddedStore } from '../../src/store/sqlite/embedded-store.ts';
import { digestToken, mintToken } from '../../src/token/opaque-format.ts';

const DAY_MS = 86_400_000;

/** Writes a token with a past (or a future) that the API would rightly refuse to make, straight into the store. */
export async function plantToken(
  folder: string,
  fields: Partial<TokenRecord> & { readonly environment?: string } = {},
): Promise<{ readonly id: string; readonly token: string }> {
  const environment = fields.environment ?? 'test';
  const { id, token } = mintToken({ prefix: 'pct', environment });
  const now = Date.now();
  const store = openEmbeddedStore({ path: join(folder, 'data') });
  try {
    await store.create({
      id,
      name: 'planted',
      owner: 'tests',
      class: 'service',
      environment,
      subject: null,
      scopes: ['orders:read'],
      roles: [],
      claims: {},
      ip: [],
      created_at: now - DAY_MS,
      created_by: 'tests',
      not_before: null,
      expires_at: now + DAY_MS,
      generation: 1,
      rotated_at: null,
      grace_until: null,
      rotate_after: null,
      revoked_at: null,
      revoked_by: null,
      revoke_reason: null,
      digest: digestToken(token, null),
      superseded: [],
      ...fields,
    });
  } finally {
    await store.close();
  }
  return { id, token };
}

/** A token that is well-formed and belongs to nobody. */
export function madeUpToken(environment = 'test'): string {
  return mintToken({ prefix: 'pct', environment }).token;
}
