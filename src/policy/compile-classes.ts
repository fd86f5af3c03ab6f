import type { Diagnostic } from '../base/diagnostic.ts';
import { formatDuration } from '../base/quantity.ts';
import type { DocumentPath, LocatedDocument } from '../base/yaml-document.ts';
import { ADMIN_CLASS, builtInAdminClass, DEFAULT_GRACE_MS, roleViolation } from './classes.ts';
import type { RoleDefinition, TokenClass } from './compiled-policy.ts';
import type { ClassesFile, ClassInFile } from './schema/classes-file.ts';
import { parseGrantedScope } from './scope.ts';

export interface CompiledClasses {
  readonly classes: ReadonlyMap<string, TokenClass>;
  readonly diagnostics: readonly Diagnostic[];
}

/**
 * The classes of classes.yaml and the built-in `admin`, which the file may bound differently. `roles` is null while
 * roles.yaml cannot be read: then nothing is said about them.
 */
export function compileClasses(
  document: LocatedDocument<ClassesFile> | null,
  roles: ReadonlyMap<string, RoleDefinition> | null,
): CompiledClasses {
  const classes = new Map<string, TokenClass>([[ADMIN_CLASS, builtInAdminClass()]]);
  const diagnostics: Diagnostic[] = [];
  for (const [name, written] of Object.entries(document?.value.classes ?? {})) {
    if (document === null) break;
    const report = (path: DocumentPath, message: string): void => {
      const place = document.locate(['classes', name, ...path]);
      diagnostics.push({ severity: 'error', file: document.file, ...place, message });
    };
    const source = { file: document.file, ...document.locate(['classes', name], 'key') };
    const compiled = compileClass(name, written, source);
    classes.set(name, compiled);
    for (const [index, scope] of written.scopes.entries()) {
      const parsed = parseGrantedScope(scope, name === ADMIN_CLASS);
      if (!parsed.ok) report(['scopes', index], parsed.error);
    }
    if (compiled.defaultTtlMs > compiled.maxTtlMs) {
      report(['default_ttl'], `default_ttl is longer than max_ttl (${formatDuration(compiled.maxTtlMs)})`);
    }
    if (roles === null || document.damaged(['classes', name])) continue;
    for (const [index, role] of (written.roles ?? []).entries()) {
      const message = roleViolation(role, compiled, roles);
      if (message !== null) report(['roles', index], message);
    }
  }
  return { classes, diagnostics };
}

function compileClass(name: string, written: ClassInFile, source: TokenClass['source']): TokenClass {
  return {
    name,
    maxTtlMs: written.max_ttl,
    defaultTtlMs: written.default_ttl ?? written.max_ttl,
    scopes: written.scopes,
    roles: written.roles ?? null,
    rotateEveryMs: written.rotate_every ?? null,
    graceMs: Math.min(written.grace ?? DEFAULT_GRACE_MS, written.max_ttl),
    idleExpiryMs: written.idle_expiry ?? null,
    require: written.require,
    retire: written.retire,
    onReuse: written.on_reuse,
    source,
  };
}
