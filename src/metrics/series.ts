import type { Family, Sample } from './exposition.ts';
import type { FamilyDefinition } from './families.ts';

/** A number that a hot path adds to: the holder keeps the cell and does no look-up at all. */
export interface Cell {
  value: number;
}

/** A counter or gauge: one cell per combination of label values, found label by label without building a key. */
export class ScalarFamily {
  readonly #definition: FamilyDefinition;
  #root = new LabelNode<Cell>();

  constructor(definition: FamilyDefinition) {
    this.#definition = definition;
  }

  /** `values` in the order of the definition's labels. */
  cell(...values: readonly string[]): Cell {
    let node = this.#root;
    for (const value of values) node = node.child(value);
    return cellOf(node);
  }

  /** For the two families of the hot path: the same without the list. */
  cell2(first: string, second: string): Cell {
    return cellOf(this.#root.child(first).child(second));
  }

  cell4(first: string, second: string, third: string, fourth: string): Cell {
    return cellOf(this.#root.child(first).child(second).child(third).child(fourth));
  }

  /** Forgets every series, for a gauge that is set as a whole. */
  clear(): void {
    this.#root = new LabelNode<Cell>();
  }

  collect(): Family {
    const { name, help, type } = this.#definition;
    const across = this.#definition.type === 'gauge' ? { across: this.#definition.across } : {};
    const samples = collectNodes(this.#root, this.#definition.labels, (cell, labels) => [
      { suffix: '', labels, value: cell.value },
    ]);
    return { name, help, type, ...across, samples };
  }
}

/** A histogram with one label or none. */
export class HistogramFamily {
  readonly #definition: FamilyDefinition;
  readonly #root = new LabelNode<Histogram>();

  constructor(definition: FamilyDefinition) {
    this.#definition = definition;
    if (definition.labels.length === 0) this.series('');
  }

  series(label: string): Histogram {
    const node = this.#definition.labels.length === 0 ? this.#root : this.#root.child(label);
    node.content ??= new Histogram(bucketsOf(this.#definition));
    return node.content;
  }

  collect(): Family {
    const { name, help, type, labels } = this.#definition;
    return {
      name,
      help,
      type,
      samples: collectNodes(this.#root, labels, (histogram, pairs) => histogram.samples(pairs)),
    };
  }
}

function bucketsOf(definition: FamilyDefinition): readonly number[] {
  return definition.type === 'gauge' ? [] : (definition.buckets ?? []);
}

export class Histogram {
  readonly #bounds: readonly number[];
  /** Per bucket, not cumulative; the last is what lies beyond every bound. */
  readonly #counts: Float64Array;
  #sum = 0;

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.#counts = new Float64Array(bounds.length + 1);
  }

  /** A value that is no finite number is not counted; one below zero, from a clock that stepped, counts as zero. */
  observe(value: number): void {
    if (!Number.isFinite(value)) return;
    const observed = Math.max(0, value);
    const bounds = this.#bounds;
    let index = 0;
    while (index < bounds.length && observed > (bounds[index] ?? 0)) index += 1;
    this.#counts[index] = (this.#counts[index] ?? 0) + 1;
    this.#sum += observed;
  }

  samples(labels: readonly Label[]): Sample[] {
    let count = 0;
    const samples: Sample[] = [...this.#counts].map((inBucket, index) => {
      count += inBucket;
      const bound = this.#bounds[index] ?? Number.POSITIVE_INFINITY;
      return { suffix: '_bucket', labels: [...labels, ['le', bound]], value: count };
    });
    samples.push({ suffix: '_sum', labels, value: this.#sum }, { suffix: '_count', labels, value: count });
    return samples;
  }
}

type Label = readonly [name: string, value: string | number];

class LabelNode<Content> {
  readonly children = new Map<string, LabelNode<Content>>();
  content: Content | null = null;

  child(value: string): LabelNode<Content> {
    const known = this.children.get(value);
    if (known !== undefined) return known;
    const made = new LabelNode<Content>();
    this.children.set(value, made);
    return made;
  }
}

function cellOf(node: LabelNode<Cell>): Cell {
  node.content ??= { value: 0 };
  return node.content;
}

function collectNodes<Content>(
  node: LabelNode<Content>,
  names: readonly string[],
  sample: (content: Content, labels: readonly Label[]) => readonly Sample[],
  labels: readonly Label[] = [],
): Sample[] {
  const samples = node.content === null ? [] : [...sample(node.content, labels)];
  const name = names[labels.length];
  if (name === undefined) return samples;
  for (const [value, child] of node.children)
    samples.push(...collectNodes(child, names, sample, [...labels, [name, value]]));
  return samples;
}
