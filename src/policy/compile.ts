import type { z } from 'zod';
import { type Diagnostic, hasErrors, sortDiagnostics } from '../base/diagnostic.ts';
import { sha256 } from '../base/encoding.ts';
import { type LocatedDocument, salvageYamlDocument } from '../base/yaml-document.ts';
import { type ApiDraft, compileApi } from './compile-api.ts';
import { compileClasses } from './compile-classes.ts';
import type { CompiledApi, CompiledPolicy, CompiledRule, RoleDefinition, SourcePlace } from './compiled-policy.ts';
import { compileRoles } from './roles.ts';
import { type RouteConflict, Router } from './route.ts';
import { apiFileSchema } from './schema/api-file.ts';
import { classesFileSchema } from './schema/classes-file.ts';
import { type RolesFile, rolesFileSchema } from './schema/roles-file.ts';

/** A file of the policy folder. `name` is how diagnostics call it: `policies/orders.yaml`. */
export interface PolicyFile {
  readonly name: string;
  readonly text: string;
}

export interface PolicyContext {
  /** Names of the configured upstreams; null where no configuration is at hand. */
  readonly upstreams: ReadonlySet<string> | null;
}

/** A policy only when nothing is wrong. */
export interface PolicyOutcome {
  readonly policy: CompiledPolicy | null;
  readonly diagnostics: readonly Diagnostic[];
}

/** Whether a file holds test cases, which are no part of the policy. */
export function isPolicyTestFile(name: string): boolean {
  return /\.test\.ya?ml$/.test(name);
}

/**
 * Makes one policy of all files: `roles.yaml`, `classes.yaml`, and any other name for an API. Every error of every
 * file comes at once, in the order of files and places.
 */
export function compilePolicy(given: readonly PolicyFile[], context: PolicyContext): PolicyOutcome {
  const files = given.filter((file) => !isPolicyTestFile(file.name)).toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const diagnostics: Diagnostic[] = [];
  const { roles, readable } = readRoles(only('roles', files, diagnostics), diagnostics);
  const classesDocument = read(only('classes', files, diagnostics), classesFileSchema, diagnostics);
  const compiledClasses = compileClasses(classesDocument, readable ? roles : null);
  diagnostics.push(...compiledClasses.diagnostics);
  const apiFiles = files.filter((file) => kindOf(file.name) === 'api');
  if (apiFiles.length === 0) {
    const message = 'no API policy here: without one nothing could be let through';
    diagnostics.push({ severity: 'error', file: files[0]?.name ?? 'policies', line: 1, col: 1, message });
  }
  const drafts = apiFiles.flatMap((file): ApiDraft[] => {
    const document = read(file, apiFileSchema, diagnostics, STAND_INS);
    return document === null ? [] : [compileApi(document, context.upstreams)];
  });
  for (const draft of drafts) diagnostics.push(...draft.diagnostics);
  diagnostics.push(...repeatedApis(drafts.filter((draft) => draft.named).map((draft) => draft.api)));
  diagnostics.push(...repeatedResources(drafts.map((draft) => draft.api)));
  const routes = buildRoutes(drafts, diagnostics);
  if (hasErrors(diagnostics)) return { policy: null, diagnostics: sortDiagnostics(diagnostics) };
  const policy: CompiledPolicy = {
    version: versionOf(files),
    files: files.map((file) => file.name),
    apis: drafts.map((draft) => draft.api),
    roles,
    classes: compiledClasses.classes,
    routes,
  };
  return { policy, diagnostics: sortDiagnostics(diagnostics) };
}

/** So that a file without a name is still searched for other errors. */
const STAND_INS: ReadonlyMap<string, unknown> = new Map([
  ['api', 'unnamed'],
  ['upstream', 'unnamed'],
]);

function baseName(name: string): string {
  return name.slice(Math.max(name.lastIndexOf('/'), name.lastIndexOf('\\')) + 1);
}

function kindOf(name: string): 'roles' | 'classes' | 'api' {
  const stem = baseName(name).replace(/\.ya?ml$/, '');
  return stem === 'roles' || stem === 'classes' ? stem : 'api';
}

