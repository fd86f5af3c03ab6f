import { rename, writeFile } from 'node:fs/promises';
import { type Command, InvalidArgumentError } from 'commander';
import { apiNameOf, importPolicy } from '../../policy/openapi/import.ts';
import { readOperations } from '../../policy/openapi/operations.ts';
import { apiName } from '../../policy/schema/fields.ts';
import { type CommandContext, CommandFailure, EXIT, example } from '../command.ts';
import { baseOption, requireOpenapi, tellDiagnostics } from '../openapi-file.ts';
import { choice } from '../option-values.ts';

interface ImportCommandOptions {
  readonly api?: string;
  readonly upstream?: string;
  readonly base?: string;
  readonly stripBase?: boolean;
  readonly scopePrefix: string;
  readonly mode: 'enforce' | 'report';
  readonly out?: string;
  readonly force?: boolean;
  readonly json?: boolean;
}

export function registerPolicyImport(group: Command, context: CommandContext): void {
  const parent = group
    .command('import')
    .description('Make policies of descriptions that are there.')
    .helpCommand(false);
  example(parent, 'portcullis policy import openapi openapi.yaml --out policies/shop.yaml');
  const command = parent
    .command('openapi')
    .description('Make a policy file of an OpenAPI 3.0 or 3.1 document: paths, methods and scopes.')
    .argument('<file>', 'the document, YAML or JSON; - for stdin')
    .option('--api <name>', 'name of the API; by default of the title', name)
    .option('--upstream <name>', 'name of its upstream; by default that of the API')
    .option('--base <path>', 'prefix of every path, in place of those of the servers; / for none', baseOption)
    .option('--strip-base', 'the upstream gets the path without the base')
    .option('--scope-prefix <text>', 'put before every scope, such as shop:', '')
    .option('--mode <mode>', 'enforce or report', choice(['enforce', 'report'] as const), 'enforce')
    .option('--out <file>', 'write it there, and not to stdout')
    .option('--force', 'replace a file that is there')
    .option('--json', 'print JSON');
  example(
    command,
    'portcullis policy import openapi openapi.yaml --out policies/shop.yaml',
    'portcullis policy import openapi openapi.json --api shop --scope-prefix shop: --mode report',
  );
  command.action(
    context.action(async (file: string, options: ImportCommandOptions) => {
      const document = await requireOpenapi(context, file);
      const operations = readOperations(document, { base: options.base ?? null, scopePrefix: options.scopePrefix });
      const api = options.api ?? apiNameOf(document.title);
      const { upstream = api, stripBase = false, mode } = options;
      const errors = document.diagnostics.some(({ severity }) => severity === 'error');
      const imported = errors ? null : importPolicy(document, operations, { api, upstream, stripBase, mode });
      tellDiagnostics(context, document);
      if (imported === null) throw new CommandFailure(`no policy comes of ${document.file}`);
      const { text, ...counts } = imported;
      if (options.out !== undefined) await write(options.out, text, options.force === true);
      if (options.json === true) {
        context.output.json({ api, upstream, ...counts, policy: text, diagnostics: document.diagnostics });
      } else if (options.out === undefined) context.output.raw(text);
      else context.output.line(`${options.out}: ${counts.operations} operations, ${counts.rules} rules`);
      remarks(context, imported.public, 'public, as the document says: everybody may call');
      remarks(context, imported.unstated, 'without security in the document: any valid token may call');
      return EXIT.ok;
    }),
  );
}

/** On stderr, so that a policy on stdout stays one. */
function remarks({ output }: CommandContext, names: readonly string[], what: string): void {
  if (names.length === 0) return;
  const more = names.length > SHOWN ? `, and ${names.length - SHOWN} more` : '';
  output.note(`${names.length} ${what} ${names.slice(0, SHOWN).join(', ')}${more}`);
}

const SHOWN = 10;

/** The file appears whole: the folder may be that of a running gateway. */
async function write(file: string, text: string, force: boolean): Promise<void> {
  try {
    if (!force) return await writeFile(file, text, { flag: 'wx' });
    await writeFile(`${file}.new`, text);
    await rename(`${file}.new`, file);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') {
      throw new CommandFailure(`${file} exists already; --force replaces it`);
    }
    throw new CommandFailure(`${file} cannot be written: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function name(text: string): string {
  const parsed = apiName.safeParse(text);
  if (parsed.success) return parsed.data;
  throw new InvalidArgumentError(parsed.error.issues[0]?.message ?? 'This is no name.');
}
