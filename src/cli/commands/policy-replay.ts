import { type Command, Option } from 'commander';
import { withWorkerFiles } from '../../audit/worker-files.ts';
import { UNDECIDABLE } from '../../policy/replay.ts';
import { type FlipGroup, type FlipKind, Replay, type ReplayReport } from '../../policy/replay-report.ts';
import { auditFilesOf, eachAccessEvent, type ReadFiles } from '../audit-files.ts';
import { type CommandContext, CommandFailure, EXIT, example } from '../command.ts';
import { requireConfig } from '../config-file.ts';
import { choices, moment, whole } from '../option-values.ts';
import { printable } from '../output.ts';
import { DEFAULT_POLICIES, requirePolicies } from './policy.ts';

const FAIL_ON = ['allow-to-deny', 'deny-to-allow', 'undecidable'] as const;

interface ReplayCommandOptions {
  readonly policies?: string;
  readonly audit?: readonly string[];
  readonly config?: string;
  readonly enforce?: boolean;
  readonly since?: number;
  readonly until?: number;
  readonly failOn?: readonly (typeof FAIL_ON)[number][];
  readonly tokens: number;
  readonly json?: boolean;
}

export function registerPolicyReplay(group: Command, context: CommandContext): void {
  const command = group
    .command('replay')
    .description('Decide recorded requests again under other policies, and say what would flip.')
    .option('--policies <dir>', 'folder of the policies to decide by')
    .option('--audit <files...>', 'audit files, also rotated and .gz or .zst ones; - for stdin')
    .option('--config <file>', 'take what is not given from this configuration, rotated audit files included')
    .option('--enforce', 'judge as if nothing was in report mode: what enforcing would refuse')
    .option('--since <time>', 'only events from then on: RFC 3339, or how long ago, such as 24h', moment)
    .option('--until <time>', 'only events before', moment)
    .addOption(
      new Option('--fail-on <what>', `exit 1 where there is any: ${FAIL_ON.join(', ')}`).argParser(choices(FAIL_ON)),
    )
    .option('--tokens <n>', 'tokens that are listed for each flip', whole(0), 5)
    .option('--json', 'print JSON');
  example(
    command,
    'portcullis policy replay --policies new-policies --audit data/audit.jsonl*',
    'portcullis policy replay --policies new-policies --audit data/audit.jsonl --fail-on allow-to-deny',
    'portcullis policy replay --config portcullis.yaml --enforce',
  );
  command.action(
    context.action(async (options: ReplayCommandOptions) => {
      const { policies, files, upstreams } = await places(context, options);
      const replay = new Replay(await requirePolicies(context, policies, upstreams), {
        enforce: options.enforce === true,
      });
      const { since = Number.NEGATIVE_INFINITY, until = Number.POSITIVE_INFINITY } = options;
      const everything = options.since === undefined && options.until === undefined;
      const read = await eachAccessEvent(context, files, (event) => {
        const time = everything ? 0 : Date.parse(event.time);
        if (everything || (time >= since && time < until)) replay.add(event);
      });
      const report = replay.report();
      const failed = (options.failOn ?? []).filter((what) => countOf(report, what) > 0);
      if (options.json === true) context.output.json({ ok: failed.length === 0, ...read, ...report });
      else print(context, policies, report, read, options.tokens);
      if (failed.length > 0) context.output.error(`failed for ${failed.join(', ')}`);
      return failed.length === 0 ? EXIT.ok : EXIT.failed;
    }),
  );
}

function countOf(report: ReplayReport, what: (typeof FAIL_ON)[number]): number {
  return what === 'undecidable' ? report.undecidable : report.totals[what].requests;
}

/** Where the policies and the events are, and the names of the upstreams where they are known. */
async function places(
  context: CommandContext,
  options: ReplayCommandOptions,
): Promise<{
  readonly policies: string;
  readonly files: readonly string[];
  readonly upstreams: ReadonlySet<string> | null;
}> {
  const config = options.config === undefined ? null : await requireConfig(context, options.config);
  const named = options.audit === undefined ? null : await withWorkerFiles(options.audit);
  const files = named ?? (config === null ? [] : await auditFilesOf(config));
  if (files.length === 0)
    throw new CommandFailure('which events? Name files with --audit, or give --config FILE', EXIT.usage);
  const policies = options.policies ?? config?.policies ?? DEFAULT_POLICIES;
  return { policies, files, upstreams: config === null ? null : new Set(config.upstreams.keys()) };
}