function only(kind: 'roles' | 'classes', files: readonly PolicyFile[], diagnostics: Diagnostic[]): PolicyFile | null {
  const [first, ...more] = files.filter((file) => kindOf(file.name) === kind);
  for (const file of more) {
    const message = `there is ${first?.name} already; keep all ${kind} in one file`;
    diagnostics.push({ severity: 'error', file: file.name, line: 1, col: 1, message });
  }
  return first ?? null;
}

function read<S extends z.ZodType>(
  file: PolicyFile | null,
  schema: S,
  diagnostics: Diagnostic[],
  standIns?: ReadonlyMap<string, unknown>,
): LocatedDocument<z.output<S>> | null {
  if (file === null) return null;
  const salvaged = salvageYamlDocument(file.text, file.name, schema, standIns);
  diagnostics.push(...salvaged.diagnostics);
  return salvaged.document;
}

function readRoles(
  file: PolicyFile | null,
  diagnostics: Diagnostic[],
): { readonly roles: ReadonlyMap<string, RoleDefinition>; readonly readable: boolean } {
  const before = diagnostics.length;
  const document: LocatedDocument<RolesFile> | null = read(file, rolesFileSchema, diagnostics);
  if (document === null) return { roles: new Map(), readable: file === null };
  const compiled = compileRoles(document);
  diagnostics.push(...compiled.diagnostics);
  return { roles: compiled.roles, readable: diagnostics.length === before };
}

function repeatedApis(apis: readonly CompiledApi[]): Diagnostic[] {
  const first = new Map<string, CompiledApi>();
  return apis.flatMap((api): Diagnostic[] => {
    const other = first.get(api.name);
    if (other === undefined) {
      first.set(api.name, api);
      return [];
    }
    const message = `api ${JSON.stringify(api.name)} is already declared at ${placeText(other.source)}; names are unique`;
    return [{ severity: 'error', ...api.source, message }];
  });
}

/** Clients tell resources apart by their identifiers, and find what is told of each by it. */
function repeatedResources(apis: readonly CompiledApi[]): Diagnostic[] {
  return apis.flatMap((api, index): Diagnostic[] => {
    const { resource } = api;
    const other = apis
      .slice(0, index)
      .find((each) => resource !== null && each.resource?.identifier === resource.identifier);
    if (resource === null || other === undefined) return [];
    const message = `resource ${resource.identifier} is already that of api ${JSON.stringify(other.name)} at ${placeText(other.source)}`;
    return [{ severity: 'error', ...api.source, message }];
  });
}

function buildRoutes(drafts: readonly ApiDraft[], diagnostics: Diagnostic[]): Router {
  const router = new Router();
  for (const draft of drafts) {
    router.own({ api: draft.api, segments: draft.base });
    for (const path of draft.paths) {
      for (const conflict of router.add(path)) {
        diagnostics.push({ severity: 'error', ...path.source, message: conflictMessage(conflict) });
      }
    }
  }
  return router;
}

function conflictMessage({ first, second }: RouteConflict): string {
  const where = placeText(first.source);
  if (first.rule === second.rule) return `path ${JSON.stringify(second.pattern.text)} repeats the one at ${where}`;
  return `rule ${JSON.stringify(second.rule.name)} and rule ${JSON.stringify(first.rule.name)} at ${where} both match ${sharedMethods(first.rule, second.rule)} ${second.pattern.text}, and neither is more specific`;
}

function sharedMethods(a: CompiledRule, b: CompiledRule): string {
  if (a.methods === null && b.methods === null) return 'every method on';
  const [some, other] = a.methods === null ? [b.methods, null] : [a.methods, b.methods];
  return [...(some ?? [])].filter((method) => other === null || other.has(method)).join(', ');
}

function placeText(place: SourcePlace): string {
  return `${place.file}:${place.line}:${place.col}`;
}

/** Independent of where the folder lies, so that replicas with the same files have the same version. */
function versionOf(files: readonly PolicyFile[]): string {
  const parts = files.map((file) => [baseName(file.name), file.text]);
  return sha256(JSON.stringify(parts)).toString('hex').slice(0, 12);
}
