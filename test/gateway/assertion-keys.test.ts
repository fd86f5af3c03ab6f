import { generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseSigningKeys, type SigningKey } from '../../src/base/signing-key.ts';
import { ASSERTION_SECONDS, AssertionKeys } from '../../src/gateway/assertion-keys.ts';

const LEAD = 900_000;
const MINUTE = 60_000;

function key(): SigningKey {
  const pem = String(generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }));
  const read = parseSigningKeys(pem);
  const [first] = read.ok ? read.value : [];
  if (first === undefined) throw new Error('no key');
  return first;
}

const pool = Array.from({ length: 6 }, key);
const [a, b, c] = pool as [SigningKey, SigningKey, SigningKey];
const nameOf = (wanted: SigningKey): string => 'abcdef'[pool.indexOf(wanted)] ?? '?';

class Ring {
  now = 0;
  readonly keys: AssertionKeys;
  constructor(given: readonly SigningKey[], leadMs = LEAD) {
    this.keys = new AssertionKeys(given, leadMs, { monotonic: () => this.now });
  }
  get signs(): string {
    return nameOf(this.keys.current());
  }
  get published(): string {
    const { keys } = JSON.parse(this.keys.keySet()) as { keys: { kid: string }[] };
    const names = keys
      .map(({ kid }) => pool.find(({ published }) => published.kid === kid))
      .filter((k) => k !== undefined);
    return names.map(nameOf).toSorted().join('');
  }
  get state(): string {
    return `${this.signs} of ${this.published}`;
  }
}

describe('the keys of assertions', () => {
  it('are published without their private half', () => {
    const text = new Ring([a]).keys.keySet();
    expect(JSON.parse(text)).toEqual({ keys: [a.published] });
    expect(text).not.toContain('"d"');
  });

  it('a new first key waits until everybody can know it, and the old one stays until nothing it signed is valid', () => {
    const ring = new Ring([a]);
    ring.now = 5;
    expect(ring.keys.replace([b])).toEqual({ ok: true, value: undefined });
    expect(ring.state).toBe('a of ab');
    ring.now = 4 + LEAD;
    expect(ring.state).toBe('a of ab');
    ring.now = 5 + LEAD;
    expect(ring.state).toBe('b of ab');
    ring.now = 5 + LEAD + LEAD + 2 * MINUTE;
    expect(ring.state).toBe('b of ab');
    ring.now += 1;
    expect(ring.state).toBe('b of b');
  });

  it('what was published for long enough signs as soon as it stands first', () => {
    const ring = new Ring([a]);
    ring.keys.replace([a, b]);
    ring.now = LEAD;
    expect(ring.state).toBe('a of ab');
    ring.keys.replace([b, a]);
    expect(ring.state).toBe('b of ab');
  });

  it('a key that was taken away stops signing where another one is known', () => {
    const ring = new Ring([a, b]);
    ring.keys.replace([c, b]);
    expect(ring.state).toBe('b of abc');
  });

  it('a change that is taken back changes nothing', () => {
    const ring = new Ring([a]);
    ring.keys.replace([b]);
    ring.now = 10;
    ring.keys.replace([a]);
    ring.now = LEAD + 10 + 2 * MINUTE;
    expect(ring.state).toBe('a of ab');
    ring.now += 1;
    expect(ring.state).toBe('a of a');
  });

  it('without a lead the new key signs at once, and nobody is told to keep the set', () => {
    const ring = new Ring([a], 0);
    ring.keys.replace([b]);
    expect([ring.state, ring.keys.maxAgeSeconds]).toEqual(['b of ab', 0]);
    expect(new Ring([a], LEAD).keys.maxAgeSeconds).toBe(300);
    expect(new Ring([a], MINUTE).keys.maxAgeSeconds).toBe(30);
  });

  it('never publishes more than a bound, whatever the file does', () => {
    const ring = new Ring([a]);
    const results = Array.from({ length: 20 }, () => ring.keys.replace([key()]).ok);
    expect(results.filter((taken) => taken).length).toBe(15);
    expect((JSON.parse(ring.keys.keySet()) as { keys: unknown[] }).keys.length).toBe(16);
    expect(ring.signs).toBe('a');
  });

  it('law: whoever keeps the set for the lead at most can verify all that is signed, for as long as it is valid', () => {
    const steps = fc.array(
      fc.record({
        waitMs: fc.oneof(fc.integer({ min: 0, max: 2 * LEAD }), fc.constantFrom(0, LEAD, LEAD - 1, 60_000)),
        given: fc.uniqueArray(fc.integer({ min: 0, max: 5 }), { minLength: 1, maxLength: 3 }),
      }),
      { maxLength: 8 },
    );
    fc.assert(
      fc.property(steps, fc.integer({ min: 0, max: LEAD }), (changes, ageMs) => {
        const ring = new Ring([a]);
        const history: { readonly at: number; readonly published: string; readonly signs: string }[] = [];
        const note = (): void => {
          history.push({ at: ring.now, signs: ring.signs, published: ring.published });
        };
        note();
        for (const { waitMs, given } of changes) {
          // Looked at on the way, as traffic does.
          for (const part of [waitMs / 2, waitMs / 2]) {
            ring.now += part;
            note();
          }
          ring.keys.replace(given.flatMap((index) => pool[index] ?? []));
          note();
        }
        for (const { at, signs } of history) {
          // The set as somebody has it who fetched it `ageMs` before the signature, and at any time while it is valid.
          const before = history.filter((then) => then.at <= at - ageMs).at(-1);
          const during = history.filter((then) => then.at >= at && then.at <= at + ASSERTION_SECONDS * 1000);
          for (const set of [...(before === undefined ? [] : [before]), ...during]) {
            expect(set.published).toContain(signs);
          }
        }
      }),
      { numRuns: 100 },
    );
  });
});
