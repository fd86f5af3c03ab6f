import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { DpopNonces } from '../../src/gateway/dpop-nonces.ts';
import { Fault } from '../../src/model/fault.ts';

const MINUTE = 60_000;
const NOW = 1_800_000_000_000 + 30_000;

describe('nonces of DPoP proofs', () => {
  const shared = randomBytes(32);
  const keys = { sharedKey: () => shared };

  it('are the same for every process on one store, and last at least a minute and at most two', async () => {
    const [one, other] = [new DpopNonces(keys, null), new DpopNonces(keys, null)];
    const nonce = await one.current(NOW);
    expect(await other.current(NOW + 20_000)).toBe(nonce);
    expect(await other.current(NOW + MINUTE)).not.toBe(nonce);
    const later = [0, 29_999, 30_001, 89_999, 90_001, 10 * MINUTE];
    expect(await Promise.all(later.map((ms) => other.judge(nonce, NOW + ms)))).toEqual([
      'current',
      'current',
      'old',
      'old',
      'bad',
      'bad',
    ]);
    // The clock of whoever gave it out may be ahead, though not by more.
    expect([await other.judge(nonce, NOW - MINUTE), await other.judge(nonce, NOW - 2 * MINUTE)]).toEqual([
      'current',
      'bad',
    ]);
  });

  it('cannot be made by anybody else: not for another time, not under another key or pepper', async () => {
    const nonces = new DpopNonces(keys, null);
    const nonce = await nonces.current(NOW);
    const next = Buffer.from(nonce, 'base64url');
    next.writeUInt32BE(next.readUInt32BE(0) + 1);
    const others = [
      next.toString('base64url'),
      `${nonce.slice(0, -1)}${nonce.endsWith('A') ? 'E' : 'A'}`,
      `${nonce}A`,
      nonce.slice(0, -1),
      '',
      'x'.repeat(5000),
      '\u{1F600}'.repeat(27),
      await new DpopNonces({ sharedKey: () => randomBytes(32) }, null).current(NOW),
      await new DpopNonces(keys, Buffer.from('pepper')).current(NOW),
    ];
    for (const other of others) expect([other, await nonces.judge(other, NOW)]).toEqual([other, 'bad']);
    expect(await nonces.judge(nonce, NOW)).toBe('current');
  });

  it('ask the store for their key once, and again after a failure', async () => {
    let asked = 0;
    let away = true;
    const nonces = new DpopNonces(
      {
        sharedKey: async () => {
          asked += 1;
          if (away) throw new Fault('store_unavailable', 'away');
          return shared;
        },
      },
      null,
    );
    await expect(nonces.current(NOW)).rejects.toMatchObject({ code: 'store_unavailable' });
    away = false;
    const all = await Promise.all(Array.from({ length: 20 }, () => nonces.current(NOW)));
    expect([new Set(all).size, asked]).toEqual([1, 2]);
    await nonces.judge(all[0] ?? '', NOW);
    expect(asked).toBe(2);
  });
});
