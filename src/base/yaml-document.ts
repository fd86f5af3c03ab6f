import {
  type Document,
  isMap,
  isNode,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type ParsedNode,
  parseDocument,
  visit,
  type YAMLError,
  type YAMLWarning,
} from 'yaml';
import { z } from 'zod';
import type { Diagnostic } from './diagnostic.ts';
import { didYouMean } from './nearest.ts';
import { err, ok, type Result } from './result.ts';
import { meantBranch, Salvage } from './salvage.ts';

export type DocumentPath = readonly PropertyKey[];

/** Where in the file a value (or, with `key`, its key) stands. */
export type Locate = (path: DocumentPath, part?: 'value' | 'key') => { readonly line: number; readonly col: number };

export interface LocatedDocument<T> {
  readonly value: T;
  readonly file: string;
  readonly locate: Locate;
  /** True where something at or below `path` was wrong and is left out of `value` (see `salvageYamlDocument`). */
  damaged(path: DocumentPath): boolean;
}

/** What could be read of a file, null where nothing could, and everything that is wrong with it. */
export interface SalvagedDocument<T> {
  readonly document: LocatedDocument<T> | null;
  readonly diagnostics: readonly Diagnostic[];
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
  const { document, diagnostics } = salvageYamlDocument(text, file, schema);
  return document !== null && diagnostics.length === 0 ? ok(document) : err(diagnostics);
}

/** Rounds of leaving out what is wrong; each takes away at least one more level, and no schema nests this deep. */
const SALVAGE_ROUNDS = 12;

/**
 * Like `parseYamlDocument`, but hands back what is left when everything wrong is taken out, so that a caller can go on
 * to checks that need the meaning (unknown names, duplicates) and report those errors in the same go. `standIns` take
 * the place of top-level keys that are missing or wrong, which would otherwise leave nothing; `damaged` tells of them.
 */
export function salvageYamlDocument<S extends z.ZodType>(
  text: string,
  file: string,
  schema: S,
  standIns: ReadonlyMap<string, unknown> = new Map(),
): SalvagedDocument<z.output<S>> {
  try {
    return readDocument(text, file, schema, standIns);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // else the stack, on thousands of brackets
    return {
      document: null,
      diagnostics: [{ severity: 'error', file, line: 1, col: 1, message: 'nested too deeply' }],
    };
  }
}

function readDocument<S extends z.ZodType>(
  text: string,
  file: string,
  schema: S,
  standIns: ReadonlyMap<string, unknown>,
): SalvagedDocument<z.output<S>> {
  const lineCounter = new LineCounter();
  const document = parseDocument(text, { lineCounter, uniqueKeys: true, version: '1.2', merge: false, strict: true });
  const syntax = syntaxErrors(document, file, lineCounter);
  if (syntax.length > 0) return { document: null, diagnostics: syntax };
  const locate = locator(document.contents, lineCounter);
  const plain: unknown = document.toJS({ maxAliasCount: 0 }) ?? {};
  const salvage = new Salvage(plain, standIns);
  const diagnostics: Diagnostic[] = [];
  for (let round = 0; round < SALVAGE_ROUNDS; round += 1) {
    const parsed = schema.safeParse(salvage.value);
    if (parsed.success) {
      const original: Locate = (path, part) => locate(salvage.originalPath(path), part);
      const damaged = (path: DocumentPath): boolean => salvage.touched(salvage.originalPath(path));
      return { document: { value: parsed.data, file, locate: original, damaged }, diagnostics };
    }
    for (const issue of parsed.error.issues) {
      const path = salvage.originalPath(issue.path);
      // What a removal of an earlier round has brought about is no error of its own.
      if (salvage.touched(path)) continue;
      diagnostics.push(...issueDiagnostics({ ...issue, path: [...path] }, [], { file, schema, locate, plain }));
    }
    if (!salvage.remove(parsed.error.issues)) break;
  }
  return { document: null, diagnostics };
}

