import { didYouMean } from '../../base/nearest.ts';
import type { DocumentPath } from '../../base/yaml-document.ts';
import { parseRequiredScope } from '../scope.ts';
import { asObject, type OpenapiDocument, textOf } from './document.ts';

/** What an operation asks of its caller, as far as a rule can say it. */
export type Demand =
  | { readonly kind: 'public' }
  | {
      readonly kind: 'token';
      /** False where the document says nothing about security. */
      readonly stated: boolean;
      readonly scopes: { readonly kind: 'all' | 'any'; readonly scopes: readonly string[] };
    };

/** Reads security requirements (OpenAPI 3.1 §4.8.30) against the document's security schemes. */
export class SecurityReader {
  readonly #document: OpenapiDocument;
  readonly #scopePrefix: string;
  /** By name of the scheme: the scopes that it declares, null where it declares none. */
  readonly #schemes: ReadonlyMap<string, ReadonlySet<string> | null>;

  constructor(document: OpenapiDocument, scopePrefix: string) {
    this.#document = document;
    this.#scopePrefix = scopePrefix;
    this.#schemes = readSchemes(document);
  }

  /** `security` undefined: the document has none for the operation. An empty list makes it public. */
  demand(security: unknown, path: DocumentPath): Demand {
    if (security === undefined) return { kind: 'token', stated: false, scopes: { kind: 'all', scopes: [] } };
    if (!Array.isArray(security)) {
      this.#document.report('error', path, '"security" has to be a list');
      return { kind: 'token', stated: true, scopes: { kind: 'all', scopes: [] } };
    }
    const alternatives = security.map((requirement: unknown, index) => this.#scopesOf(requirement, [...path, index]));
    const empty = security.every((requirement: unknown) => Object.keys(asObject(requirement) ?? { x: 0 }).length === 0);
    if (empty) return { kind: 'public' };
    if (security.some((requirement: unknown) => Object.keys(asObject(requirement) ?? { x: 0 }).length === 0)) {
      this.#document.report('warning', path, 'the token is optional here; the rule asks for one');
    }
    return { kind: 'token', stated: true, scopes: this.#oneOf(alternatives, path) };
  }

  #scopesOf(requirement: unknown, path: DocumentPath): string[] {
    const object = asObject(requirement);
    if (object === null) {
      this.#document.report('error', path, 'a security requirement has to be an object');
      return [];
    }
    return Object.entries(object).flatMap(([name, scopes]) => {
      const declared = this.#schemes.get(name);
      if (declared === undefined) {
        const hint = didYouMean(name, this.#schemes.keys());
        this.#document.report(
          'error',
          [...path, name],
          `unknown security scheme ${JSON.stringify(name)}${hint}`,
          'key',
        );
        return [];
      }
      return this.#scopeList(scopes, [...path, name], name, declared);
    });
  }

  #scopeList(value: unknown, path: DocumentPath, scheme: string, declared: ReadonlySet<string> | null): string[] {
    if (!Array.isArray(value)) {
      this.#document.report('error', path, 'expected a list of scopes');
      return [];
    }
    return value.flatMap((item: unknown, index) => {
      const text = textOf(item);
      const scope = text === null ? null : parseRequiredScope(`${this.#scopePrefix}${text}`);
      if (text === null || scope === null || !scope.ok) {
        const why = scope === null || scope.ok ? 'expected a scope' : scope.error;
        this.#document.report('error', [...path, index], why);
        return [];
      }
      if (declared !== null && !declared.has(text)) {
        const message = `security scheme ${JSON.stringify(scheme)} declares no scope ${JSON.stringify(text)}`;
        this.#document.report('warning', [...path, index], `${message}${didYouMean(text, declared)}`);
      }
      return [scope.value];
    });
  }

  /**
   * What one rule can say of alternatives, never less than the document asks for. Those without scopes (an API key) stand
   * back behind those with: here every credential is a token with scopes.
   */
  #oneOf(alternatives: readonly string[][], path: DocumentPath): Extract<Demand, { kind: 'token' }>['scopes'] {
    const sets = alternatives.map((scopes) => [...new Set(scopes)]).filter((scopes) => scopes.length > 0);
    const least = sets.filter(
      (scopes, index) =>
        !sets.some(
          (other, at) => at !== index && isWithin(other, scopes) && (other.length < scopes.length || at < index),
        ),
    );
    const [first = [], ...others] = least;
    if (others.length === 0) return { kind: 'all', scopes: first };
    if (least.every((scopes) => scopes.length === 1)) return { kind: 'any', scopes: least.flat() };
    const message = 'a rule cannot say "these scopes or those"; the rule asks for all of them';
    this.#document.report('warning', path, message);
    return { kind: 'all', scopes: [...new Set(least.flat())] };
  }
}

function isWithin(some: readonly string[], all: readonly string[]): boolean {
  return some.every((scope) => all.includes(scope));
}

function readSchemes(document: OpenapiDocument): ReadonlyMap<string, ReadonlySet<string> | null> {
  const components = asObject(asObject(document.root.value)?.['components']) ?? {};
  const schemes = asObject(components['securitySchemes']) ?? {};
  const found = new Map<string, ReadonlySet<string> | null>();
  for (const [name, value] of Object.entries(schemes)) {
    const path = ['components', 'securitySchemes', name];
    const scheme = document.object({ value, path }, 'a security scheme');
    found.set(name, scheme === null || scheme.value['type'] !== 'oauth2' ? null : flowScopes(scheme.value['flows']));
  }
  return found;
}

function flowScopes(flows: unknown): ReadonlySet<string> {
  return new Set(
    Object.values(asObject(flows) ?? {}).flatMap((flow) => Object.keys(asObject(asObject(flow)?.['scopes']) ?? {})),
  );
}
