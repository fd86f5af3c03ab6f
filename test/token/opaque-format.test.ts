import { createHash, createHmac } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { crc32Base62 } from '../../src/base/encoding.ts';
import { digestToken, mintToken, parseToken, remintToken, resemblesToken } from '../../src/token/opaque-format.ts';

const names = { prefix: 'pct', environment: 'prod' };
const malformed = { ok: false, error: 'malformed' };

/** A token with a right checksum around any body. */
const sealed = (head: string): string => head + crc32Base62(head);
const BODY = `abcdefABCDEF${'s'.repeat(43)}`;

describe('a minted token', () => {
  it('has the shape of its format and reads back', () => {
    const { id, token } = mintToken(names);
    expect(token).toMatch(/^pct_prod_[0-9A-Za-z]{61}$/);
    expect(token.slice(9, 21)).toBe(id);
    expect(token.slice(-6)).toBe(crc32Base62(token.slice(0, -6)));
    expect(parseToken(token)).toEqual({ ok: true, value: { ...names, id } });
  });

  it('keeps its id and changes its secret when minted again', () => {
    const first = mintToken(names);
    const second = remintToken(first.id, names);
    expect(second.id).toBe(first.id);
    expect(second.token.slice(0, 21)).toBe(first.token.slice(0, 21));
    expect(second.token.slice(21, 64)).not.toBe(first.token.slice(21, 64));
  });

  it('never repeats', () => {
    const tokens = Array.from({ length: 500 }, () => mintToken(names));
    expect(new Set(tokens.map(({ id }) => id)).size).toBe(500);
    expect(new Set(tokens.map(({ token }) => token.slice(21, 64))).size).toBe(500);
  });

  it('cannot be made from names that could not be read back', () => {
    for (const wrong of [
      { prefix: 'pct', environment: 'a_b' },
      { prefix: '', environment: 'prod' },
      { prefix: 'pct', environment: '' },
      { prefix: 'p.ct', environment: 'prod' },
      { prefix: 'p'.repeat(200), environment: 'prod' },
    ]) {
      expect(() => mintToken(wrong)).toThrow(RangeError);
    }
    expect(() => remintToken('short', names)).toThrow(RangeError);
  });
});

describe('parseToken', () => {
  it('takes a hyphen in the environment and an underscore in the prefix', () => {
    expect(parseToken(sealed(`my_app_eu-west-1_${BODY}`))).toEqual({
      ok: true,
      value: { prefix: 'my_app', environment: 'eu-west-1', id: 'abcdefABCDEF' },
    });
  });

  it.each([
    ['nothing', ''],
    ['no environment', sealed(`pct_${BODY}`)],
    ['an empty environment', sealed(`pct__${BODY}`)],
    ['an empty prefix', sealed(`_prod_${BODY}`)],
    ['no separators', sealed(`pctprod${BODY}`)],
    ['a short secret', sealed(`pct_prod_abcdefABCDEF${'s'.repeat(42)}`)],
    ['a character outside of base62 in the body', sealed(`pct_prod_abcdefABCDE-${'s'.repeat(43)}`)],
    ['a character outside of the prefix alphabet', sealed(`p.t_prod_${BODY}`)],
    ['a letter outside of ASCII', `p\u00e9t_prod_${BODY}000000`],
    ['a very long head', sealed(`${'p'.repeat(200)}_prod_${BODY}`)],
    ['a wrong checksum', `pct_prod_${BODY}000000`],
    ['white space around it', ` ${sealed(`pct_prod_${BODY}`)}`],
    ['a line end after it', `${sealed(`pct_prod_${BODY}`)}\n`],
  ])('refuses %s', (_, text) => {
    expect(parseToken(text)).toEqual(malformed);
  });
});

describe('digestToken', () => {
  it('is SHA-256 of the whole text, or HMAC-SHA-256 with the pepper, in hex', () => {
    const { token } = mintToken(names);
    const pepper = Buffer.from('pepper of this installation');
    expect(digestToken(token, null)).toBe(createHash('sha256').update(token).digest('hex'));
    expect(digestToken(token, pepper)).toBe(createHmac('sha256', pepper).update(token).digest('hex'));
  });
});

describe('resemblesToken', () => {
  it('is true for what begins like a token and could hold a secret, valid or not', () => {
    const { token } = mintToken(names);
    expect(resemblesToken(token, 'pct')).toBe(true);
    expect(resemblesToken(`${token.slice(0, -3)}xxx`, 'pct')).toBe(true);
    expect(resemblesToken(token.slice(0, -1), 'pct')).toBe(true);
    expect(resemblesToken('pct_prod', 'pct')).toBe(false);
    expect(resemblesToken(token, 'pc')).toBe(false);
    expect(resemblesToken(`x${token}`, 'pct')).toBe(false);
    expect(resemblesToken('', 'pct')).toBe(false);
  });
});
