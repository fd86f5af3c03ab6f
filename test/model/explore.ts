/** A transition system: what may happen next in any order, and what must never be. */
export interface Model<S> {
  readonly initial: S;
  /** Two states with the same key have the same future. */
  key(state: S): string;
  /** Every single step that may happen next. */
  steps(state: S): readonly Step<S>[];
  /** What is wrong with this state; null where nothing is. */
  violation(state: S): string | null;
}

export interface Step<S> {
  /** For people. */
  readonly label: string;
  readonly state: S;
}

export interface Exploration {
  /** Distinct states that were reached. */
  readonly states: number;
  /** Null: no reachable state is wrong. */
  readonly violation: {
    readonly what: string /** The steps that lead there; no shorter way exists. */;
    readonly trace: readonly string[];
  } | null;
}

/** Visits every reachable state in breadth, so the first violation found has the shortest trace. Deterministic. */
export function explore<S>(model: Model<S>): Exploration {
  const seen = new Set<string>([model.key(model.initial)]);
  const states: S[] = [model.initial];
  const parents: number[] = [-1];
  const labels: string[] = ['start'];
  for (let index = 0; index < states.length; index += 1) {
    const state = states[index] as S;
    const what = model.violation(state);
    if (what !== null) return { states: seen.size, violation: { what, trace: traceTo(index, parents, labels) } };
    for (const step of model.steps(state)) {
      const key = model.key(step.state);
      if (seen.has(key)) continue;
      seen.add(key);
      states.push(step.state);
      parents.push(index);
      labels.push(step.label);
    }
  }
  return { states: seen.size, violation: null };
}

function traceTo(last: number, parents: readonly number[], labels: readonly string[]): string[] {
  const trace: string[] = [];
  for (let index = last; index > 0; index = parents[index] ?? 0) trace.unshift(labels[index] ?? '');
  return trace;
}