function syntaxErrors(document: Document.Parsed, file: string, lineCounter: LineCounter): Diagnostic[] {
  const found = [...document.errors, ...document.warnings].map((error): Diagnostic => {
    const place = error.linePos?.[0] ?? { line: 1, col: 1 };
    return { severity: 'error', file, line: place.line, col: place.col, message: syntaxMessage(error) };
  });
  // The library answers an overflow of the stack with an error for each bracket on it.
  if (document.errors.some((error) => error.code === 'RESOURCE_EXHAUSTION')) throw new RangeError('nested too deeply');
  if (found.length > 0) return withoutRepeats(found);
  const at = (node: unknown, message: string): void => {
    const { line, col } = lineCounter.linePos((isNode(node) ? node.range?.[0] : undefined) ?? 0);
    found.push({ severity: 'error', file, line: Math.max(1, line), col: Math.max(1, col), message });
  };
  visit(document, {
    Alias: (_, node) => at(node, 'YAML aliases are not supported here'),
    Pair: (_, pair) => {
      if (!isScalar(pair.key)) at(pair.key ?? pair.value, 'a key must be a plain text');
      // An object cannot hold this key like any other, so it would be dropped without a word.
      else if (pair.key.value === '__proto__') at(pair.key, 'the key "__proto__" is not allowed');
    },
  });
  return found;
}

/** A cut-off file is told once, not for every bracket that it leaves open. */
function withoutRepeats(diagnostics: readonly Diagnostic[]): Diagnostic[] {
  return [...new Map(diagnostics.map((it) => [`${it.line}:${it.col}:${it.message}`, it])).values()];
}

/** The library's words without its place, and with what helps here. */
function syntaxMessage(error: YAMLError | YAMLWarning): string {
  if (error.code === 'MULTIPLE_DOCS') return 'a second document begins here; a file holds one';
  const text = error.message.split('\n')[0]?.replace(/ at line \d+, column \d+:?$/, '') ?? error.message;
  const unquoted = text.startsWith('Missing , or :');
  return unquoted ? `${text}; inside [ ] or { } a text with such characters needs quotes` : text;
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

interface IssueContext {
  readonly file: string;
  readonly schema: z.ZodType;
  readonly locate: Locate;
  /** The whole document as it was written. */
  readonly plain: unknown;
}

function issueDiagnostics(issue: z.core.$ZodIssue, prefix: DocumentPath, context: IssueContext): Diagnostic[] {
  const { file, schema, locate, plain } = context;
  const path = [...prefix, ...issue.path];
  const at = (where: DocumentPath, message: string, part: 'value' | 'key' = 'value'): Diagnostic => ({
    severity: 'error',
    file,
    ...locate(where, part),
    message,
  });
  const given = valueAt(plain, path);
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
  if (given === undefined && path.length > 0) {
    const name = String(path.at(-1));
    return [at(path.slice(0, -1), `missing key ${JSON.stringify(name)}${within(path.slice(0, -1))}`)];
  }
  if (issue.code === 'invalid_union' && issue.errors.length > 0) {
    const meant = meantBranch(issue);
    if (meant !== null) return meant.flatMap((inner) => issueDiagnostics(inner, path, context));
    const wanted = [...new Set(issue.errors.flatMap((issues) => issues.map((inner) => plainMessage(inner))))];
    return [at(path, `${named(path)}${wanted.join(', or ')}`)];
  }
  if (issue.code === 'invalid_value') {
    const hint = typeof given === 'string' ? didYouMean(given, issue.values.map(String)) : '';
    return [at(path, `${named(path)}${plainMessage(issue)}${hint}`)];
  }
  return [at(path, `${named(path)}${plainMessage(issue)}`)];
}

function plainMessage(issue: z.core.$ZodIssue): string {
  if (issue.code === 'invalid_value') {
    const values = issue.values.map((value) => JSON.stringify(value)).join(', ');
    return `expected ${issue.values.length > 1 ? 'one of ' : ''}${values}`;
  }
  return issue.message.replace(/^Invalid input: /, '');
}

function valueAt(plain: unknown, path: DocumentPath): unknown {
  let value = plain;
  for (const step of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return undefined;
    value = Reflect.get(value, step);
  }
  return value;
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
export function knownKeys(schema: z.ZodType, path: DocumentPath): string[] {
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
