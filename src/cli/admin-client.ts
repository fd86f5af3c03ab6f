import { readFile } from 'node:fs/promises';
import { type Command, Option } from 'commander';
import { missingFileHint } from '../base/nearest-file.ts';
import { type CommandContext, CommandFailure, EXIT } from './command.ts';
import { printable } from './output.ts';

/** The options of every command that talks to the admin API. */
export interface AdminOptions {
  readonly adminUrl?: string;
  readonly adminTokenFile?: string;
}

const DEFAULT_ADMIN_URL = 'http://127.0.0.1:9090';
const TIMEOUT_MS = 30_000;

/** A JSON object of an answer, whose members the caller looks at one by one. */
export type JsonObject = Readonly<Record<string, unknown>>;

export function withAdminOptions(command: Command): Command {
  return command
    .addOption(new Option('--admin-url <url>', `admin listener; or PORTCULLIS_ADMIN_URL (${DEFAULT_ADMIN_URL})`))
    .addOption(new Option('--admin-token-file <file>', 'file with an admin token; or PORTCULLIS_ADMIN_TOKEN itself'))
    .addOption(new Option('--json', 'print JSON'));
}

/** Calls the admin API with global fetch. A token is only ever sent to the origin that was asked for. */
export class AdminClient {
  readonly #origin: URL;
  readonly #token: string;

  constructor(origin: URL, token: string) {
    this.#origin = origin;
    this.#token = token;
  }

  get(path: string, query: Readonly<Record<string, string | undefined>> = {}): Promise<JsonObject> {
    const url = this.#url(path);
    for (const [name, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(name, value);
    return this.#call('GET', url, {}, undefined);
  }

  post(
    path: string,
    body: JsonObject,
    headers: Readonly<Record<string, string>> = {},
    timeoutMs: number = TIMEOUT_MS,
  ): Promise<JsonObject> {
    const sent = { ...headers, 'content-type': 'application/json' };
    return this.#call('POST', this.#url(path), sent, JSON.stringify(body), timeoutMs);
  }

  postForm(path: string, form: Readonly<Record<string, string>>): Promise<JsonObject> {
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    return this.#call('POST', this.#url(path), headers, new URLSearchParams(form).toString());
  }

  #url(path: string): URL {
    return new URL(`${this.#origin.pathname.replace(/\/$/, '')}${path}`, this.#origin);
  }

  async #call(
    method: string,
    url: URL,
    headers: Readonly<Record<string, string>>,
    body: string | undefined,
    timeoutMs: number = TIMEOUT_MS,
  ): Promise<JsonObject> {
    let status: number;
    let text: string;
    let answeredByUs: boolean;
    let byTraffic: boolean;
    try {
      const response = await fetch(url, {
        method,
        headers: { ...headers, accept: 'application/json', authorization: `Bearer ${this.#token}` },
        redirect: 'manual',
        signal: AbortSignal.timeout(timeoutMs),
        ...(body === undefined ? {} : { body }),
      });
      status = response.status;
      answeredByUs = response.headers.has('portcullis-request-id');
      byTraffic = looksLikeTraffic(response.headers);
      text = await response.text();
    } catch (error) {
      throw new CommandFailure(
        `the admin API at ${this.#origin.origin} cannot be reached: ${causeOf(error, timeoutMs)}`,
      );
    }
    const answer = parseObject(text);
    // Whatever else listens there may answer 200 with JSON of its own; that is no empty list of tokens.
    if (!answeredByUs) {
      throw new CommandFailure(`${this.#origin.origin} does not answer as Portcullis does; is it the admin listener?`);
    }
    if (byTraffic) throw new CommandFailure(`${this.#origin.origin}: ${TRAFFIC}`);
    if (status < 200 || status > 299) throw new CommandFailure(refusalText(status, answer));
    if (answer === null) {
      throw new CommandFailure(`${this.#origin.origin} did not answer with JSON; is it the admin listener?`);
    }
    return answer;
  }
}

const TRAFFIC = 'this is the traffic listener; the admin listener has a port of its own';

/** The admin API challenges in its own realm, and says `nosniff` with every answer; an upstream's answers need not. */
function looksLikeTraffic(headers: Headers): boolean {
  const challenge = headers.get('www-authenticate');
  if (challenge !== null) return !challenge.includes('realm="portcullis-admin"');
  return !headers.has('x-content-type-options');
}

/** The client that the options and the environment describe. */
export async function adminClient(options: AdminOptions, context: CommandContext): Promise<AdminClient> {
  const { env } = context.runtime;
  const text = options.adminUrl ?? (env['PORTCULLIS_ADMIN_URL'] || DEFAULT_ADMIN_URL);
  const origin = /^https?:\/\//i.test(text) ? URL.parse(text) : null;
  if (origin === null || origin.username !== '' || origin.password !== '' || origin.search !== '') {
    throw new CommandFailure('the admin URL must look like http://127.0.0.1:9090', EXIT.usage);
  }
  if (origin.protocol === 'http:' && !/^(127\.\d+\.\d+\.\d+|\[::1\]|localhost)$/.test(origin.hostname)) {
    context.output.note(`warning: tokens cross the network to ${origin.host} without TLS`);
  }
  return new AdminClient(origin, await adminToken(options, env));
}

async function adminToken(options: AdminOptions, env: CommandContext['runtime']['env']): Promise<string> {
  const { adminTokenFile } = options;
  if (adminTokenFile !== undefined) return await readTokenFile(adminTokenFile);
  const token = env['PORTCULLIS_ADMIN_TOKEN'] ?? '';
  if (token === '') {
    const how = 'give --admin-token-file FILE or set PORTCULLIS_ADMIN_TOKEN (portcullis admin-token makes a first one)';
    throw new CommandFailure(`an admin token is needed: ${how}`, EXIT.usage);
  }
  return oneToken(token, 'PORTCULLIS_ADMIN_TOKEN');
}

/** The one token that a file holds. Errors name the file and never what is in it. */
export async function readTokenFile(file: string): Promise<string> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    throw new CommandFailure(`${file} cannot be read: ${causeOf(error)}${missing ? await missingFileHint(file) : ''}`);
  }
  return oneToken(text, file);
}

