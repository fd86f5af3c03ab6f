import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { auditChainId } from '../../audit/open.ts';
import { type VerifyReport, verifyAuditFiles } from '../../audit/verify-files.ts';
import { withWorkerFiles, workerFile, workerFiles } from '../../audit/worker-files.ts';
import type { Config } from '../../config/config.ts';
import { auditFilesOf } from '../audit-files.ts';
import { type CommandContext, CommandFailure, EXIT, example } from '../command.ts';
import { requireConfig } from '../config-file.ts';

export function registerAuditVerify(group: Command, context: CommandContext): void {
  const command = group
    .command('verify')
    .description(
      "Check the hash chain: an edited, removed, reordered or inserted line, and a cut-off end. With --config the end is compared with the store's last checkpoint, too.",
    )
    .argument(
      '[files...]',
      'audit files, in any order, each with those of further workers; without them those of the configuration',
    )
    .option('--config <file>', 'the configuration')
    .option('--json', 'print JSON');
  example(command, 'portcullis audit verify data/audit.jsonl', 'portcullis audit verify --config portcullis.yaml');
  command.action(
    context.action(async (given: readonly string[], options: { readonly config?: string; readonly json?: boolean }) => {
      const { output } = context;
      const config = options.config === undefined ? null : await requireConfig(context, options.config);
      const files = given.length > 0 ? await withWorkerFiles(given) : await configuredFiles(config);
      output.progress(`verifying ${files.join(', ')} …`);
      const report = await verifyAuditFiles(files, config === null ? {} : await againstStore(context, config, given));
      output.progress(null);
      if (options.json === true) output.json(report);
      else print(context, report);
      return report.ok ? EXIT.ok : EXIT.failed;
    }),
  );
}

async function configuredFiles(config: Config | null): Promise<string[]> {
  if (config === null) throw new CommandFailure('which files? Name them, or give --config FILE', EXIT.usage);
  return await auditFilesOf(config);
}

function sinkPaths(config: Config): string[] {
  return config.audit.sinks.flatMap((sink) => (sink.kind === 'file' ? [sink.path] : []));
}

/** The chains of the configured files that are looked at have to be there; of others only the end is compared. */
async function againstStore(context: CommandContext, config: Config, given: readonly string[]) {
  const looked = new Set(given.map((file) => resolve(file)));
  const paths = sinkPaths(config).filter((path) => given.length === 0 || looked.has(resolve(path)));
  const expected = await Promise.all(
    paths.map(async (path) => [
      ...configuredWorkers(config).map((worker) => workerFile(path, worker)),
      ...(await workerFiles(path)),
    ]),
  );
  return {
    lastCheckpoint: (chain: string) => context.runtime.lastCheckpoint(config, chain),
    expectedChains: [...new Set(expected.flat())].map((path) => auditChainId(path)),
  };
}

/** Also the worker whose file is gone. What a machine with more processors may have started is not known here. */
function configuredWorkers({ workers }: Config): number[] {
  const count = workers === 'auto' ? availableParallelism() : workers;
  return Array.from({ length: count }, (_, index) => index + 1);
}

function print({ output }: CommandContext, report: VerifyReport): void {
  const place = (file: string, line: number) => [file, ...(line > 0 ? [line] : [])].join(':');
  for (const { file, line, message } of report.notices) output.line(`${place(file, line)}: note: ${message}`);
  for (const { file, line, message } of report.problems) {
    const where = place(file, line);
    output.line(`${where === '' ? '' : `${where}: `}${output.style('red', 'problem')}: ${message}`);
  }
  const more = report.problemCount - report.problems.length;
  if (more > 0) output.line(`and ${more} more`);
  for (const chain of report.chains) {
    const end = chain.closed ? 'closed in order' : 'still open, or its process was killed';
    const compared = chain.checkpoint === null ? '' : `; the store knows event ${chain.checkpoint}`;
    output.line(`chain ${chain.chain}: events ${chain.firstSeq} to ${chain.lastSeq}, ${end}${compared}`);
  }
  if (report.ok) output.line(`${output.style('green', 'ok')}: ${report.lines} lines`);
  else output.error(`${report.problemCount} problem${report.problemCount === 1 ? '' : 's'} in ${report.lines} lines`);
}
