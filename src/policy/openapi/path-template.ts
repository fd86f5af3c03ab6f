import { err, ok, type Result } from '../../base/result.ts';
import { type PathPattern, parsePathPattern } from '../path-pattern.ts';

/** An OpenAPI path template as a path of a rule. */
export interface TranslatedPath {
  readonly pattern: PathPattern;
  /** In what the pattern matches more than the template says. */
  readonly wider: readonly string[];
}

/**
 * `/pets/{petId}` as it is; what a rule's path cannot say is widened: `/files/{name}.json` to `/files/{name}`, and a query or
 * fragment is left out. `{proxy+}` at the end, as AWS writes it, is the rest.
 */
export function translatePath(template: string, base: string): Result<TranslatedPath, string> {
  if (!template.startsWith('/')) return err(`a path starts with "/", got ${JSON.stringify(template)}`);
  const end = template.search(/[?#]/);
  const bare = end < 0 ? template : template.slice(0, end);
  const wider = end < 0 ? [] : [`${template.slice(end)} is no part of a path`];
  const names = new Set<string>();
  const raw = `${base}${bare}`.split('/').slice(1);
  const segments: string[] = [];
  for (const [index, segment] of raw.entries()) {
    // A trailing slash makes no difference, and neither do repeated ones.
    if (segment === '') continue;
    const translated = translateSegment(segment, index === raw.length - 1, names);
    if (!translated.ok) return err(`${JSON.stringify(template)}: ${translated.error}`);
    segments.push(translated.value.text);
    if (translated.value.wider !== null) wider.push(translated.value.wider);
  }
  const pattern = parsePathPattern(`/${segments.join('/')}`);
  return pattern.ok ? ok({ pattern: pattern.value, wider }) : pattern;
}

function translateSegment(
  segment: string,
  last: boolean,
  names: Set<string>,
): Result<{ readonly text: string; readonly wider: string | null }, string> {
  const parameters = [...segment.matchAll(/\{([^{}]*)\}/g)];
  const literal = segment.replaceAll(/\{[^{}]*\}/g, '');
  if (/[{}]/.test(literal)) return err(`segment ${JSON.stringify(segment)} has a brace without its other half`);
  const [first] = parameters;
  if (first === undefined) return ok({ text: encoded(segment), wider: null });
  const written = first[1] ?? '';
  const rest = last && parameters.length === 1 && literal === '' && /[+*]$/.test(written);
  const name = uniqueName(written, names);
  const text = rest ? `{${name}...}` : `{${name}}`;
  if (literal === '' && parameters.length === 1) return ok({ text, wider: null });
  return ok({ text, wider: `${JSON.stringify(segment)} is matched as one whole segment {${name}}` });
}

function uniqueName(written: string, names: Set<string>): string {
  const clean = written.replaceAll(/[^A-Za-z0-9_-]+/g, '_').replaceAll(/^_+|_+$/g, '');
  const plain = /^[A-Za-z_]/.test(clean) ? clean : `p${clean}`;
  let name = plain;
  for (let count = 2; names.has(name); count += 1) name = `${plain}${count}`;
  names.add(name);
  return name;
}

/** Characters that mean something in a rule's path, or that no path holds, as themselves. */
function encoded(segment: string): string {
  return segment.replaceAll(/[\s"<>\\^`|*]|^:/g, (character) => encodeURIComponent(character).replace(/^[*]$/, '%2A'));
}
