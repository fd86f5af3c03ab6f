import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RecentEntries } from '../../src/store/recent-entries.ts';

describe('recent entries', () => {
  it('are what was set last, as far as they are there; the last half of those that were used is', () => {
    const key = fc.integer({ min: 0, max: 30 }).map(String);
    const step = fc.oneof(
      fc.record({ kind: fc.constant('set' as const), key }),
      fc.record({ kind: fc.constant('get' as const), key }),
      fc.record({ kind: fc.constant('delete' as const), key }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const capacity = 10;
        const entries = new RecentEntries<number>(capacity);
        const model = new Map<string, number>();
        /** The last one last. */
        let used: string[] = [];
        for (const [at, { kind, key: name }] of steps.entries()) {
          if (kind === 'delete') {
            entries.delete(name);
            model.delete(name);
            used = used.filter((other) => other !== name);
          } else if (kind === 'set') {
            entries.set(name, at);
            model.set(name, at);
            used = [...used.filter((other) => other !== name), name];
          } else {
            const found = entries.get(name);
            if (found !== undefined) {
              expect(found).toBe(model.get(name));
              used = [...used.filter((other) => other !== name), name];
            } else expect(used.slice(-capacity / 2)).not.toContain(name);
          }
        }
      }),
    );
  });

  it('are never more than there is room for', () => {
    const entries = new RecentEntries<number>(100);
    for (let i = 0; i < 10_000; i += 1) entries.set(String(i), i);
    const left = Array.from({ length: 10_000 }, (_, i) => String(i)).filter((key) => entries.get(key) !== undefined);
    expect(left.length).toBeGreaterThanOrEqual(50);
    expect(left.length).toBeLessThanOrEqual(100);
    entries.clear();
    expect(left.every((key) => entries.get(key) === undefined)).toBe(true);
  });
});
