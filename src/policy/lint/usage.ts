import type { Diagnostic } from '../../base/diagnostic.ts';
import type { CompiledCondition, CompiledPolicy, CompiledRule } from '../compiled-policy.ts';
import { withinOwnBlocks } from '../decide.ts';
import { type RecordedEvent, readRecordedRequest } from '../recorded-request.ts';
import { isReservedPath } from '../reserved-paths.ts';
import { holdsScope } from '../scope.ts';
import { warn } from './placed-rule.ts';

/** Distinct scopes and roles that are remembered; both are the issuers', and few. */
const MOST_NAMES = 10_000;

/** What recorded requests make of a policy: which rules they hit, which conditions held, who carried what. */
export class PolicyUsage {
  readonly #policy: CompiledPolicy;
  readonly #hits = new Map<CompiledRule, number>();
  readonly #conditions = new Map<CompiledCondition, { judged: number; held: number }>();
  readonly #roles = new Set<string>();
  readonly #scopes = new Set<string>();
  #requests = 0;
  #withToken = 0;

  constructor(policy: CompiledPolicy) {
    this.#policy = policy;
  }

  get requests(): number {
    return this.#requests;
  }

  /** Events that are not of a request for this policy are passed over. */
  add(event: RecordedEvent): void {
    const recorded = readRecordedRequest(event);
    if (recorded === null || isReservedPath(recorded.request.path)) return;
    this.#requests += 1;
    const { request, preflight, credential } = recorded;
    const match = this.#policy.routes.match(preflight === null ? request : { ...request, method: preflight });
    const rule = match?.rule ?? null;
    if (rule !== null) this.#hits.set(rule, (this.#hits.get(rule) ?? 0) + 1);
    if (credential.kind !== 'token') return;
    this.#withToken += 1;
    const { principal, decidedAt } = credential;
    for (const role of principal.roles) if (this.#roles.size < MOST_NAMES) this.#roles.add(role);
    for (const scope of principal.scopes) if (this.#scopes.size < MOST_NAMES) this.#scopes.add(scope);
    if (match === null || rule === null || !withinOwnBlocks(principal, request.ip)) return;
    const input = { principal, params: match.params, ip: request.ip, now: decidedAt, mcp: request.mcp ?? null };
    for (const condition of rule.conditions) {
      // Whether it would have held the event does not tell.
      if (condition.name === 'mcp' && request.mcp === undefined) continue;
      const count = this.#conditions.get(condition) ?? { judged: 0, held: 0 };
      count.judged += 1;
      if (condition.holds(input)) count.held += 1;
      this.#conditions.set(condition, count);
    }
  }

  /** `skip`: rules of which something worse has been said. */
  lint(skip: (rule: CompiledRule) => boolean): Diagnostic[] {
    const rules = this.#policy.apis.flatMap((api) => api.rules);
    return [...rules.filter((rule) => !skip(rule)).flatMap((rule) => this.#lintRule(rule)), ...this.#unseenRoles()];
  }

  #lintRule(rule: CompiledRule): Diagnostic[] {
    const hits = this.#hits.get(rule) ?? 0;
    if (hits === 0) {
      return [warn(rule.source, `rule "${rule.name}" was hit by none of ${this.#requests} recorded requests`)];
    }
    const never = rule.conditions.flatMap((condition) => {
      const { judged, held } = this.#conditions.get(condition) ?? { judged: 0, held: 0 };
      if (judged === 0 || held > 0 || condition.impossible !== undefined) return [];
      const what = `condition ${condition.name} of rule "${rule.name}"`;
      return [warn(rule.source, `${what} held for none of ${judged} recorded requests with a token`)];
    });
    const missing = rule.scopes.scopes.filter((scope) => this.#withToken > 0 && !this.#isHeld(scope));
    const unheld = missing.map((scope) =>
      warn(rule.source, `rule "${rule.name}" asks for scope "${scope}", which none of the recorded tokens held`),
    );
    return [...never, ...unheld];
  }

  #isHeld(scope: string): boolean {
    if (holdsScope([...this.#scopes], scope, true)) return true;
    return [...this.#roles].some((name) => holdsScope(this.#policy.roles.get(name)?.scopes ?? [], scope, false));
  }

  #unseenRoles(): Diagnostic[] {
    if (this.#withToken === 0) return [];
    return [...this.#policy.roles.values()]
      .filter((role) => !this.#roles.has(role.name) && !this.#isIncluded(role.name))
      .map((role) =>
        warn(role.source, `role "${role.name}" was carried by no token in ${this.#withToken} recorded requests`),
      );
  }

  /** Carried through a wider role: roles are expanded when they are loaded, so a role within another is told by its scopes. */
  #isIncluded(name: string): boolean {
    const scopes = this.#policy.roles.get(name)?.scopes ?? [];
    return [...this.#roles].some((seen) => {
      const wider = this.#policy.roles.get(seen);
      return wider !== undefined && scopes.every((scope) => wider.scopes.includes(scope));
    });
  }
}
