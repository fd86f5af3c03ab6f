import type { Command } from 'commander';
import { type CommandContext, example } from '../command.ts';
import { requireConfig } from '../config-file.ts';

export function registerServe(root: Command, context: CommandContext): void {
  const command = root
    .command('serve')
    .description('Run the gateway. SIGTERM drains it; SIGHUP, or a change of a policy file, reloads the policies.')
    .requiredOption('--config <file>', 'the configuration');
  example(command, 'portcullis serve --config portcullis.yaml');
  command.action(
    context.action(async ({ config: file }: { readonly config: string }) => {
      const { output, runtime } = context;
      const config = await requireConfig(context, file);
      return await runtime.serve(config, {
        onReady: ({ trafficUrl, adminUrl }) => {
          output.line(`portcullis: traffic on ${trafficUrl}`);
          output.line(`portcullis: admin on ${adminUrl}`);
        },
      });
    }),
  );
}
