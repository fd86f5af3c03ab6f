import type { DocumentPath } from '../../base/yaml-document.ts';
import type { SourcePlace } from '../compiled-policy.ts';
import { type PathPattern, parseBase } from '../path-pattern.ts';
import { asObject, type JsonObject, type OpenapiDocument, textOf } from './document.ts';
import { translatePath } from './path-template.ts';
import { type Demand, SecurityReader } from './security.ts';

/** One operation of an OpenAPI document, as far as a policy is concerned. */
export interface OpenapiOperation {
  /** `operationId`, where it has one. */
  readonly id: string | null;
  readonly method: string;
  /** As the document writes it. */
  readonly template: string;
  /** The prefixes that its servers put before the path, each once; the empty string for none. */
  readonly bases: readonly string[];
  /** Below each base in turn, base included. */
  readonly patterns: readonly PathPattern[];
  readonly demand: Demand;
  readonly source: SourcePlace;
}

export interface OperationOptions {
  /** In place of what the servers say; null: what they say. */
  readonly base: string | null;
  /** Put before every scope. */
  readonly scopePrefix: string;
}

/** Fixed fields of a path item that are operations (OpenAPI 3.1 §4.8.9), less TRACE, which a gateway never forwards. */
const METHODS: ReadonlySet<string> = new Set(['get', 'put', 'post', 'delete', 'options', 'head', 'patch']);

/** Every operation in the order of the document. What is wrong goes to the document's diagnostics, all of it. */
export function readOperations(document: OpenapiDocument, options: OperationOptions): OpenapiOperation[] {
  const reader = new OperationReader(document, options);
  return reader.read();
}

class OperationReader {
  readonly #document: OpenapiDocument;
  readonly #options: OperationOptions;
  readonly #security: SecurityReader;
  readonly #root: JsonObject;

  constructor(document: OpenapiDocument, options: OperationOptions) {
    this.#document = document;
    this.#options = options;
    this.#security = new SecurityReader(document, options.scopePrefix);
    this.#root = asObject(document.root.value) ?? {};
  }

  read(): OpenapiOperation[] {
    // OpenAPI 3.1 allows a document without paths: components or webhooks alone.
    const paths = asObject(this.#root['paths'] ?? {});
    if (paths === null) this.#document.report('error', ['paths'], '"paths" has to be an object');
    const found = Object.entries(paths ?? {})
      .filter(([template]) => !template.startsWith('x-'))
      .flatMap(([template, value]) => this.#pathItem(template, value));
    if (found.length === 0 && this.#document.diagnostics.every(({ severity }) => severity !== 'error')) {
      this.#document.report('error', ['paths'], 'the document has no operation', 'key');
    }
    return found;
  }

  #pathItem(template: string, value: unknown): OpenapiOperation[] {
    const key: DocumentPath = ['paths', template];
    const item = this.#document.object({ value, path: key }, `the path item ${template}`);
    if (item === null) return [];
    if (item.value['trace'] !== undefined) {
      this.#document.report('warning', [...item.path, 'trace'], 'TRACE is never forwarded, so it is left out', 'key');
    }
    const names = Object.keys(item.value).filter((name) => METHODS.has(name));
    return names.flatMap((name): OpenapiOperation[] => {
      const path = [...item.path, name];
      const operation = this.#document.object({ value: item.value[name], path }, `the operation ${name} ${template}`);
      if (operation === null) return [];
      return this.#operation(template, name.toUpperCase(), operation.value, item.value, operation.path, key);
    });
  }

  #operation(
    template: string,
    method: string,
    operation: JsonObject,
    item: JsonObject,
    path: DocumentPath,
    key: DocumentPath,
  ): OpenapiOperation[] {
    const bases = this.#bases(operation, item, path);
    const patterns: PathPattern[] = [];
    for (const [index, base] of bases.entries()) {
      const translated = translatePath(template, base);
      if (!translated.ok) {
        this.#document.report('error', key, translated.error, 'key');
        return [];
      }
      patterns.push(translated.value.pattern);
      for (const wider of index === 0 ? translated.value.wider : []) {
        this.#document.report(
          'warning',
          path,
          `${method} ${template}: ${wider}, so more is matched than declared`,
          'key',
        );
      }
    }
    const own = operation['security'];
    const demand = this.#security.demand(
      own ?? this.#root['security'],
      own === undefined ? ['security'] : [...path, 'security'],
    );
    const source = { file: this.#document.file, ...this.#document.place(path, 'key') };
    return [{ id: textOf(operation['operationId']), method, template, bases, patterns, demand, source }];
  }

  /** The servers of the operation, else of the path item, else of the document, else `/` (OpenAPI 3.1 §4.8.1.1). */
  #bases(operation: JsonObject, item: JsonObject, path: DocumentPath): string[] {
    if (this.#options.base !== null) return [this.#options.base];
    const lists: readonly (readonly [unknown, DocumentPath])[] = [
      [operation['servers'], [...path, 'servers']],
      [item['servers'], [...path.slice(0, -1), 'servers']],
      [this.#root['servers'], ['servers']],
    ];
    for (const [servers, at] of lists) {
      if (!Array.isArray(servers) || servers.length === 0) continue;
      return [...new Set(servers.map((server: unknown, index) => this.#base(server, [...at, index])))];
    }
    return [''];
  }

  #base(server: unknown, path: DocumentPath): string {
    const object = asObject(server);
    const url = textOf(object?.['url']);
    if (object === null || url === null) {
      this.#document.report('error', path, 'a server needs a "url"');
      return '';
    }
    const variables = asObject(object['variables']) ?? {};
    const filled = url.replaceAll(/\{([^{}]*)\}/g, (written, name: string) => {
      const byDefault = asObject(variables[name])?.['default'];
      return typeof byDefault === 'string' ? byDefault : written;
    });
    // A relative one is relative to where the document is served, which only the prefix of the path is taken from.
    const parsed = URL.canParse(filled, 'http://host/') ? new URL(filled, 'http://host/') : null;
    const base = parsed === null || /[{}]/.test(filled) ? null : parseBase(parsed.pathname.replace(/\/+$/, '') || '/');
    if (base?.ok === true) return base.value;
    const why = base === null ? 'its variables need defaults' : base.error;
    this.#document.report('error', [...path, 'url'], `the server ${JSON.stringify(url)} cannot be read: ${why}`);
    return '';
  }
}
