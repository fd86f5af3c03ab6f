import type { ConditionName } from '../model/condition.ts';
import type { McpMessage } from '../model/mcp-message.ts';
import type { Principal } from '../model/principal.ts';
import type { ProtectedResource } from '../model/protected-resource.ts';
import type { Reason } from '../model/reason.ts';

/** Where a rule, role or class was written. */
export interface SourcePlace {
  readonly file: string;
  readonly line: number;
  readonly col: number;
}

export interface CompiledApi {
  readonly name: string;
  readonly upstream: string;
  /** Lower case, without port; empty: every host. */
  readonly hosts: readonly string[];
  /** `/orders`, or the empty string. */
  readonly base: string;
  readonly stripBase: boolean;
  readonly preflight: 'deny' | 'forward';
  readonly mode: 'enforce' | 'report';
  readonly onUnavailable: 'deny' | 'serve_cached' | null;
  /** What clients are told of this API by itself; null: what they are told of the listener. */
  readonly resource: ProtectedResource | null;
  readonly source: SourcePlace;
  readonly rules: readonly CompiledRule[];
}

export interface RateLimit {
  readonly requests: number;
  readonly perMs: number;
  readonly by: 'token' | 'subject' | 'ip';
}

export interface CompiledRule {
  /** Unique over the whole policy: `<api>/<name>`; safe as a metric label because it comes from the operator. */
  readonly id: string;
  readonly name: string;
  readonly api: CompiledApi;
  readonly source: SourcePlace;
  /** Upper case; null: every method. */
  readonly methods: ReadonlySet<string> | null;
  readonly paths: readonly string[];
  readonly public: boolean;
  readonly scopes: { readonly kind: 'all' | 'any'; readonly scopes: readonly string[] };
  readonly conditions: readonly CompiledCondition[];
  readonly rateLimit: RateLimit | null;
  readonly mode: 'enforce' | 'report';
}

/** What a condition is judged on. Pure data: no clock, no I/O. */
export interface ConditionInput {
  readonly principal: Principal;
  readonly params: PathParams;
  readonly ip: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** Null where the request has none, or nobody has looked. */
  readonly mcp: McpMessage | null;
}

export interface CompiledCondition {
  readonly name: ConditionName;
  /** As the operator wrote it, for explanations: `ip in 10.0.0.0/8`. */
  readonly text: string;
  /** The path parameters that it looks at. */
  readonly params?: readonly string[];
  /** The token attributes that it looks at; `sub` is the subject. */
  readonly claims?: readonly string[];
  /** Why no request can ever meet it, for people; left out where some can. */
  readonly impossible?: string;
  /** True only when the condition holds; anything that cannot be evaluated is false. Never throws. */
  holds(input: ConditionInput): boolean;
}

/** Decoded values of `{name}` segments. */
export type PathParams = Readonly<Record<string, string>>;

export interface RoleDefinition {
  readonly name: string;
  /** Own scopes and those of every included role. */
  readonly scopes: readonly string[];
  readonly source: SourcePlace;
}

export interface TokenClass {
  readonly name: string;
  readonly maxTtlMs: number;
  readonly defaultTtlMs: number;
  readonly scopes: readonly string[];
  /** Roles that tokens of this class may carry; null: any whose scopes lie within the class. */
  readonly roles: readonly string[] | null;
  readonly rotateEveryMs: number | null;
  readonly graceMs: number;
  readonly idleExpiryMs: number | null;
  readonly require: readonly ('owner' | 'ip' | 'subject' | 'claims')[];
  readonly retire: 'at_grace_end' | 'on_first_use';
  readonly onReuse: 'alert' | 'revoke';
  readonly source: SourcePlace | null;
}

/** Everything that was loaded from the policy folder, immutable; a reload makes a new one and swaps it. */
export interface CompiledPolicy {
  /** Hex SHA-256 over the files' names and contents, first 12 digits. */
  readonly version: string;
  readonly files: readonly string[];
  readonly apis: readonly CompiledApi[];
  readonly roles: ReadonlyMap<string, RoleDefinition>;
  readonly classes: ReadonlyMap<string, TokenClass>;
  /** The router; opaque outside `policy/`. */
  readonly routes: RouteTable;
}

/** A request as the policy sees it. */
export interface PolicyRequest {
  /** Upper case as it came; methods are case-sensitive (RFC 9110 §9.1). */
  readonly method: string;
  /** Lower case, without port. */
  readonly host: string;
  /** Canonical path without query, as it will be forwarded (before `strip_base`). */
  readonly path: string;
  /** The client's address. */
  readonly ip: string;
  /** The message in its body; left out where nobody has looked, null where it has none that can be read. */
  readonly mcp?: McpMessage | null;
}

export interface RouteMatch {
  /** The API that owns the path by host and base; set even where none of its rules matches. */
  readonly api: CompiledApi;
  readonly rule: CompiledRule | null;
  readonly params: PathParams;
}

export interface RouteTable {
  /** Null when no API owns the request. The most specific rule for the method wins. */
  match(request: PolicyRequest): RouteMatch | null;
  /**
   * True when a back end that drops `;parameters` from segments would see a path with another rule (RFC 3986 §3.3).
   * Cheap when the path has no `;`.
   */
  ambiguous(request: PolicyRequest): boolean;
}

export interface AllowDecision {
  readonly effect: 'allow';
  readonly rule: CompiledRule;
  readonly api: CompiledApi;
  readonly params: PathParams;
}

export interface DenyDecision {
  readonly effect: 'deny';
  readonly reason: Extract<Reason, 'route_not_declared' | 'scope_insufficient' | 'condition_failed' | 'token_missing'>;
  /** For people: which condition, which scopes. Holds nothing that only the operator may know. */
  readonly detail: string;
  readonly condition: ConditionName | null;
  /** What would have been needed; for the `scope` of the challenge (RFC 6750 §3). */
  readonly requiredScopes: readonly string[];
  readonly rule: CompiledRule | null;
  readonly api: CompiledApi | null;
  /** True where the API or rule only reports: with a valid token the request goes through all the same. */
  readonly reportOnly: boolean;
  readonly params: PathParams;
}

export type Decision = AllowDecision | DenyDecision;
