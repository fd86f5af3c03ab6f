import { Command, CommanderError } from 'commander';
import { type CommandContext, CommandFailure, EXIT, example } from './command.ts';
import { createOutput } from './output.ts';
import type { CliRuntime } from './runtime.ts';

type Register = (root: Command, context: CommandContext) => void;

/** In the order of the help page. Only the one that is asked for is loaded: most need a small part of the product. */
const COMMANDS: Readonly<Record<string, () => Promise<Register>>> = {
  demo: async () => (await import('./commands/demo.ts')).registerDemo,
  serve: async () => (await import('./commands/serve.ts')).registerServe,
  config: async () => (await import('./commands/config.ts')).registerConfig,
  policy: async () => (await import('./commands/policy.ts')).registerPolicy,
  token: async () => (await import('./commands/token.ts')).registerToken,
  'admin-token': async () => (await import('./commands/admin-token.ts')).registerAdminToken,
  agent: async () => (await import('./commands/agent.ts')).registerAgent,
  audit: async () => (await import('./commands/audit.ts')).registerAudit,
  schema: async () => (await import('./commands/schema.ts')).registerSchema,
};

/** Runs one command. Resolves with the exit status: 0 ok, 1 the check or call failed, 2 usage. Never rejects. */
export async function runCli(argv: readonly string[], runtime: CliRuntime): Promise<number> {
  const output = createOutput(runtime.env);
  let status: number = EXIT.ok;
  const context: CommandContext = {
    output,
    runtime,
    action:
      (run) =>
      async (...args) => {
        status = await run(...args);
      },
  };
  try {
    const root = await program(context, argv[0] ?? '');
    await root.parseAsync([...argv], { from: 'user' });
    return status;
  } catch (error) {
    // Commander has printed its own message, or the help that was asked for.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    output.progress(null);
    output.error(error instanceof Error ? error.message : String(error));
    return error instanceof CommandFailure ? error.status : EXIT.failed;
  }
}

async function program(context: CommandContext, name: string): Promise<Command> {
  const root = new Command('portcullis')
    .description('A gateway that checks tokens and scope policies in front of existing HTTP APIs.')
    .version(context.runtime.version, '--version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand(false)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => context.output.raw(text),
      writeErr: (text) => context.output.rawNote(text),
      outputError: (text, write) => write(`portcullis: ${text.replace(/^error: /, '')}`),
    });
  example(root, 'portcullis demo', 'portcullis serve --config portcullis.yaml');
  const asked = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  for (const load of asked === undefined ? Object.values(COMMANDS) : [asked]) (await load())(root, context);
  for (const group of root.commands) group.helpCommand(false);
  return root;
}
