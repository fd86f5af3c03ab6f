import { type CommandContext, CommandFailure } from './command.ts';
import { reserveSecretFile } from './secret-file.ts';

export interface SecretOptions {
  readonly out?: string;
  readonly force?: boolean;
  readonly json?: boolean;
}

/**
 * Runs a call that comes back with a secret, and hands it out once: to a 0600 file with `--out`, else to stdout,
 * alone there so that a script can catch it; what else is to be said about it goes to stderr then.
 */
export async function handOut(
  context: CommandContext,
  options: SecretOptions,
  call: () => Promise<{ readonly token: string | null; readonly record: object; readonly summary: string }>,
): Promise<void> {
  const { output } = context;
  const file = options.out === undefined ? null : await reserveSecretFile(options.out, options.force === true);
  try {
    const { token, record, summary } = await call();
    if (token === null) {
      output.note(`${summary}\nThe secret was shown to an earlier call with this idempotency key and is not kept.`);
      if (options.json === true) output.json({ ...record, token: null });
      return;
    }
    if (file === null) {
      if (options.json === true) return output.json({ ...record, token });
      output.note(`${summary}\nThis is the only time the token is shown:`);
      return output.line(token);
    }
    await file.write(token).catch((error: unknown) => {
      const cause = error instanceof Error ? error.message : String(error);
      throw new CommandFailure(`${summary}\nbut its secret could not be written and is lost; rotate it (${cause})`);
    });
    if (options.json === true) output.json({ ...record, token_file: options.out });
    else output.line(`${summary}\nwritten to ${options.out}`);
  } finally {
    await file?.abandon();
  }
}
