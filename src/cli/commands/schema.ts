import type { Command } from 'commander';
import { configJsonSchema } from '../../config/schema.ts';
import { policyJsonSchema, policyTestJsonSchema } from '../../policy/json-schema.ts';
import { type CommandContext, EXIT, example } from '../command.ts';

const SCHEMAS: readonly (readonly [name: string, of: string, schema: () => object])[] = [
  ['config', 'the configuration', configJsonSchema],
  ['policy', 'the files of a policy folder', policyJsonSchema],
  ['policy-test', '*.test.yaml', policyTestJsonSchema],
];

export function registerSchema(root: Command, context: CommandContext): void {
  const group = root
    .command('schema')
    .description('Print a JSON Schema; editors take it from a line `# yaml-language-server: $schema=FILE`.');
  example(group, 'portcullis schema config > config.schema.json');
  for (const [name, of, schema] of SCHEMAS) {
    const command = group
      .command(name)
      .description(`Print the JSON Schema (draft 2020-12) of ${of}.`)
      .option('--json', 'print JSON, as always');
    example(command, `portcullis schema ${name} > ${name}.schema.json`);
    command.action(
      context.action(async () => {
        context.output.json(schema());
        return EXIT.ok;
      }),
    );
  }
}
