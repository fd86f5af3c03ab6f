import { readFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import { formatDiagnostic } from '../../base/diagnostic.ts';
import { didYouMean } from '../../base/nearest.ts';
import { parseDuration } from '../../base/quantity.ts';
import { err, ok, type Result } from '../../base/result.ts';
import { parseYamlDocument } from '../../base/yaml-document.ts';
import { path as filePath, timeout } from '../../config/values.ts';
import { type CommandContext, CommandFailure, EXIT } from '../command.ts';
import { type Hooks, processId, type SignalTarget } from './hooks.ts';
import { messageOf } from './token-file.ts';

/** One file that is kept fresh. */
export interface KeptFile {
  readonly tokenFile: string;
  /** The traffic listener of the gateway. */
  readonly url: URL;
  /** Null: as the record says, else after two thirds of the token's life. */
  readonly rotateBeforeMs: number | null;
  /** As the gateway reads it, such as `1h`; null: as long as the class allows. */
  readonly grace: string | null;
  readonly hooks: Hooks;
}

export interface AgentSettings {
  readonly files: readonly [KeptFile, ...KeptFile[]];
  readonly checkEveryMs: number;
}

export interface AgentOptions {
  readonly config?: string;
  readonly tokenFile?: readonly string[];
  readonly url?: string;
  readonly rotateBefore?: string;
  readonly grace?: string;
  readonly checkEvery?: string;
  readonly exec?: string;
  readonly signal?: readonly string[];
  readonly once?: boolean;
}

export const DEFAULT_URL = 'http://127.0.0.1:8080';
const DEFAULT_CHECK_MS = 5 * 60_000;

/** What the command line or the file that it names asks for. Throws a CommandFailure that says what is wrong. */
export async function agentSettings(options: AgentOptions, context: CommandContext): Promise<AgentSettings> {
  if (options.config !== undefined) {
    const beside = Object.keys(options).find((name) => name !== 'config' && name !== 'once');
    if (beside !== undefined) throw usage(`--config cannot stand beside --${kebab(beside)}: the file says all that`);
  }
  const byDefault = context.runtime.env['PORTCULLIS_URL'] || DEFAULT_URL;
  const settings =
    options.config === undefined
      ? fromOptions(options, byDefault)
      : await fromFile(options.config, byDefault, context.output.note);
  const twice = settings.files.find(
    ({ tokenFile }, index) => settings.files.findIndex((other) => other.tokenFile === tokenFile) < index,
  );
  if (twice !== undefined) throw usage(`${twice.tokenFile} is named twice`);
  for (const host of new Set(settings.files.filter(crossesTheNetwork).map(({ url }) => url.host))) {
    context.output.note(`warning: tokens cross the network to ${host} without TLS`);
  }
  return settings;
}

function fromOptions(options: AgentOptions, byDefault: string): AgentSettings {
  const url = must('--url', gatewayUrl(options.url ?? byDefault));
  const hooks = {
    exec: options.exec ?? null,
    signal: options.signal === undefined ? null : must('--signal', signalOption(options.signal)),
  };
  const rotateBefore = options.rotateBefore === undefined ? null : parseDuration(options.rotateBefore);
  if (options.grace !== undefined) must('--grace', parseDuration(options.grace));
  const checkEvery = options.checkEvery === undefined ? ok(DEFAULT_CHECK_MS) : parseDuration(options.checkEvery);
  const checkEveryMs = must('--check-every', checkEvery);
  if (checkEveryMs < 1) throw usage('--check-every: must be more than zero');
  const [first, ...others] = (options.tokenFile ?? []).map(
    (tokenFile): KeptFile => ({
      tokenFile,
      url,
      rotateBeforeMs: rotateBefore === null ? null : must('--rotate-before', rotateBefore),
      grace: options.grace ?? null,
      hooks,
    }),
  );
  if (first === undefined) throw usage('which files? Name them with --token-file FILE, or give --config FILE');
  return { files: [first, ...others], checkEveryMs };
}

/** `{ url, check_every, files: [{ token_file, url, rotate_before, grace, exec, signal: { pid | pid_file, name } }] }` */
function agentSchema(folder: string) {
  return z.strictObject({
    url: parsedText('expected the URL of the traffic listener', gatewayUrl).optional(),
    check_every: timeout().optional(),
    files: z
      .array(
        z.strictObject({
          token_file: filePath(folder),
          url: parsedText('expected the URL of the traffic listener', gatewayUrl).optional(),
          rotate_before: timeout().optional(),
          grace: parsedText('expected a duration such as 1h', (text) => keptText(text, parseDuration(text))).optional(),
          exec: z.string({ error: 'expected a command' }).min(1, { error: 'expected a command' }).optional(),
          signal: z
            .strictObject({
              pid: z.int({ error: 'expected a process id' }).min(1, { error: 'expected a process id' }).optional(),
              pid_file: filePath(folder).optional(),
              name: parsedText('expected the name of a signal', signalName),
            })
            .refine(({ pid, pid_file }) => (pid === undefined) !== (pid_file === undefined), {
              error: 'expected exactly one of pid and pid_file',
            })
            .optional(),
        }),
      )
      .min(1, { error: 'at least one file is needed' }),
  });
}

async function fromFile(file: string, byDefault: string, note: (text: string) => void): Promise<AgentSettings> {
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    throw new CommandFailure(`${file} cannot be read: ${messageOf(error)}`);
  });
  const document = parseYamlDocument(text, file, agentSchema(dirname(resolve(file))));
  if (!document.ok) {
    for (const diagnostic of document.error) note(formatDiagnostic(diagnostic));
    throw new CommandFailure(`${file} is not a valid configuration of the agent`);
  }
  const { url, check_every, files } = document.value.value;
  const general = url ?? must('PORTCULLIS_URL', gatewayUrl(byDefault));
  const [first, ...others] = files.map(
    (each): KeptFile => ({
      tokenFile: each.token_file,
      url: each.url ?? general,
      rotateBeforeMs: each.rotate_before ?? null,
      grace: each.grace ?? null,
      hooks: { exec: each.exec ?? null, signal: each.signal === undefined ? null : signalTarget(each.signal) },
    }),
  );
  if (first === undefined) throw new CommandFailure(`${file} names no file`);
  return { files: [first, ...others], checkEveryMs: check_every ?? DEFAULT_CHECK_MS };
}

