import { describe, expect, it } from 'vitest';
import { maskTokens } from '../../src/base/token-mask.ts';

const ID = 'A1b2C3d4E5f6';
const SECRET = `${'x9'.repeat(21)}Q`;
const TOKEN = `pct_prod_${ID}${SECRET}Ab12Cd`;
const JWT = 'eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJlc2lnbmF0dXJl';

describe('maskTokens', () => {
  it.each([
    ['a token', TOKEN, `pct_prod_${ID}…`],
    ['a token in a text', `refused "${TOKEN}" at /x`, `refused "pct_prod_${ID}…" at /x`],
    ['a token that was cut short', TOKEN.slice(0, -20), `pct_prod_${ID}…`],
    ['two tokens in a path', `/a/${TOKEN}/${TOKEN}`, `/a/pct_prod_${ID}…/pct_prod_${ID}…`],
    ['a token of an environment with a hyphen', TOKEN.replace('prod', 'eu-prod-2'), `pct_eu-prod-2_${ID}…`],
    ['a JWT', `got ${JWT}.`, 'got [jwt]'],
    ['a JWE', `${JWT}.a.b`, '[jwt]'],
    ['a quoted header', 'authorization: Bearer abcdefghijklmnop', 'authorization: Bearer [redacted]'],
    ['basic credentials', 'Basic dXNlcjpwYXNzd29yZA==', 'Basic [redacted]'],
  ])('masks %s', (_name, text, masked) => {
    expect(maskTokens(text)).toBe(masked);
  });

  it.each(['pct_prod_A1b2C3d4E5f6', 'a_b_c_d', 'Bearer realm="x"', 'eyJ', '01J9Z3K4M5N6P7Q8R9S0T1U2V3', ''])(
    'leaves %s as it is',
    (text) => {
      expect(maskTokens(text)).toBe(text);
    },
  );

  it('takes time in proportion to the length, whatever a client sends', () => {
    const started = performance.now();
    for (const piece of ['eyJ', 'eyJ.', '_a', '_a-', 'a', '_', 'Bearer ', 'Bearer  a']) {
      maskTokens(piece.repeat(Math.ceil(200_000 / piece.length)));
    }
    // A quadratic expression would take minutes here.
    expect(performance.now() - started).toBeLessThan(5000);
  });
});
