import type { Diagnostic } from '../base/diagnostic.ts';
import { didYouMean } from '../base/nearest.ts';
import type { LocatedDocument } from '../base/yaml-document.ts';
import type { RoleDefinition, SourcePlace } from './compiled-policy.ts';
import type { RolesFile } from './schema/roles-file.ts';

export interface CompiledRoles {
  readonly roles: ReadonlyMap<string, RoleDefinition>;
  readonly diagnostics: readonly Diagnostic[];
}

/** Expands every role once: its own scopes and those of all it includes. Unknown includes and circles are errors. */
export function compileRoles(document: LocatedDocument<RolesFile>): CompiledRoles {
  const written = new Map(Object.entries(document.value.roles));
  const diagnostics: Diagnostic[] = [];
  const place = (path: readonly PropertyKey[], part?: 'key'): SourcePlace => ({
    file: document.file,
    ...document.locate(path, part),
  });
  for (const [name, role] of written) {
    for (const [index, included] of role.includes.entries()) {
      // A role that is there but wrong has been complained about already.
      if (written.has(included) || document.damaged(['roles', included])) continue;
      diagnostics.push({
        severity: 'error',
        ...place(['roles', name, 'includes', index]),
        message: `role ${JSON.stringify(name)} includes unknown role ${JSON.stringify(included)}${didYouMean(included, written.keys())}`,
      });
    }
  }
  for (const circle of circles(written)) {
    const [name = ''] = circle;
    const index = written.get(name)?.includes.indexOf(circle[1] ?? name) ?? 0;
    diagnostics.push({
      severity: 'error',
      ...place(['roles', name, 'includes', index]),
      message: `roles include each other in a circle: ${[...circle, name].join(' → ')}`,
    });
  }
  const roles = new Map<string, RoleDefinition>();
  for (const name of written.keys()) {
    const scopes = [...reachable(written, name)].flatMap((role) => written.get(role)?.scopes ?? []);
    roles.set(name, { name, scopes: [...new Set(scopes)], source: place(['roles', name], 'key') });
  }
  return { roles, diagnostics };
}

type Written = ReadonlyMap<string, { readonly scopes: readonly string[]; readonly includes: readonly string[] }>;

function reachable(written: Written, start: string): Set<string> {
  const seen = new Set<string>([start]);
  // A set's iteration also visits what is added meanwhile.
  for (const name of seen) for (const included of written.get(name)?.includes ?? []) seen.add(included);
  return seen;
}

/** Each circle once, beginning with the member that is written first. */
function circles(written: Written): string[][] {
  const found: string[][] = [];
  const done = new Set<string>();
  const visit = (name: string, trail: readonly string[]): void => {
    const start = trail.indexOf(name);
    if (start >= 0) found.push(trail.slice(start));
    if (start >= 0 || done.has(name)) return;
    for (const included of written.get(name)?.includes ?? []) visit(included, [...trail, name]);
    done.add(name);
  };
  for (const name of written.keys()) visit(name, []);
  return found;
}
