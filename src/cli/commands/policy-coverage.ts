import { type Command, Option } from 'commander';
import { didYouMean } from '../../base/nearest.ts';
import type { SourcePlace } from '../../policy/compiled-policy.ts';
import { type CoverageReport, type CoveredOperation, coverage } from '../../policy/openapi/coverage.ts';
import { readOperations } from '../../policy/openapi/operations.ts';
import { type CommandContext, CommandFailure, EXIT, example } from '../command.ts';
import { baseOption, requireOpenapi, tellDiagnostics } from '../openapi-file.ts';
import { choices } from '../option-values.ts';
import { printable } from '../output.ts';
import { DEFAULT_POLICIES, requirePolicies } from './policy.ts';

const FAIL_ON = ['uncovered', 'open', 'idle'] as const;

interface CoverageCommandOptions {
  readonly openapi: string;
  readonly api?: string;
  readonly base?: string;
  readonly host?: string;
  readonly failOn?: readonly (typeof FAIL_ON)[number][];
  readonly json?: boolean;
}

export function registerPolicyCoverage(group: Command, context: CommandContext): void {
  const command = group
    .command('coverage')
    .description('Compare policies with an OpenAPI document: operations that no rule covers, rules that match none.')
    .argument('[dir]', 'folder of the policies', DEFAULT_POLICIES)
    .requiredOption('--openapi <file>', 'OpenAPI 3.0 or 3.1, YAML or JSON; - for stdin')
    .option('--api <name>', 'the API that the document describes; by default those that its operations fall to')
    .option('--base <path>', 'prefix of every path, in place of those of the servers; / for none', baseOption)
    .option('--host <host>', 'host of the requests; by default any that the policies name')
    .addOption(
      new Option('--fail-on <what>', `exit 1 where there is any: ${FAIL_ON.join(', ')}`).argParser(choices(FAIL_ON)),
    )
    .option('--json', 'print JSON');
  example(
    command,
    'portcullis policy coverage policies --openapi openapi.yaml',
    'portcullis policy coverage policies --openapi openapi.yaml --fail-on uncovered,open',
  );
  command.action(
    context.action(async (dir: string, options: CoverageCommandOptions) => {
      const policy = await requirePolicies(context, dir, null);
      const { api = null, host } = options;
      if (api !== null && !policy.apis.some(({ name }) => name === api)) {
        const names = policy.apis.map(({ name }) => name);
        throw new CommandFailure(`there is no API ${JSON.stringify(api)} in ${dir}${didYouMean(api, names)}`);
      }
      const document = await requireOpenapi(context, options.openapi);
      const operations = readOperations(document, { base: options.base ?? null, scopePrefix: '' });
      tellDiagnostics(context, document);
      const report = coverage(policy, operations, { api, host: host?.toLowerCase() ?? null });
      const failed = (options.failOn ?? []).filter((what) => report[what].length > 0);
      if (options.json === true) context.output.json({ ok: failed.length === 0, ...report });
      else print(context, report);
      if (failed.length > 0) context.output.error(`failed for ${failed.join(', ')}`);
      return failed.length === 0 ? EXIT.ok : EXIT.failed;
    }),
  );
}

function print({ output }: CommandContext, report: CoverageReport): void {
  const at = ({ file, line, col }: SourcePlace): string => `${file}:${line}:${col}`;
  const named = ({ operation, id }: CoveredOperation): string => `${operation}${id === null ? '' : ` (${id})`}`;
  const say = (place: SourcePlace, kind: (typeof FAIL_ON)[number], text: string): void => {
    const title = output.style(kind === 'idle' ? 'yellow' : 'red', kind);
    output.line(`${printable(at(place))}: ${title}: ${printable(text)}`);
  };
  for (const entry of report.uncovered) say(entry.source, 'uncovered', `no rule declares ${named(entry)}`);
  for (const entry of report.open) {
    const rule = entry.rule === null ? 'rule' : `rule ${entry.rule.id} at ${at(entry.rule.source)}`;
    say(entry.source, 'open', `${named(entry)} asks for a token, and the public ${rule} for none`);
  }
  for (const { rule, path, source, whole } of report.idle) {
    say(source, 'idle', `${whole ? '' : `path ${path} of `}rule ${rule} matches no operation`);
  }
  const apis = report.apis.length === 0 ? 'no API' : report.apis.join(', ');
  const { covered, operations, idle } = report;
  output.line(`${covered} of ${operations} operations covered (${apis}), ${idle.length} rules or paths idle`);
}