/** In the order in which they are printed. */
const SENTENCES: Readonly<Record<FlipKind, string>> = {
  'allow-to-deny': 'would be refused',
  'deny-to-allow': 'would be let in',
  'allow-to-would-deny': 'would be let in only because the rule reports',
  'would-deny-to-allow': 'would be let in without a report',
};

function print(
  { output }: CommandContext,
  policies: string,
  report: ReplayReport,
  read: ReadFiles,
  mostTokens: number,
): void {
  const span = report.first === null ? '' : `, ${report.first} to ${report.last}`;
  const enforcing = report.enforce ? ', all enforced' : '';
  output.line(
    `${counted(report.requests, 'request')}${span}, under ${policies} (version ${report.policy}${enforcing})`,
  );
  for (const [change, sentence] of Object.entries(SENTENCES)) {
    const flips = report.flips.filter((flip) => flip.change === change);
    if (flips.length === 0) continue;
    const { requests, tokens } = report.totals[flips[0]?.change ?? 'allow-to-deny'];
    const title = `${change}: ${tokensText(tokens, report.tokens_cut)}, ${counted(requests, 'request')} ${sentence}`;
    output.line();
    output.line(output.style(change.endsWith('deny') ? 'red' : 'yellow', title));
    for (const flip of flips) printFlip(output, flip, mostTokens);
  }
  output.line();
  if (report.flips.length === 0) output.line('nothing flips');
  const reasons = report.reason_changed === 0 ? '' : `, ${report.reason_changed} of them refused for another reason`;
  output.line(`${report.unchanged} unchanged${reasons}; ${report.outside} that no policy decides`);
  for (const { cause, type, requests } of report.undecidable_by) {
    output.line(output.style('yellow', `${requests} ${type} undecidable: ${UNDECIDABLE[cause]}`));
  }
  if (report.rate_limited_rules > 0) {
    output.note(`${report.rate_limited_rules} let in by rules with a rate limit; limits are not replayed`);
  }
  if (read.malformed > 0) {
    output.note(
      `${counted(read.malformed, 'line')} passed over that are no audit events; see "portcullis audit verify"`,
    );
  }
}

function printFlip(output: CommandContext['output'], flip: FlipGroup, mostTokens: number): void {
  const { from, to } = flip;
  const place = to.source === null ? '' : ` (${to.source.file}:${to.source.line})`;
  const now = `${to.reason ?? 'allowed'} by ${ruleName(to)}${place}`;
  const then =
    from.api === to.api && from.rule === to.rule ? '' : `, was ${from.reason ?? 'allowed'} by ${ruleName(from)}`;
  const count = `${counted(flip.tokens, 'token')}, ${counted(flip.requests, 'request')}`;
  output.line(`  ${printable(`${now}${then}`)}: ${count}`);
  for (const { token_id: id, owner, requests, example: first } of flip.by_token.slice(0, mostTokens)) {
    const who = id === null ? 'without a token' : `${id}${owner === null ? '' : ` of ${owner}`}`;
    output.line(`    ${printable(who)}: ${counted(requests, 'request')}, such as ${printable(first)}`);
  }
  const more = flip.by_token.length - mostTokens;
  if (more > 0 && mostTokens > 0) output.line(`    and ${more} more`);
}

function ruleName({ api, rule }: { readonly api: string | null; readonly rule: string | null }): string {
  if (rule === null) return api === null ? 'no rule' : `no rule of ${api}`;
  return `rule "${rule}"${api === null ? '' : ` of ${api}`}`;
}

function tokensText(tokens: number, cut: boolean): string {
  return `${cut ? 'at least ' : ''}${counted(tokens, 'token')}`;
}

function counted(count: number, word: string): string {
  return `${count} ${word}${count === 1 ? '' : 's'}`;
}
