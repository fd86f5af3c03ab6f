import { Document, isMap, isSeq, visit } from 'yaml';
import { compilePolicy } from '../compile.ts';
import { covers, overlap, type PathPattern, patternKey } from '../path-pattern.ts';
import type { OpenapiDocument } from './document.ts';
import type { OpenapiOperation } from './operations.ts';
import type { Demand } from './security.ts';

export interface ImportOptions {
  readonly api: string;
  readonly upstream: string;
  readonly stripBase: boolean;
  readonly mode: 'enforce' | 'report';
}

export interface ImportedPolicy {
  /** A policy file that loads. */
  readonly text: string;
  readonly rules: number;
  readonly operations: number;
  /** Operations that everybody may call, and those for which any valid token will do because nothing is said. */
  readonly public: readonly string[];
  readonly unstated: readonly string[];
}

interface RuleDraft {
  name: string;
  readonly method: string;
  readonly patterns: PathPattern[];
  demand: Demand;
  readonly notes: string[];
}

/**
 * One rule for each operation, so that metrics and audit tell them apart; operations that no request can tell apart become
 * one. Never lets in more than the document does, but where a path had to be widened. Null where, with an error, nothing
 * loadable comes of it.
 */
export function importPolicy(
  document: OpenapiDocument,
  operations: readonly OpenapiOperation[],
  options: ImportOptions,
): ImportedPolicy | null {
  const drafts = withoutRepeats(mergeEqualPaths(document, operations));
  nameApart(drafts);
  const bases = new Set(operations.flatMap((operation) => operation.bases));
  const [base = ''] = bases.size === 1 ? bases : [''];
  const text = written(document, drafts, base, options);
  const { policy, diagnostics } = compilePolicy([{ name: `${options.api}.yaml`, text }], { upstreams: null });
  if (policy === null) {
    for (const { message } of diagnostics)
      document.report('error', ['paths'], `no policy comes of it: ${message}`, 'key');
    return null;
  }
  const told = (wanted: (demand: Demand) => boolean): string[] =>
    drafts.filter(({ demand }) => wanted(demand)).map(({ name }) => name);
  return {
    text,
    rules: drafts.length,
    operations: operations.length,
    public: told((demand) => demand.kind === 'public'),
    unstated: told((demand) => demand.kind === 'token' && !demand.stated),
  };
}

/** `Pet Shop (v2)` → `pet-shop-v2` */
export function apiNameOf(title: string): string {
  const name = title
    .normalize('NFKD')
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-+|-+$/g, '')
    .slice(0, 64);
  return name === '' ? 'imported' : name;
}

/** Operations of one method whose paths match the same requests share a rule, which asks for what all of them do. */
function mergeEqualPaths(document: OpenapiDocument, operations: readonly OpenapiOperation[]): RuleDraft[] {
  const byKey = new Map<string, RuleDraft>();
  const drafts: RuleDraft[] = [];
  for (const { id, method, patterns, demand, template, source } of operations) {
    const name = id ?? `${method} ${template}`;
    const fresh: RuleDraft = { name, method, patterns: [], demand, notes: [] };
    for (const pattern of patterns) {
      const key = `${method} ${patternKey(pattern.segments)}`;
      const other = byKey.get(key);
      if (other === undefined) {
        byKey.set(key, fresh);
        fresh.patterns.push(pattern);
        continue;
      }
      if (!sameDemand(other.demand, demand)) {
        const message = `${method} ${template} matches the same requests as ${JSON.stringify(other.name)}; one rule asks for what both ask for`;
        document.diagnostics.push({ severity: 'warning', ...source, message });
        other.demand = strictest(other.demand, demand);
      }
      if (!other.notes.includes(name)) other.notes.push(name);
    }
    if (fresh.patterns.length > 0) drafts.push(fresh);
  }
  return drafts;
}

function sameDemand(a: Demand, b: Demand): boolean {
  if (a.kind === 'public' || b.kind === 'public') return a.kind === b.kind;
  return JSON.stringify(a.scopes) === JSON.stringify(b.scopes);
}

