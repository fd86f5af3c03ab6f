import { z } from 'zod';
import type { Diagnostic } from '../../base/diagnostic.ts';
import { didYouMean } from '../../base/nearest.ts';
import { type DocumentPath, type LocatedDocument, salvageYamlDocument } from '../../base/yaml-document.ts';

/** A JSON object of which nothing is known yet. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** A value of the document and where it stands. */
export interface DocumentNode {
  readonly value: unknown;
  readonly path: DocumentPath;
}

/** An OpenAPI document, YAML or JSON, that is walked with every complaint at its place. */
export class OpenapiDocument {
  readonly file: string;
  /** `3.0.3` */
  readonly version: string;
  readonly title: string;
  readonly apiVersion: string;
  /** In the order in which they were found. */
  readonly diagnostics: Diagnostic[] = [];
  readonly #located: LocatedDocument<JsonObject>;
  readonly #told = new Set<string>();

  constructor(located: LocatedDocument<JsonObject>) {
    this.file = located.file;
    this.#located = located;
    const info = asObject(located.value['info']) ?? {};
    this.version = textOf(located.value['openapi']) ?? '';
    this.title = textOf(info['title']) ?? 'an API without a title';
    this.apiVersion = textOf(info['version']) ?? '';
  }

  get root(): DocumentNode {
    return { value: this.#located.value, path: [] };
  }

  place(path: DocumentPath, part: 'value' | 'key' = 'value'): { readonly line: number; readonly col: number } {
    return this.#located.locate(path, part);
  }

  report(severity: Diagnostic['severity'], path: DocumentPath, message: string, part: 'value' | 'key' = 'value'): void {
    const place = this.place(path, part);
    // What is wrong with servers or security of the whole document is met again at every operation.
    const key = `${place.line}:${place.col}:${message}`;
    if (this.#told.has(key)) return;
    this.#told.add(key);
    this.diagnostics.push({ severity, file: this.file, ...place, message });
  }

  /** The object at a node, `$ref`s followed; null, with an error, for anything else. Undefined values are null without one. */
  object(node: DocumentNode, what: string): (DocumentNode & { readonly value: JsonObject }) | null {
    const seen = new Set<string>();
    let current = node;
    for (;;) {
      if (current.value === undefined) return null;
      const object = asObject(current.value);
      if (object === null) {
        this.report('error', current.path, `${what} has to be an object`);
        return null;
      }
      const reference = object['$ref'];
      if (typeof reference !== 'string') return { value: object, path: current.path };
      if (seen.has(reference)) {
        this.report('error', current.path, `$ref ${JSON.stringify(reference)} leads back to itself`);
        return null;
      }
      seen.add(reference);
      const next = this.#follow(reference, [...current.path, '$ref']);
      if (next === null) return null;
      current = next;
    }
  }

  /** A JSON pointer (RFC 6901) into this document, as a URI fragment. */
  #follow(reference: string, at: DocumentPath): DocumentNode | null {
    if (!reference.startsWith('#')) {
      const message = `$ref ${JSON.stringify(reference)} leads into another document; bundle them into one first`;
      this.report('error', at, message);
      return null;
    }
    const path: string[] = [];
    let value: unknown = this.root.value;
    for (const step of pointerOf(reference)) {
      const known = Array.isArray(value) ? Object.keys(value) : Object.keys(asObject(value) ?? {});
      if (!known.includes(step)) {
        const hint = didYouMean(step, known);
        this.report('error', at, `$ref ${JSON.stringify(reference)}: there is no ${JSON.stringify(step)}${hint}`);
        return null;
      }
      value = Reflect.get(Object(value), step);
      path.push(step);
    }
    return { value, path };
  }
}

/** Null, with errors, where the text is no OpenAPI 3.0 or 3.1 document. */
export function readOpenapi(
  text: string,
  file: string,
): { readonly document: OpenapiDocument | null; readonly diagnostics: readonly Diagnostic[] } {
  const { document: located, diagnostics } = salvageYamlDocument(text, file, z.record(z.string(), z.unknown()));
  if (located === null || diagnostics.length > 0) return { document: null, diagnostics };
  const document = new OpenapiDocument(located);
  const { value } = located;
  if (typeof value['swagger'] === 'string') {
    document.report('error', ['swagger'], `OpenAPI 2 (Swagger) is not read; convert the document to OpenAPI 3 first`);
  } else if (value['openapi'] === undefined) {
    document.report('error', [], 'this is no OpenAPI document: it has no key "openapi"');
  } else if (!/^3\.[01](\.|$)/.test(String(value['openapi']))) {
    document.report('error', ['openapi'], `expected OpenAPI 3.0 or 3.1, got ${JSON.stringify(value['openapi'])}`);
  }
  return { document: document.diagnostics.length === 0 ? document : null, diagnostics: document.diagnostics };
}

function pointerOf(reference: string): string[] {
  const steps = reference.slice(1).split('/').slice(1);
  return steps.map((step) => decoded(step).replaceAll('~1', '/').replaceAll('~0', '~'));
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export function asObject(value: unknown): JsonObject | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : null;
}

export function textOf(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}
