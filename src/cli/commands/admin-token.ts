import type { Command } from 'commander';
import { parseDuration } from '../../base/quantity.ts';
import { type CommandContext, CommandFailure, EXIT, example, list } from '../command.ts';
import { requireConfig } from '../config-file.ts';
import { handOut, type SecretOptions } from '../secret-output.ts';

interface AdminTokenOptions extends SecretOptions {
  readonly config: string;
  readonly name: string;
  readonly owner: string;
  readonly class: string;
  readonly scopes?: readonly string[];
  readonly ttl?: string;
}

export function registerAdminToken(root: Command, context: CommandContext): void {
  const command = root
    .command('admin-token')
    .description('Create a first (or break-glass) admin token directly in the store, whether or not a gateway runs.')
    .requiredOption('--config <file>', 'the configuration')
    .option('--out <file>', 'write the secret to this file (mode 0600) instead of stdout')
    .option('--force', 'let --out replace a file')
    .option('--name <name>', 'what the token is for', 'admin')
    .option('--owner <owner>', 'team or person that answers for it', 'operator')
    .option('--class <class>', 'class of the policies', 'admin')
    .option('--scopes <scopes>', 'what it may do; * is everything', list)
    .option('--ttl <duration>', "such as 8h; without it the class's default")
    .option('--json', 'print JSON');
  example(
    command,
    'portcullis admin-token --config portcullis.yaml --out admin.token',
    'portcullis admin-token --config portcullis.yaml --ttl 1h --scopes portcullis:tokens:read,portcullis:audit:read',
  );
  command.action(
    context.action(async (options: AdminTokenOptions) => {
      const ttl = options.ttl === undefined ? null : parseDuration(options.ttl);
      if (ttl !== null && !ttl.ok) throw new CommandFailure(`--ttl: ${ttl.error}`, EXIT.usage);
      const config = await requireConfig(context, options.config);
      await handOut(context, options, async () => {
        const { token, record } = await context.runtime.createToken(config, {
          name: options.name,
          owner: options.owner,
          class: options.class,
          scopes: options.scopes ?? ['*'],
          ttlMs: ttl?.value ?? null,
        });
        return { token, record, summary: `token ${summary(record)} created in the store` };
      });
      return EXIT.ok;
    }),
  );
}

function summary(record: object): string {
  const { id, name, expires_at } = { id: '', name: '', expires_at: '', ...record };
  return `${id} (${name}), until ${expires_at},`;
}
