import type {
  CompiledApi,
  CompiledRule,
  PathParams,
  PolicyRequest,
  RouteMatch,
  RouteTable,
  SourcePlace,
} from './compiled-policy.ts';
import { parameterStrippedReadings } from './path-parameters.ts';
import { decodeSegment, type PathPattern } from './path-pattern.ts';

/** One path of one rule, in full (base included), and where it was written. */
export interface RoutedPath {
  readonly rule: CompiledRule;
  readonly pattern: PathPattern;
  readonly source: SourcePlace;
}

/** Two paths that can match the same request with equal specificity. `first` was added before. */
export interface RouteConflict {
  readonly first: RoutedPath;
  readonly second: RoutedPath;
}

/** An API's base, decoded. */
export interface RoutedBase {
  readonly api: CompiledApi;
  readonly segments: readonly string[];
}

interface Slot {
  readonly name: string;
  readonly index: number;
  readonly rest: boolean;
}

interface Entry {
  readonly path: RoutedPath;
  readonly slots: readonly Slot[];
  /** The whole answer where there are no parameters to fill in. */
  readonly match: RouteMatch;
}

/** The rules of one pattern: for each method at most one, or one for all. */
interface Leaf {
  readonly byMethod: Map<string, Entry>;
  any: Entry | null;
}

interface Node {
  readonly literals: Map<string, Node>;
  name: Node | null;
  leaf: Leaf | null;
  rest: Leaf | null;
  /** Set where an API's base ends: the answer when none of its rules matches. */
  owner: RouteMatch | null;
}

interface HostTable {
  readonly root: Node;
  /** Rules without parameters, by their whole path: most requests end here, with nothing allocated. */
  readonly literal: Map<string, Leaf>;
}

const NO_PARAMS: PathParams = Object.freeze(Object.create(null));

/**
 * Which rule judges a request.
 *
 * All rules of all APIs whose methods include the request's method and whose hosts include its host compete, and the
 * most specific wins: first a rule with `hosts` over one without, then segment by segment from the left a literal over
 * `{name}` over `{name...}`. A rule for another method takes no part: a `GET /a/{id}` leaves `POST /a/1` to the
 * `POST /a/{rest...}` beside it. Only when no rule is left does the API say whose undeclared path it was.
 */
export class Router implements RouteTable {
  readonly #hosts = new Map<string, HostTable>();
  readonly #everyHost = emptyTable();

  /** The conflicts with what was added before; the path is added where there are none. */
  add(path: RoutedPath): RouteConflict[] {
    const conflicts = new Set<RoutedPath>();
    for (const table of this.#tablesOf(path.rule.api)) {
      for (const first of addToTable(table, path)) conflicts.add(first);
    }
    return [...conflicts].map((first) => ({ first, second: path }));
  }

  /** Makes an API the owner of its base. Of two with the same base the one that enforces comes first: deny first. */
  own(base: RoutedBase): void {
    for (const table of this.#tablesOf(base.api)) {
      let node = table.root;
      for (const segment of base.segments) node = literalChild(node, segment);
      if (node.owner === null || (node.owner.api.mode === 'report' && base.api.mode === 'enforce')) {
        node.owner = { api: base.api, rule: null, params: NO_PARAMS };
      }
    }
  }

  match(request: PolicyRequest): RouteMatch | null {
    return this.#match(request, request.path);
  }

