import type { Diagnostic } from '../base/diagnostic.ts';
import { didYouMean } from '../base/nearest.ts';
import { salvageYamlDocument } from '../base/yaml-document.ts';
import type { McpMessage } from '../model/mcp-message.ts';
import type { PolicyFile } from './compile.ts';
import type { CompiledPolicy, SourcePlace } from './compiled-policy.ts';
import { decide } from './decide.ts';
import { samplePrincipal } from './sample-principal.ts';
import { type TestCaseInFile, testFileSchema } from './schema/test-file.ts';

/** The gateway's reading of a request-target: canonical path without query, or why there is none. */
export type Canonicalise = (
  target: string,
) =>
  | { readonly ok: true; readonly path: string }
  | { readonly ok: false; readonly reason: 'path_ambiguous' | 'request_malformed' };

export interface PolicyTestContext {
  readonly canonicalise: Canonicalise;
  /** For cases without a time of their own, milliseconds since the epoch. */
  readonly now: number;
}

export interface PolicyTestResult {
  readonly name: string;
  readonly source: SourcePlace;
  readonly passed: boolean;
  /** `deny condition_failed (ip) by "read orders"`. */
  readonly actual: string;
  /** What differs, one sentence each; empty when it passed. */
  readonly differences: readonly string[];
}

export interface PolicyTestRun {
  readonly results: readonly PolicyTestResult[];
  /** What is wrong with the test files themselves: with any, the run has failed. */
  readonly diagnostics: readonly Diagnostic[];
}

/** Runs every case of every test file against the policy. */
export function runPolicyTests(
  policy: CompiledPolicy,
  testFiles: readonly PolicyFile[],
  context: PolicyTestContext,
): PolicyTestRun {
  const results: PolicyTestResult[] = [];
  const diagnostics: Diagnostic[] = [];
  for (const file of testFiles) {
    const salvaged = salvageYamlDocument(file.text, file.name, testFileSchema);
    diagnostics.push(...salvaged.diagnostics);
    const document = salvaged.document;
    if (document === null) continue;
    for (const [index, testCase] of document.value.cases.entries()) {
      // A case that lost a part would test something else than was written.
      if (document.damaged(['cases', index])) continue;
      const source = { file: file.name, ...document.locate(['cases', index]) };
      results.push(runCase(policy, testCase, source, context));
    }
  }
  return { results, diagnostics };
}

/** What is wrong with the test files as such, without running a case. */
export function checkPolicyTests(testFiles: readonly PolicyFile[]): readonly Diagnostic[] {
  return testFiles.flatMap(({ name, text }) => salvageYamlDocument(text, name, testFileSchema).diagnostics);
}

interface Outcome {
  readonly decision: 'allow' | 'deny';
  readonly reason: string | null;
  readonly condition: string | null;
  readonly rule: { readonly name: string; readonly id: string } | null;
}

function runCase(
  policy: CompiledPolicy,
  testCase: TestCaseInFile,
  source: SourcePlace,
  context: PolicyTestContext,
): PolicyTestResult {
  const outcome = judge(policy, testCase, context);
  const { expect } = testCase;
  const differences: string[] = [];
  const compare = (what: 'decision' | 'reason' | 'condition', actual: string | null): void => {
    const wanted = expect[what];
    if (wanted !== undefined && wanted !== actual)
      differences.push(`expected ${what} ${wanted}, got ${actual ?? 'none'}`);
  };
  compare('decision', outcome.decision);
  compare('reason', outcome.reason);
  compare('condition', outcome.condition);
  const { rule } = outcome;
  if (expect.rule === null && rule !== null) differences.push(`expected no rule, got "${rule.name}"`);
  if (typeof expect.rule === 'string' && expect.rule !== rule?.name && expect.rule !== rule?.id) {
    differences.push(
      `expected rule "${expect.rule}", got ${rule === null ? 'none' : `"${rule.name}"`}${unknownRule(policy, expect.rule)}`,
    );
  }
  return { name: testCase.name, source, passed: differences.length === 0, actual: describe(outcome), differences };
}

function judge(policy: CompiledPolicy, { request, token }: TestCaseInFile, context: PolicyTestContext): Outcome {
  const target = context.canonicalise(request.path);
  if (!target.ok) return { decision: 'deny', reason: target.reason, condition: null, rule: null };
  const now = request.time ?? context.now;
  const asked = {
    method: request.method,
    host: request.host,
    path: target.path,
    ip: request.ip,
    mcp: messageOf(request),
  };
  if (policy.routes.ambiguous(asked))
    return { decision: 'deny', reason: 'path_ambiguous', condition: null, rule: null };
  const principal = token === 'none' ? null : samplePrincipal(token, now);
  const decision = decide(policy, policy.routes.match(asked), asked, principal, now);
  if (decision.effect === 'allow') return { decision: 'allow', reason: null, condition: null, rule: decision.rule };
  return { decision: 'deny', reason: decision.reason, condition: decision.condition, rule: decision.rule };
}

/** Only a POST carries a message to the gateway. */
function messageOf({ method, mcp }: TestCaseInFile['request']): McpMessage | null {
  return mcp === undefined || method !== 'POST' ? null : { method: mcp.method, tool: mcp.tool ?? null };
}

function describe({ decision, reason, condition, rule }: Outcome): string {
  const why = reason === null ? '' : ` ${reason}${condition === null ? '' : ` (${condition})`}`;
  return `${decision}${why}${rule === null ? '' : ` by "${rule.name}"`}`;
}

function unknownRule(policy: CompiledPolicy, name: string): string {
  const rules = policy.apis.flatMap((api) => api.rules);
  if (rules.some((rule) => rule.name === name || rule.id === name)) return '';
  const known = rules.map((rule) => (name.includes('/') ? rule.id : rule.name));
  return `; there is no such rule${didYouMean(name, known)}`;
}
