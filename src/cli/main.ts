import { Command, CommanderError } from 'commander';
import { type CommandContext, CommandFailure, EXIT, example } from './command.ts';
import { registerAdminToken } from './commands/admin-token.ts';
import { registerAudit } from './commands/audit.ts';
import { registerConfig } from './commands/config.ts';
import { registerDemo } from './commands/demo.ts';
import { registerPolicy } from './commands/policy.ts';
import { registerSchema } from './commands/schema.ts';
import { registerServe } from './commands/serve.ts';
import { registerToken } from './commands/token.ts';
import { createOutput } from './output.ts';
import type { CliRuntime } from './runtime.ts';

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
    await program(context).parseAsync([...argv], { from: 'user' });
    return status;
  } catch (error) {
    // Commander has printed its own message, or the help that was asked for.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    output.progress(null);
    output.error(error instanceof Error ? error.message : String(error));
    return error instanceof CommandFailure ? error.status : EXIT.failed;
  }
}

function program(context: CommandContext): Command {
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
  registerDemo(root, context);
  registerServe(root, context);
  registerConfig(root, context);
  registerPolicy(root, context);
  registerToken(root, context);
  registerAdminToken(root, context);
  registerAudit(root, context);
  registerSchema(root, context);
  return root;
}
