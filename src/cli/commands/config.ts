import { relative } from 'node:path';
import type { Command } from 'commander';
import { formatDiagnostic, hasErrors } from '../../base/diagnostic.ts';
import { loadConfig } from '../../config/load.ts';
import { loadPolicyFolder } from '../../policy/load.ts';
import { type CommandContext, EXIT, example } from '../command.ts';
import { counted } from '../config-file.ts';

export function registerConfig(root: Command, context: CommandContext): void {
  const group = root.command('config').description('Work with the configuration.');
  example(group, 'portcullis config check --config portcullis.yaml');
  const check = group
    .command('check')
    .description('Check a configuration and its policies without starting anything: every error, with its place.')
    .requiredOption('--config <file>', 'the configuration')
    .option('--json', 'print JSON');
  example(check, 'portcullis config check --config portcullis.yaml');
  check.action(
    context.action(async ({ config: file, json }: { readonly config: string; readonly json?: boolean }) => {
      const { output, runtime } = context;
      const { config, policies, diagnostics: ofConfig } = await loadConfig(file, runtime.env);
      // Where the upstreams are not known for sure, their names are not held against the policies.
      const upstreams = config === null ? null : new Set(config.upstreams.keys());
      const loaded = policies === null ? null : await loadPolicyFolder(shortest(policies), { upstreams });
      const diagnostics = [...ofConfig, ...(loaded?.diagnostics ?? [])];
      const valid = !hasErrors(diagnostics);
      if (json === true) output.json({ valid, diagnostics });
      else {
        for (const diagnostic of diagnostics) output.line(formatDiagnostic(diagnostic));
        if (!valid) output.error(`${file} is not a valid configuration (${counted(diagnostics)})`);
        else {
          const files = loaded?.policy?.files.length ?? 0;
          const rules = loaded?.policy?.apis.reduce((sum, api) => sum + api.rules.length, 0) ?? 0;
          output.line(`${file}: ok, with ${rules} rules in ${files} policy files`);
        }
      }
      return valid ? EXIT.ok : EXIT.failed;
    }),
  );
}

/** The path as a person at this place would write it. */
function shortest(path: string): string {
  const fromHere = relative(process.cwd(), path);
  return fromHere === '' || fromHere.startsWith('..') ? path : fromHere;
}