/** At least what both ask for. */
function strictest(a: Demand, b: Demand): Demand {
  if (a.kind === 'public') return b;
  if (b.kind === 'public') return a;
  const scopes = [...new Set([...a.scopes.scopes, ...b.scopes.scopes])];
  return { kind: 'token', stated: a.stated || b.stated, scopes: { kind: 'all', scopes } };
}

/** An operation below a wider one that asks for the same adds nothing but a path to that one's rule. */
function withoutRepeats(drafts: readonly RuleDraft[]): RuleDraft[] {
  const kept: RuleDraft[] = [];
  const gone = new Set<RuleDraft>();
  for (const draft of drafts) {
    const others = drafts.filter((other) => other !== draft && other.method === draft.method && !gone.has(other));
    const touching = others.filter((other) =>
      draft.patterns.some((pattern) => other.patterns.some((its) => overlap(pattern.segments, its.segments))),
    );
    const wider = touching.find((other) =>
      draft.patterns.every((pattern) => other.patterns.some((its) => covers(its.segments, pattern.segments))),
    );
    const same = touching.every((other) => sameDemand(other.demand, draft.demand));
    if (wider === undefined || !same) {
      kept.push(draft);
      continue;
    }
    wider.patterns.push(...draft.patterns);
    wider.notes.push(draft.name, ...draft.notes);
    gone.add(draft);
  }
  return kept;
}

/** Names as rules have them: up to 100 printable characters, each once. */
function nameApart(drafts: readonly RuleDraft[]): void {
  const taken = new Set<string>();
  for (const draft of drafts) {
    const plain =
      draft.name
        .replaceAll(/\p{C}+/gu, ' ')
        .trim()
        .slice(0, 90)
        .trim() || draft.method;
    let name = plain;
    for (let count = 2; taken.has(name); count += 1) name = `${plain} ${count}`;
    taken.add(name);
    draft.name = name;
  }
}

function written(
  document: OpenapiDocument,
  drafts: readonly RuleDraft[],
  base: string,
  options: ImportOptions,
): string {
  const yaml = new Document({
    api: options.api,
    upstream: options.upstream,
    ...(base === '' ? {} : { base }),
    ...(options.stripBase && base !== '' ? { strip_base: true } : {}),
    ...(options.mode === 'report' ? { mode: 'report' } : {}),
    rules: drafts.map((draft) => ruleOf(draft, base)),
  });
  const what = [document.title, document.apiVersion].filter((part) => part !== '').join(' ');
  yaml.commentBefore = comment(`Made of ${document.file} (${what}) by "portcullis policy import openapi".`);
  const rules = yaml.get('rules');
  if (isSeq(rules)) {
    for (const [index, rule] of rules.items.entries()) {
      if (!isMap(rule)) continue;
      const { notes = [], demand } = drafts[index] ?? {};
      if (index > 0) rule.spaceBefore = true;
      const lines = [
        ...(notes.length > 0 ? [`Also: ${notes.join(', ')}`] : []),
        ...(demand?.kind === 'token' && !demand.stated
          ? ['The document states no security: any valid token will do.']
          : []),
      ];
      if (lines.length > 0) rule.commentBefore = lines.map(comment).join('\n');
    }
  }
  visit(yaml, {
    Seq: (key, node) => {
      if (key !== null && node !== rules) node.flow = true;
    },
  });
  return yaml.toString({ lineWidth: 0, flowCollectionPadding: false });
}

function ruleOf({ name, method, patterns, demand }: RuleDraft, base: string): Readonly<Record<string, unknown>> {
  const paths = [...new Set(patterns.map(({ text }) => text.slice(base.length) || '/'))];
  const path = paths.length === 1 ? paths[0] : paths;
  if (demand.kind === 'public') return { name, methods: [method], path, public: true };
  const { kind, scopes } = demand.scopes;
  if (scopes.length === 0) return { name, methods: [method], path };
  return { name, methods: [method], path, ...(kind === 'any' ? { any_of: scopes } : { scopes }) };
}

/** One line: what a document says must not become a line of the policy. */
function comment(text: string): string {
  return ` ${text.replaceAll(/\p{C}+/gu, ' ')}`;
}