  ambiguous(request: PolicyRequest): boolean {
    const readings = parameterStrippedReadings(request.path);
    if (readings.length === 0) return false;
    const asSent = this.#match(request, request.path);
    return readings.some((path) => path === null || !sameMeaning(asSent, this.#match(request, path)));
  }

  #match(request: PolicyRequest, path: string): RouteMatch | null {
    // A path that is not canonical belongs to nobody.
    if (path.charCodeAt(0) !== 0x2f || path.includes('//')) return null;
    const host = this.#hosts.size === 0 ? undefined : this.#hosts.get(withoutRootDot(request.host));
    const bare = path.length > 1 && path.charCodeAt(path.length - 1) === 0x2f ? path.slice(0, -1) : path;
    const encoded = bare.includes('%');
    if (!encoded) {
      const own = host === undefined ? null : pick(host.literal.get(bare), request.method);
      if (own !== null) return own.match;
      // The trie of the request's own host goes before the rules for every host.
      if (host === undefined) {
        const shared = pick(this.#everyHost.literal.get(bare), request.method);
        if (shared !== null) return shared.match;
      }
    }
    const segments = segmentsOf(bare, encoded);
    if (segments === null) return null;
    const entry =
      (host === undefined ? null : find(host.root, segments, 0, request.method)) ??
      find(this.#everyHost.root, segments, 0, request.method);
    if (entry !== null) return entry.slots.length === 0 ? entry.match : withParams(entry, segments);
    return (host === undefined ? null : ownerOf(host.root, segments)) ?? ownerOf(this.#everyHost.root, segments);
  }

  #tablesOf(api: CompiledApi): HostTable[] {
    if (api.hosts.length === 0) return [this.#everyHost];
    return api.hosts.map((host) => {
      const table = this.#hosts.get(host) ?? emptyTable();
      this.#hosts.set(host, table);
      return table;
    });
  }
}

function emptyTable(): HostTable {
  return { root: emptyNode(), literal: new Map() };
}

function emptyNode(): Node {
  return { literals: new Map(), name: null, leaf: null, rest: null, owner: null };
}

function literalChild(node: Node, text: string): Node {
  const child = node.literals.get(text) ?? emptyNode();
  node.literals.set(text, child);
  return child;
}

function addToTable(table: HostTable, path: RoutedPath): RoutedPath[] {
  const { segments } = path.pattern;
  const slots: Slot[] = [];
  let node = table.root;
  let leaf: Leaf | null = null;
  for (const [index, segment] of segments.entries()) {
    if (segment.kind === 'literal') node = literalChild(node, segment.text);
    else slots.push({ name: segment.name, index, rest: segment.kind === 'rest' });
    if (segment.kind === 'name') node = node.name ??= emptyNode();
    if (segment.kind === 'rest') leaf = node.rest ??= { byMethod: new Map(), any: null };
  }
  leaf ??= node.leaf ??= { byMethod: new Map(), any: null };
  const entry: Entry = { path, slots, match: { api: path.rule.api, rule: path.rule, params: NO_PARAMS } };
  const conflicts = addToLeaf(leaf, entry);
  if (slots.length === 0) {
    table.literal.set(
      `/${segments.map((segment) => (segment.kind === 'literal' ? segment.text : '')).join('/')}`,
      leaf,
    );
  }
  return conflicts;
}

function addToLeaf(leaf: Leaf, entry: Entry): RoutedPath[] {
  const methods = entry.path.rule.methods;
  const conflicts: RoutedPath[] = leaf.any === null ? [] : [leaf.any.path];
  if (methods === null) {
    conflicts.push(...[...leaf.byMethod.values()].map((other) => other.path));
    leaf.any ??= entry;
    return conflicts;
  }
  for (const method of methods) {
    const other = leaf.byMethod.get(method);
    if (other === undefined) leaf.byMethod.set(method, entry);
    else conflicts.push(other.path);
  }
  return conflicts;
}

function pick(leaf: Leaf | null | undefined, method: string): Entry | null {
  if (leaf === null || leaf === undefined) return null;
  return leaf.byMethod.get(method) ?? leaf.any;
}

/**
 * Depth first, the more specific branch first, so the first hit is the most specific. A node is seen at most once: it
 * has one depth and one parent.
 */
function find(node: Node, segments: readonly string[], index: number, method: string): Entry | null {
  const segment = segments[index];
  if (segment === undefined) return pick(node.leaf, method);
  const literal = node.literals.get(segment);
  if (literal !== undefined) {
    const found = find(literal, segments, index + 1, method);
    if (found !== null) return found;
  }
  if (node.name !== null) {
    const found = find(node.name, segments, index + 1, method);
    if (found !== null) return found;
  }
  return pick(node.rest, method);
}

/** The API with the longest base in front of the path. */
function ownerOf(root: Node, segments: readonly string[]): RouteMatch | null {
  let node: Node | undefined = root;
  let owner = root.owner;
  for (const segment of segments) {
    node = node.literals.get(segment);
    if (node === undefined) break;
    owner = node.owner ?? owner;
  }
  return owner;
}

/** Decoded, so that no spelling of a literal dodges its rule. Null for what no canonical path holds. */
function segmentsOf(bare: string, encoded: boolean): string[] | null {
  if (bare === '/') return [];
  const segments = bare.slice(1).split('/');
  if (!encoded) return segments;
  for (const [index, raw] of segments.entries()) {
    const text = decodeSegment(raw);
    if (text === null || /[/\\\0]/.test(text)) return null;
    segments[index] = text;
  }
  return segments;
}

function withParams(entry: Entry, segments: readonly string[]): RouteMatch {
  // Without a prototype `__proto__` is a name like any other.
  const params: Record<string, string> = Object.create(null);
  for (const slot of entry.slots) {
    params[slot.name] = slot.rest ? segments.slice(slot.index).join('/') : (segments[slot.index] ?? '');
  }
  return { api: entry.match.api, rule: entry.match.rule, params };
}

/** The same rule (or the same API's undeclared rest), and the same for every condition that looks at the path. */
function sameMeaning(a: RouteMatch | null, b: RouteMatch | null): boolean {
  if (a === null || b === null) return a === b;
  if (a.rule !== b.rule || a.api !== b.api) return false;
  const watched = a.rule?.conditions.flatMap((condition) => condition.params ?? []) ?? [];
  return watched.every((name) => a.params[name] === b.params[name]);
}

/** A fully qualified name with the root's dot (RFC 1034 §3.1) is the same host. */
function withoutRootDot(host: string): string {
  return host.charCodeAt(host.length - 1) === 0x2e ? host.slice(0, -1) : host;
}
