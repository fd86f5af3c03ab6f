import type { Command } from 'commander';
import { formatDiagnostic, hasErrors, sortDiagnostics } from '../../base/diagnostic.ts';
import type { CompiledPolicy } from '../../policy/compiled-policy.ts';
import { PolicyUsage } from '../../policy/lint/usage.ts';
import { lintPolicy } from '../../policy/lint.ts';
import { loadPolicyFolder, readPolicyFolder } from '../../policy/load.ts';
import { checkPolicyTests, type PolicyTestRun, runPolicyTests } from '../../policy/run-policy-tests.ts';
import { eachAccessEvent } from '../audit-files.ts';
import { type CommandContext, CommandFailure, EXIT, example } from '../command.ts';
import { counted } from '../config-file.ts';
import { printable } from '../output.ts';
import { registerPolicyCoverage } from './policy-coverage.ts';
import { registerPolicyExplain } from './policy-explain.ts';
import { registerPolicyImport } from './policy-import.ts';
import { registerPolicyReplay } from './policy-replay.ts';

export const DEFAULT_POLICIES = './policies';

export function registerPolicy(root: Command, context: CommandContext): void {
  const group = root.command('policy').description('Check, explain, test, replay and import policies.');
  example(group, 'portcullis policy check policies');
  registerCheck(group, context);
  registerPolicyExplain(group, context);
  registerTest(group, context);
  registerPolicyReplay(group, context);
  registerPolicyImport(group, context);
  registerPolicyCoverage(group, context);
}

interface CheckOptions {
  readonly audit?: readonly string[];
  readonly strict?: boolean;
  readonly json?: boolean;
}

function registerCheck(group: Command, context: CommandContext): void {
  const check = group
    .command('check')
    .description('Check the policies of a folder: every error with its place, and what looks like a mistake.')
    .argument('[dir]', 'folder of the policies', DEFAULT_POLICIES)
    .option('--audit <files...>', 'audit files: warn also of what recorded requests never hit or met; - for stdin')
    .option('--strict', 'exit 1 for warnings, too')
    .option('--json', 'print JSON');
  example(
    check,
    'portcullis policy check policies',
    'portcullis policy check policies --audit data/audit.jsonl* --strict',
  );
  check.action(
    context.action(async (dir: string, { audit, strict, json }: CheckOptions) => {
      const { output } = context;
      const { policy, diagnostics: ofLoading } = await loadPolicyFolder(dir, { upstreams: null });
      const usage = policy === null || audit === undefined ? null : await usageOf(context, policy, audit);
      const lint = policy === null ? [] : lintPolicy(policy, usage);
      const ofTests = checkPolicyTests((await readPolicyFolder(dir)).tests);
      const diagnostics = sortDiagnostics([...ofLoading, ...lint, ...ofTests]);
      const valid = policy !== null && !hasErrors(diagnostics);
      if (json === true) {
        output.json({ valid, diagnostics, ...(usage === null ? {} : { requests: usage.requests }) });
      } else {
        for (const diagnostic of diagnostics) output.line(formatDiagnostic(diagnostic));
        if (!valid) output.error(`the policies in ${dir} are not valid (${counted(diagnostics)})`);
        else output.line(summary(dir, policy, diagnostics.length));
      }
      return valid && (strict !== true || diagnostics.length === 0) ? EXIT.ok : EXIT.failed;
    }),
  );
}

async function usageOf(
  context: CommandContext,
  policy: CompiledPolicy,
  files: readonly string[],
): Promise<PolicyUsage> {
  const usage = new PolicyUsage(policy);
  await eachAccessEvent(context, files, (event) => usage.add(event));
  if (usage.requests === 0) throw new CommandFailure('there is no request in these audit files');
  return usage;
}

function summary(dir: string, policy: CompiledPolicy, warnings: number): string {
  const rules = policy.apis.reduce((sum, api) => sum + api.rules.length, 0);
  const what = `${policy.apis.length} APIs, ${rules} rules, ${policy.roles.size} roles, ${policy.classes.size} classes`;
  return `${dir}: ok, version ${policy.version}: ${what}${warnings === 0 ? '' : `; ${warnings} warnings`}`;
}

function registerTest(group: Command, context: CommandContext): void {
  const test = group
    .command('test')
    .description('Run the *.test.yaml beside the policies: one line per case, and a summary.')
    .argument('[dir]', 'folder of the policies', DEFAULT_POLICIES)
    .option('--json', 'print JSON');
  example(test, 'portcullis policy test policies');
  test.action(
    context.action(async (dir: string, { json }: { readonly json?: boolean }) => {
      const policy = await requirePolicies(context, dir, null);
      const { tests } = await readPolicyFolder(dir);
      const run = runPolicyTests(policy, tests, { canonicalise: context.runtime.canonicalise, now: Date.now() });
      const failed = run.results.filter(({ passed }) => !passed).length;
      // A folder without a single case has not been tested.
      const ok = failed === 0 && run.results.length > 0 && !hasErrors(run.diagnostics);
      if (json === true) context.output.json({ ok, passed: run.results.length - failed, failed, ...run });
      else report(context, dir, run, failed);
      return ok ? EXIT.ok : EXIT.failed;
    }),
  );
}

function report({ output }: CommandContext, dir: string, run: PolicyTestRun, failed: number): void {
  for (const { name, source, passed, differences } of run.results) {
    if (passed) output.line(`${output.style('green', '✓')} ${printable(name)}`);
    else {
      output.line(`${output.style('red', '✗')} ${printable(name)}  ${source.file}:${source.line}:${source.col}`);
      for (const difference of differences) output.line(`    ${printable(difference)}`);
    }
  }
  for (const diagnostic of run.diagnostics) output.line(formatDiagnostic(diagnostic));
  output.line(`${run.results.length - failed} passed, ${failed} failed`);
  if (run.results.length === 0 && run.diagnostics.length === 0) output.error(`no *.test.yaml with cases in ${dir}`);
}

/** The policies that a command needs. What is wrong with them goes to stderr and ends the command. */
export async function requirePolicies(
  context: CommandContext,
  dir: string,
  upstreams: ReadonlySet<string> | null,
): Promise<CompiledPolicy> {
  const { policy, diagnostics } = await loadPolicyFolder(dir, { upstreams });
  if (policy !== null) return policy;
  for (const diagnostic of diagnostics) context.output.note(formatDiagnostic(diagnostic));
  throw new CommandFailure(`the policies in ${dir} are not valid (${counted(diagnostics)})`);
}
