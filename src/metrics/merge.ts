import type { Family, Sample } from './exposition.ts';

/** The metrics of one process at one moment. */
export interface Snapshot {
  /** When this process last counted what is in the store, milliseconds since the epoch. */
  readonly countedAt: number;
  readonly families: readonly Family[];
}

/**
 * The metrics of several processes that are one gateway, as if one process had written them: the same families with the same
 * labels. Counters and histograms are added up; for a gauge its family says what is true of all together.
 */
export function mergeSnapshots(snapshots: readonly Snapshot[]): Family[] {
  const named = new Map<string, { readonly family: Family; readonly countedAt: number }[]>();
  for (const { countedAt, families } of snapshots) {
    for (const family of families) named.set(family.name, [...(named.get(family.name) ?? []), { family, countedAt }]);
  }
  return [...named.values()].flatMap((parts) => {
    const [first, ...others] = parts;
    if (first === undefined) return [];
    const { family } = others.reduce((newest, part) => (part.countedAt > newest.countedAt ? part : newest), first);
    if (family.across === 'newest') return [family];
    return [
      {
        ...family,
        samples: mergeSamples(
          parts.map((part) => part.family.samples),
          combine(family),
        ),
      },
    ];
  });
}

/**
 * What of a process that is gone still belongs to the gateway: what it has counted. Without it the sums would fall, which
 * a collector takes for a restart of the whole.
 */
export function remains(snapshots: readonly Snapshot[]): Snapshot {
  const counted = mergeSnapshots(snapshots).filter(({ type }) => type === 'counter' || type === 'histogram');
  return { countedAt: Number.NEGATIVE_INFINITY, families: counted };
}

function combine({ type, across }: Family): (a: number, b: number) => number {
  if (type === 'info' || across === 'max') return Math.max;
  return across === 'min' ? Math.min : (a, b) => a + b;
}

function mergeSamples(
  parts: readonly (readonly Sample[])[],
  combined: (a: number, b: number) => number,
): readonly Sample[] {
  const merged = new Map<string, Sample>();
  for (const sample of parts.flat()) {
    const key = JSON.stringify([sample.suffix, ...sample.labels.map(([name, value]) => [name, String(value)])]);
    const known = merged.get(key);
    merged.set(key, known === undefined ? sample : { ...sample, value: combined(known.value, sample.value) });
  }
  return [...merged.values()];
}
