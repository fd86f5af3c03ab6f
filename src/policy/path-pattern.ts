import { err, ok, type Result } from '../base/result.ts';

/** One segment of a rule's path. `text` is percent-decoded. */
export type PatternSegment =
  | { readonly kind: 'literal'; readonly text: string }
  | { readonly kind: 'name'; readonly name: string }
  | { readonly kind: 'rest'; readonly name: string };

export interface PathPattern {
  /** As it was written, without a trailing slash; the root is `/`. */
  readonly text: string;
  readonly segments: readonly PatternSegment[];
}

const PARAM_NAME = /^[A-Za-z_][A-Za-z0-9_-]*$/;

/** `/`, `/orders/{id}`, `/files/{path...}`. One trailing slash is dropped: matching ignores it. */
export function parsePathPattern(text: string): Result<PathPattern, string> {
  if (!text.startsWith('/'))
    return err(`a path starts with "/", got ${JSON.stringify(text)}; did you mean "/${text}"?`);
  const trimmed = text.length > 1 && text.endsWith('/') ? text.slice(0, -1) : text;
  const written = trimmed === '/' ? [] : trimmed.slice(1).split('/');
  const segments: PatternSegment[] = [];
  const names = new Set<string>();
  for (const [index, raw] of written.entries()) {
    const segment = parseSegment(raw);
    if (!segment.ok) return err(`${JSON.stringify(text)}: ${segment.error}`);
    if (segment.value.kind !== 'literal') {
      if (names.has(segment.value.name))
        return err(`${JSON.stringify(text)}: parameter "{${segment.value.name}}" stands there twice`);
      names.add(segment.value.name);
    }
    if (segment.value.kind === 'rest' && index < written.length - 1) {
      return err(`${JSON.stringify(text)}: "${raw}" takes the rest of the path, so nothing can follow it`);
    }
    segments.push(segment.value);
  }
  return ok({ text: trimmed, segments });
}

/** `/orders` in front of every path of an API: literal segments only. The empty string for `/`. */
export function parseBase(text: string): Result<string, string> {
  const pattern = parsePathPattern(text);
  if (!pattern.ok) return pattern;
  const parameter = pattern.value.segments.find((segment) => segment.kind !== 'literal');
  if (parameter !== undefined) return err(`a base holds literal segments only, got ${JSON.stringify(text)}`);
  return ok(pattern.value.text === '/' ? '' : pattern.value.text);
}

/** The names of a pattern's parameters, from the left. */
export function parameterNames(pattern: PathPattern): string[] {
  return pattern.segments.flatMap((segment) => (segment.kind === 'literal' ? [] : [segment.name]));
}

/** Equal for patterns that match the same paths: parameters lose their names. */
export function patternKey(segments: readonly PatternSegment[]): string {
  return segments.map((segment) => `/${segmentKey(segment)}`).join('');
}

/** Whether some path matches both. */
export function overlap(a: readonly PatternSegment[], b: readonly PatternSegment[]): boolean {
  const [first, ...others] = a;
  const [second, ...more] = b;
  if (first === undefined || second === undefined) return first === second;
  if (first.kind === 'rest' || second.kind === 'rest') return true;
  if (first.kind === 'literal' && second.kind === 'literal' && first.text !== second.text) return false;
  return overlap(others, more);
}

/** Whether every path of `narrower` matches `wider`. */
export function covers(wider: readonly PatternSegment[], narrower: readonly PatternSegment[]): boolean {
  const [first, ...others] = wider;
  const [second, ...more] = narrower;
  if (first === undefined || second === undefined) return first === second;
  if (first.kind === 'rest') return true;
  if (second.kind === 'rest') return false;
  if (first.kind === 'literal' && (second.kind !== 'literal' || first.text !== second.text)) return false;
  return covers(others, more);
}

function segmentKey(segment: PatternSegment): string {
  if (segment.kind === 'literal') return `=${segment.text}`;
  return segment.kind === 'name' ? '{}' : '{...}';
}

function parseSegment(raw: string): Result<PatternSegment, string> {
  if (raw === '') return err('an empty segment; slashes are merged before matching');
  const wrong = (what: string): Result<never, string> => err(`segment "${raw}" ${what}`);
  if (raw.startsWith('{') && raw.endsWith('}')) {
    const inner = raw.slice(1, -1);
    const rest = inner.endsWith('...');
    const name = rest ? inner.slice(0, -3) : inner;
    if (PARAM_NAME.test(name)) return ok({ kind: rest ? 'rest' : 'name', name });
    const plain = /[A-Za-z_][A-Za-z0-9_-]*/.exec(inner)?.[0] ?? 'name';
    const meant = /[.*+]/.test(inner) ? `{${plain}...}` : `{${plain}}`;
    return wrong(`is not a parameter such as {id} or {rest...}; did you mean "${meant}"?`);
  }
  if (/[{}]/.test(raw)) return wrong('mixes text and a parameter; a parameter is a whole segment');
  if (raw.includes('*')) {
    return wrong('is no pattern; write {name} for one segment or {name...} for the rest (a literal asterisk is %2A)');
  }
  if (raw.startsWith(':') && PARAM_NAME.test(raw.slice(1))) {
    return wrong(`is no parameter; did you mean "{${raw.slice(1)}}"? (a literal colon is %3A)`);
  }
  if (/[?#]/.test(raw)) return wrong('holds a query or fragment, which is no part of a path');
  if (/[\s"<>\\^`|\x00-\x1f\x7f]/.test(raw))
    return wrong('holds a character that no path has; write it percent-encoded');
  const text = decodeSegment(raw);
  if (text === null) return wrong('has bad percent-encoding');
  if (/[/\\;\x00-\x1f\x7f]/.test(text)) {
    return wrong('holds a slash, backslash, semicolon or control character, which is never matched');
  }
  if (text === '.' || text === '..') return wrong('is a dot segment; those are resolved before matching');
  return ok({ kind: 'literal', text });
}

/** Percent-decodes one segment as UTF-8; null for what is none. */
export function decodeSegment(raw: string): string | null {
  if (!raw.includes('%')) return raw;
  try {
    return decodeURIComponent(raw);
  } catch {
    return null;
  }
}
