import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { digestToken, mintToken, parseToken } from '../../src/token/opaque-format.ts';

const prefix = fc.stringMatching(/^[a-z][a-z0-9]{0,15}$/);
const environment = fc.stringMatching(/^[a-z][a-z0-9-]{0,31}$/);

describe('the opaque token format', { timeout: 60_000 }, () => {
  it('reads back whatever was minted', () => {
    fc.assert(
      fc.property(prefix, environment, (p, e) => {
        const { id, token } = mintToken({ prefix: p, environment: e });
        expect(parseToken(token)).toEqual({ ok: true, value: { prefix: p, environment: e, id } });
      }),
    );
  });

  it('is total: any text is read or refused', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.string({ minLength: 60, maxLength: 90 })), (text) => {
        expect(['ok', 'malformed']).toContain(((outcome) => (outcome.ok ? 'ok' : outcome.error))(parseToken(text)));
      }),
    );
  });

  it('notices every mistyped character, and every two that were swapped', () => {
    const { token } = mintToken({ prefix: 'pct', environment: 'prod' });
    fc.assert(
      fc.property(fc.nat(token.length - 1), fc.stringMatching(/^[0-9A-Za-z_-]$/), (at, character) => {
        const mistyped = token.slice(0, at) + character + token.slice(at + 1);
        expect(parseToken(mistyped).ok).toBe(mistyped === token);
        const swapped = token.slice(0, at) + (token[at + 1] ?? '') + (token[at] ?? '') + token.slice(at + 2);
        expect(parseToken(swapped).ok).toBe(swapped === token);
      }),
      { numRuns: 2000 },
    );
  });

  it('has one spelling for each token: other texts have other digests', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (pepper) => {
        const { token } = mintToken({ prefix: 'pct', environment: 'prod' });
        for (const other of [token.toLowerCase(), token.toUpperCase(), `${token}=`, ` ${token}`]) {
          if (other === token) continue;
          expect(parseToken(other).ok).toBe(false);
          expect(digestToken(other, pepper)).not.toBe(digestToken(token, pepper));
        }
      }),
    );
  });
});
