import type { z } from 'zod';

type Path = readonly PropertyKey[];

/**
 * A plain value from which wrong parts are taken out, round by round, while every remaining part still knows where it
 * stood in the original: an array that lost an element has other indices than the file.
 */
export class Salvage {
  readonly #original: unknown;
  /** In the original's coordinates. */
  readonly #removed: Path[] = [];
  /** Of each array in `value`: the original index of each element. */
  #origins = new WeakMap<object, readonly number[]>();
  #value: unknown;

  readonly #standIns: ReadonlyMap<string, unknown>;

  /** `standIns`: what takes the place of a top-level key that is missing or wrong. */
  constructor(original: unknown, standIns: ReadonlyMap<string, unknown>) {
    this.#original = original;
    this.#standIns = standIns;
    this.#value = original;
  }

  get value(): unknown {
    return this.#value;
  }

  /** The place in the original of a path into `value`. */
  originalPath(path: Path): Path {
    let value = this.#value;
    return path.map((step) => {
      if (typeof value !== 'object' || value === null) return step;
      const container = value;
      value = Object.hasOwn(container, step) ? Reflect.get(container, step) : undefined;
      return this.#origins.get(container)?.[Number(step)] ?? step;
    });
  }

  /** Whether something at or below a path of the original has been taken out. */
  touched(path: Path): boolean {
    return this.#removed.some((gone) => startsWith(gone, path));
  }

  /** Takes out what the issues point at. False when that would be everything, or nothing more. */
  remove(issues: readonly z.core.$ZodIssue[]): boolean {
    const before = this.#removed.length;
    for (const issue of issues) {
      for (const path of this.#targets(issue)) {
        if (path.length === 0) return false;
        if (!this.#removed.some((gone) => startsWith(path, gone))) this.#removed.push(path);
      }
    }
    if (this.#removed.length === before) return false;
    this.#origins = new WeakMap();
    this.#value = this.#prune(this.#original, []);
    return true;
  }

  #targets(issue: z.core.$ZodIssue): Path[] {
    if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => this.originalPath([...issue.path, key]));
    const meant = issue.code === 'invalid_union' ? meantBranch(issue) : null;
    if (meant !== null) {
      return meant.flatMap((inner) => this.#targets({ ...inner, path: [...issue.path, ...inner.path] }));
    }
    let value = this.#value;
    for (const [depth, step] of issue.path.entries()) {
      // A key that is missing takes its container with it.
      if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) {
        const standIn = depth === 0 && this.#standIns.has(String(step));
        return [standIn ? [step] : this.originalPath(issue.path.slice(0, depth))];
      }
      value = Reflect.get(value, step);
    }
    return [this.originalPath(issue.path)];
  }

  #prune(value: unknown, path: Path): unknown {
    if (typeof value !== 'object' || value === null) return value;
    const gone = (step: PropertyKey): boolean =>
      this.#removed.some((target) => target.length === path.length + 1 && startsWith(target, [...path, step]));
    if (Array.isArray(value)) {
      const kept: unknown[] = [];
      const origins: number[] = [];
      for (const [index, element] of value.entries()) {
        if (gone(index)) continue;
        kept.push(this.#prune(element, [...path, index]));
        origins.push(index);
      }
      this.#origins.set(kept, origins);
      return kept;
    }
    const kept = Object.entries(value)
      .filter(([key]) => !gone(key))
      .map(([key, element]) => [key, this.#prune(element, [...path, key])]);
    const replaced = path.length === 0 ? [...this.#standIns].filter(([key]) => gone(key)) : [];
    return Object.fromEntries([...kept, ...replaced]);
  }
}

/**
 * Which alternative of a union was meant: the one whose type fits or that went wrong deepest. Null when that cannot be
 * told, and the value as a whole is what is wrong.
 */
export function meantBranch(issue: z.core.$ZodIssueInvalidUnion): readonly z.core.$ZodIssue[] | null {
  const depth = (issues: readonly z.core.$ZodIssue[]): number => Math.max(0, ...issues.map((i) => i.path.length));
  const fitting = issue.errors.filter((issues) => !issues.some(isMistyped));
  if (fitting.length === 1) return fitting[0] ?? null;
  const [closest] = fitting.toSorted((a, b) => depth(b) - depth(a) || a.length - b.length);
  return closest === undefined || depth(closest) === 0 ? null : closest;
}

function isMistyped(issue: z.core.$ZodIssue): boolean {
  if (issue.path.length > 0) return false;
  if (issue.code === 'invalid_type') return true;
  return issue.code === 'invalid_union' && issue.errors.every((issues) => issues.some(isMistyped));
}

function startsWith(path: Path, prefix: Path): boolean {
  return prefix.length <= path.length && prefix.every((step, index) => String(step) === String(path[index]));
}