function signalTarget(signal: {
  readonly pid?: number | undefined;
  readonly pid_file?: string | undefined;
  readonly name: NodeJS.Signals;
}): SignalTarget {
  const target = signal.pid_file === undefined ? { pid: signal.pid ?? 0 } : { pidFile: signal.pid_file };
  return { process: target, signal: signal.name };
}

/** `1234 HUP` or `@/run/app.pid HUP`. */
function signalOption([target, name, ...more]: readonly string[]): Result<SignalTarget, string> {
  const wanted = 'expected a process id, or @ and a file that holds one, then the name of a signal, such as 1234 HUP';
  if (target === undefined || name === undefined || more.length > 0) return err(wanted);
  const signal = signalName(name);
  if (!signal.ok) return signal;
  if (target.startsWith('@') && target.length > 1) {
    return ok({ process: { pidFile: target.slice(1) }, signal: signal.value });
  }
  const pid = processId(target);
  return pid === null ? err(wanted) : ok({ process: { pid }, signal: signal.value });
}

/** `HUP` or `SIGHUP`, in any case. */
function signalName(text: string): Result<NodeJS.Signals, string> {
  const name = `SIG${text.toUpperCase().replace(/^SIG/, '')}`;
  if (isSignal(name)) return ok(name);
  const known = Object.keys(constants.signals).map((signal) => signal.slice(3));
  return err(`there is no signal ${JSON.stringify(text)}${didYouMean(name.slice(3), known)}`);
}

function isSignal(name: string): name is NodeJS.Signals {
  return Object.hasOwn(constants.signals, name);
}

/** Errors never repeat the text: it may hold a password. */
function gatewayUrl(text: string): Result<URL, string> {
  const url = /^https?:\/\//i.test(text) ? URL.parse(text) : null;
  if (url !== null && url.username === '' && url.password === '' && url.search === '' && url.hash === '')
    return ok(url);
  return err(`expected the URL of the traffic listener, such as ${DEFAULT_URL}`);
}

function crossesTheNetwork({ url }: KeptFile): boolean {
  return url.protocol === 'http:' && !/^(127\.\d+\.\d+\.\d+|\[::1\]|localhost)$/.test(url.hostname);
}

function keptText(text: string, checked: Result<unknown, string>): Result<string, string> {
  return checked.ok ? ok(text) : checked;
}

function parsedText<T>(wanted: string, parse: (text: string) => Result<T, string>) {
  return z.string({ error: wanted }).transform((text, context): T => {
    const result = parse(text);
    if (result.ok) return result.value;
    context.addIssue({ code: 'custom', message: result.error });
    return z.NEVER;
  });
}

function must<T>(option: string, result: Result<T, string>): T {
  if (result.ok) return result.value;
  throw usage(`${option}: ${result.error}`);
}

function kebab(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

function usage(message: string): CommandFailure {
  return new CommandFailure(message, EXIT.usage);
}