/** A text without white space around it that can stand in a header. */
export function oneToken(text: string, where: string): string {
  const token = text.trim();
  if (/^(?:authorization\s*:\s*)?bearer\s+\S+$/i.test(token)) {
    throw new CommandFailure(`${where} holds more than the token: leave out the "Bearer" in front of it`);
  }
  if (!/^[\x21-\x7e]{1,8192}$/.test(token)) throw new CommandFailure(`${where} does not hold one token`);
  return token;
}

function causeOf(error: unknown, timeoutMs: number = TIMEOUT_MS): string {
  if (!(error instanceof Error)) return 'unknown cause';
  if (speaksNoTls(error.cause)) return 'it does not speak TLS; did you mean http:// in place of https://?';
  if (error.name === 'TimeoutError') return `no answer within ${timeoutMs / 1000} s`;
  const cause: unknown = error.cause ?? error;
  if (cause instanceof AggregateError && cause.errors[0] instanceof Error) return cause.errors[0].message;
  return cause instanceof Error && cause.message !== '' ? cause.message : error.message;
}

function speaksNoTls(cause: unknown): boolean {
  return cause instanceof Error && 'code' in cause && cause.code === 'ERR_SSL_WRONG_VERSION_NUMBER';
}

function parseObject(text: string): JsonObject | null {
  try {
    return asObject(JSON.parse(text));
  } catch {
    return null;
  }
}

export function asObject(value: unknown): JsonObject | null {
  return isObject(value) ? value : null;
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** RFC 9457 for people: what went wrong and every member that is wrong, one a line. */
function refusalText(status: number, problem: JsonObject | null): string {
  if (problem === null) return `the admin API answered ${status}`;
  const { title, detail, reason, errors } = problem;
  // The admin API has no such reason.
  if (reason === 'route_not_declared') return TRAFFIC;
  const main = printable(typeof detail === 'string' ? detail : typeof title === 'string' ? title : 'refused');
  const lines = (Array.isArray(errors) ? errors : []).map((error: unknown) => {
    const { path, message } = asObject(error) ?? {};
    return printable(path === undefined || path === '' ? String(message) : `${String(path)}: ${String(message)}`);
  });
  const repeated = lines.length > 0 && lines.every((line) => main.includes(line));
  return [`${main} (${status} ${String(reason ?? '')})`.replace(' )', ')'), ...(repeated ? [] : lines)].join('\n  ');
}
