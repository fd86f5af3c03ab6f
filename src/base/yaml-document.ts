import { isMap, isNode, isPair, isScalar, isSeq, LineCounter, type Node, type ParsedNode, parseDocument } from 'yaml';
import { z } from 'zod';
import type { Diagnostic } from './diagnostic.ts';
import { didYouMean } from './nearest.ts';
import { err, ok, type Result } from './result.ts';

export type DocumentPath = readonly PropertyKey[];

/** Where in the file a value (or, with `key`, its key) stands. */
export type Locate = (path: DocumentPath, part?: 'value' | 'key') => { readonly line: number; readonly col: number };

export interface LocatedDocument<T> {
  readonly value: T;
  readonly file: string;
  readonly locate: Locate;
}

/**
 * Parses one YAML 1.2 document strictly (no duplicate keys, no aliases, no second document) and validates it, with
 * a place for every error. All errors come at once. Positions are taken from the YAML nodes, never from the JSON.
 */
export function parseYamlDocument<S extends z.ZodType>(
  text: string,
  file: string,
  schema: S,
): Result<LocatedDocument<z.output<S>>, readonly Diagnostic[]> {
  const lineCounter = new LineCounter();
  const document = parseDocument(text, { lineCounter, uniqueKeys: true, version: '1.2', merge: false, strict: true });
  const syntax = [...document.errors, ...document.warnings].map((error): Diagnostic => {
    const place = error.linePos?.[0] ?? { line: 1, col: 1 };
    return { severity: 'error', file, ...place, message: firstLine(error.message) };
  });
  if (syntax.length > 0) return err(syntax);
  const locate = locator(document.contents, lineCounter);
  let plain: unknown;
  try {
    plain = document.toJS({ maxAliasCount: 0 });
  } catch {
    return err([{ severity: 'error', file, line: 1, col: 1, message: 'YAML aliases are not supported here' }]);
  }
  const parsed = schema.safeParse(plain ?? {});
  if (parsed.success) return ok({ value: parsed.data, file, locate });
  return err(parsed.error.issues.flatMap((issue) => issueDiagnostics(issue, [], file, schema, locate)));
}

function firstLine(message: string): string {
  return message.split('\n')[0]?.replace(/ at line \d+, column \d+:?$/, '') ?? message;
}

function locator(root: ParsedNode | null, lineCounter: LineCounter): Locate {
  return (path, part = 'value') => {
    let node: Node | null = root;
    let key: Node | null = null;
    for (const step of path) {
      let next: Node | null = null;
      if (isMap(node)) {
        for (const pair of node.items) {
          if (isPair(pair) && isScalar(pair.key) && String(pair.key.value) === String(step)) {
            key = pair.key;
            next = isNode(pair.value) && pair.value.range ? pair.value : pair.key;
          }
        }
      } else if (isSeq(node)) {
        const item = node.items[Number(step)];
        next = isNode(item) ? item : null;
        key = next;
      }
      if (next === null) break;
      node = next;
    }
    const offset = (part === 'key' ? (key ?? node) : node)?.range?.[0] ?? 0;
    const place = lineCounter.linePos(offset);
    return { line: Math.max(1, place.line), col: Math.max(1, place.col) };
  };
}

function issueDiagnostics(
  issue: z.core.$ZodIssue,
  prefix: DocumentPath,
  file: string,
  schema: z.ZodType,
  locate: Locate,
): Diagnostic[] {
  const path = [...prefix, ...issue.path];
  const at = (where: DocumentPath, message: string, part: 'value' | 'key' = 'value'): Diagnostic => ({
    severity: 'error',
    file,
    ...locate(where, part),
    message,
  });
  if (issue.code === 'unrecognized_keys') {
    const known = knownKeys(schema, path);
    return issue.keys.map((key) =>
      at([...path, key], `unknown key ${JSON.stringify(key)}${within(path)}${didYouMean(key, known)}`, 'key'),
    );
  }
  if (issue.code === 'invalid_key') {
    const message = issue.issues[0]?.message ?? issue.message;
    return [at(path, `${JSON.stringify(String(path.at(-1) ?? ''))}: ${message}`, 'key')];
  }
  if (issue.code === 'invalid_union' && issue.errors.length > 0) {
    const depth = (issues: readonly z.core.$ZodIssue[]): number => Math.max(0, ...issues.map((i) => i.path.length));
    const [closest] = issue.errors.toSorted((a, b) => depth(b) - depth(a) || a.length - b.length);
    const shallow = issue.errors.every((issues) => depth(issues) === 0);
    const unknownKeys = closest?.every((inner) => inner.code === 'unrecognized_keys') === true;
    if (closest !== undefined && (!shallow || unknownKeys)) {
      return closest.flatMap((inner) => issueDiagnostics(inner, path, file, schema, locate));
    }
    const wanted = [...new Set(issue.errors.flatMap((issues) => issues.map((inner) => inner.message)))];
    return [at(path, `${named(path)}${wanted.join(', or ')}`)];
  }
  if (issue.code === 'invalid_type' && issue.input === undefined && issue.message.endsWith('received undefined')) {
    const name = String(path.at(-1) ?? 'document');
    return [at(path.slice(0, -1), `missing key ${JSON.stringify(name)}${within(path.slice(0, -1))}`)];
  }
  if (issue.code === 'invalid_value') {
    const values = issue.values.map((value) => JSON.stringify(value)).join(', ');
    return [at(path, `${named(path)}expected ${issue.values.length > 1 ? 'one of ' : ''}${values}`)];
  }
  return [at(path, `${named(path)}${issue.message.replace(/^Invalid input: /, '')}`)];
}

function named(path: DocumentPath): string {
  return path.length === 0 ? '' : `${dotted(path)}: `;
}

function within(path: DocumentPath): string {
  return path.length === 0 ? '' : ` in ${dotted(path)}`;
}

/** `rules[2].when.ip` */
export function dotted(path: DocumentPath): string {
  return path.reduce<string>(
    (text, step) =>
      typeof step === 'number' ? `${text}[${step}]` : text === '' ? String(step) : `${text}.${String(step)}`,
    '',
  );
}

/** The keys that the schema knows at `path`, through optionals, records, arrays and unions. */
function knownKeys(schema: z.ZodType, path: DocumentPath): string[] {
  let candidates: z.core.$ZodType[] = [schema];
  for (const step of path) candidates = candidates.flatMap(unwrap).flatMap((candidate) => child(candidate, step));
  return candidates
    .flatMap(unwrap)
    .flatMap((candidate) => (candidate instanceof z.ZodObject ? Object.keys(candidate.shape) : []));
}

function child(schema: z.core.$ZodType, step: PropertyKey): z.core.$ZodType[] {
  if (schema instanceof z.ZodObject) {
    const shape: Readonly<Record<string, z.core.$ZodType>> = schema.shape;
    const found = shape[String(step)];
    return found === undefined ? [] : [found];
  }
  if (schema instanceof z.ZodRecord) return [schema.valueType];
  if (schema instanceof z.ZodArray) return [schema.element];
  return [];
}

function unwrap(schema: z.core.$ZodType): z.core.$ZodType[] {
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodNullable || schema instanceof z.ZodDefault) {
    return unwrap(schema.def.innerType);
  }
  if (schema instanceof z.ZodPrefault) return unwrap(schema.def.innerType);
  if (schema instanceof z.ZodPipe) return unwrap(schema.def.in);
  if (schema instanceof z.ZodUnion) return schema.def.options.flatMap(unwrap);
  return [schema];
}
