import type { Command } from 'commander';
import { parseDuration } from '../../base/quantity.ts';
import { TOKEN_STATUSES } from '../../model/token-record.ts';
import {
  type AdminClient,
  type AdminOptions,
  adminClient,
  asObject,
  type JsonObject,
  oneToken,
  readTokenFile,
  withAdminOptions,
} from '../admin-client.ts';
import { type CommandContext, CommandFailure, EXIT, example, list } from '../command.ts';
import { assignments, choice, thumbprint, whole } from '../option-values.ts';
import { handOut, type SecretOptions } from '../secret-output.ts';
import { registerRevoke } from './token-revoke.ts';
import { ID, shown, tokenId } from './token-text.ts';

export function registerToken(root: Command, context: CommandContext): void {
  const group = root.command('token').description('Issue, look at, rotate and revoke tokens through the admin API.');
  example(group, 'portcullis token list --admin-token-file admin.token');
  registerIssue(group, context);
  registerList(group, context);
  registerShow(group, context);
  registerRotate(group, context);
  registerRevoke(group, context);
  registerIntrospect(group, context);
}

interface IssueOptions extends AdminOptions, SecretOptions {
  readonly name: string;
  readonly owner: string;
  readonly class: string;
  readonly scopes?: readonly string[];
  readonly roles?: readonly string[];
  readonly subject?: string;
  readonly claim?: JsonObject;
  readonly ip?: readonly string[];
  readonly ttl?: string;
  readonly expiresAt?: string;
  readonly notBefore?: string;
  readonly boundToJkt?: string;
  readonly boundToCertificate?: string;
  readonly idempotencyKey?: string;
}

function withSecretOptions(command: Command): Command {
  return withAdminOptions(command)
    .option('--out <file>', 'write the secret to this file (mode 0600) instead of stdout')
    .option('--force', 'let --out replace a file')
    .option('--idempotency-key <key>', 'a repeat with this key changes nothing');
}

function registerIssue(group: Command, context: CommandContext): void {
  const command = withSecretOptions(group.command('issue'))
    .description('Issue a token. Its secret goes to stdout, once, or to a file.')
    .requiredOption('--name <name>', 'what the token is for')
    .requiredOption('--owner <owner>', 'team or person that answers for it')
    .requiredOption('--class <class>', 'class of the policies, which bounds scopes and lifetime')
    .option('--scopes <scopes>', 'such as orders:read,orders:write', list)
    .option('--roles <roles>', 'roles of the policies', list)
    .option('--subject <subject>', 'for whom it speaks')
    .option('--claim <name=value>', 'an attribute for conditions; again for more', assignments)
    .option('--ip <blocks>', 'addresses and blocks from which it may be used', list)
    .option('--ttl <duration>', 'such as 30d', duration)
    .option('--expires-at <time>', 'RFC 3339; instead of --ttl')
    .option('--not-before <time>', 'RFC 3339')
    .option('--bound-to-jkt <thumbprint>', 'RFC 7638 thumbprint of the key whose DPoP proofs it needs', thumbprint)
    .option(
      '--bound-to-certificate <thumbprint>',
      "SHA-256 of the client's certificate: base64url, or hex as openssl prints it",
      thumbprint,
    );
  example(
    command,
    'portcullis token issue --name checkout --owner team-shop --class service --scopes orders:read --out checkout.token',
    'TOKEN=$(portcullis token issue --name ci --owner team-shop --class ci --ip 10.0.0.0/8 --scopes orders:read)',
  );
  command.action(
    context.action(async (options: IssueOptions) => {
      const client = await adminClient(options, context);
      const body = {
        name: options.name,
        owner: options.owner,
        class: options.class,
        scopes: options.scopes ?? [],
        roles: options.roles,
        subject: options.subject,
        claims: options.claim,
        ip: options.ip,
        ttl: options.ttl,
        expires_at: options.expiresAt,
        not_before: options.notBefore,
        bound_to: boundTo(options),
      };
      await handOut(context, options, async () => {
        const { token, ...record } = await client.post('/v1/tokens', body, idempotency(options.idempotencyKey));
        return { token: text(token), record, summary: `token ${line(record)} issued` };
      });
      return EXIT.ok;
    }),
  );
}

interface ListOptions extends AdminOptions {
  readonly owner?: string;
  readonly class?: string;
  readonly status?: string;
  readonly subject?: string;
  readonly expiresBefore?: string;
  readonly limit?: number;
  readonly json?: boolean;
}

function registerList(group: Command, context: CommandContext): void {
  const command = withAdminOptions(group.command('list'))
    .description('List tokens, the newest first; never their secrets.')
    .option('--owner <owner>', 'only tokens of this owner')
    .option('--class <class>', 'only tokens of this class')
    .option('--status <status>', TOKEN_STATUSES.join(', '), choice(TOKEN_STATUSES))
    .option('--subject <subject>', 'only tokens of this subject')
    .option('--expires-before <time>', 'only tokens that end before this (RFC 3339)')
    .option('--limit <n>', 'at most so many; without it all', whole(1));
  example(command, 'portcullis token list --owner team-shop --status active --admin-token-file admin.token');
  command.action(
    context.action(async (options: ListOptions) => {
      const client = await adminClient(options, context);
      const tokens = await listTokens(client, options);
      if (options.json === true) context.output.json({ tokens });
      else {
        const rows = tokens.map((token) =>
          ['id', 'name', 'owner', 'class', 'status', 'expires_at', 'last_used_at'].map(
            (key) => text(token[key]) ?? '-',
          ),
        );
        context.output.table(['ID', 'NAME', 'OWNER', 'CLASS', 'STATUS', 'EXPIRES', 'LAST USED'], rows);
      }
      return EXIT.ok;
    }),
  );
}

/** All pages, or as many as `limit` needs. */
async function listTokens(client: AdminClient, options: ListOptions): Promise<JsonObject[]> {
  const tokens: JsonObject[] = [];
  const wanted = options.limit ?? Number.POSITIVE_INFINITY;
  let cursor: string | undefined;
  do {
    const page = await client.get('/v1/tokens', {
      owner: options.owner,
      class: options.class,
      status: options.status,
      subject: options.subject,
      expires_before: options.expiresBefore,
      limit: String(Math.min(1000, wanted - tokens.length)),
      cursor,
    });
    for (const token of Array.isArray(page['tokens']) ? page['tokens'] : []) {
      const record = asObject(token);
      if (record !== null) tokens.push(record);
    }
    cursor = text(page['cursor']) ?? undefined;
  } while (cursor !== undefined && tokens.length < wanted);
  return tokens;
}

function registerShow(group: Command, context: CommandContext): void {
  const command = withAdminOptions(group.command('show'))
    .description('Show the record of a token.')
    .argument('<id>', ID);
  example(command, 'portcullis token show 4yKqUc9QzT1B --admin-token-file admin.token');
  command.action(
    context.action(async (id: string, options: AdminOptions & { readonly json?: boolean }) => {
      const client = await adminClient(options, context);
      const record = await client.get(`/v1/tokens/${tokenId(id)}`);
      if (options.json === true) context.output.json(record);
      else context.output.fields(Object.entries(record).map(([name, value]) => [name, shown(value)]));
      return EXIT.ok;
    }),
  );
}

const RETIRE = ['at_grace_end', 'on_first_use'] as const;

interface RotateOptions extends AdminOptions, SecretOptions {
  readonly grace?: string;
  readonly ttl?: string;
  readonly retire?: string;
  readonly idempotencyKey?: string;
}

function registerRotate(group: Command, context: CommandContext): void {
  const command = withSecretOptions(group.command('rotate'))
    .description('Give a token a new secret. The old one goes on working until its grace is over.')
    .argument('<id>', ID)
    .option('--grace <duration>', 'such as 24h; 0s ends the old secret at once', duration)
    .option('--ttl <duration>', 'a new lifetime, such as 30d', duration)
    .option('--retire <when>', `when the old secret ends: ${RETIRE.join(' or ')}`, choice(RETIRE));
  example(command, 'portcullis token rotate 4yKqUc9QzT1B --grace 1h --out checkout.token --force');
  command.action(
    context.action(async (id: string, options: RotateOptions) => {
      const client = await adminClient(options, context);
      await handOut(context, options, async () => {
        const { token, ...record } = await client.post(
          `/v1/tokens/${tokenId(id)}/rotate`,
          { grace: options.grace, ttl: options.ttl, retire: options.retire },
          idempotency(options.idempotencyKey),
        );
        const until = text(record['grace_until']);
        const old = until === null ? 'the old secret is over' : `the old secret works until ${until}`;
        return { token: text(token), record, summary: `token ${line(record)} rotated; ${old}` };
      });
      return EXIT.ok;
    }),
  );
}

function registerIntrospect(group: Command, context: CommandContext): void {
  const command = withAdminOptions(group.command('introspect'))
    .description('Ask whether a token is valid (RFC 7662). It is read from a file or from stdin, never from arguments.')
    .option('--token-file <file>', 'file that holds the token; without it stdin is read');
  example(
    command,
    'portcullis token introspect --token-file checkout.token --admin-token-file admin.token',
    'echo "$TOKEN" | portcullis token introspect',
  );
  command.action(
    context.action(async (options: AdminOptions & { readonly tokenFile?: string; readonly json?: boolean }) => {
      const client = await adminClient(options, context);
      const token = options.tokenFile === undefined ? await fromStdin(context) : await readTokenFile(options.tokenFile);
      const answer = await client.postForm('/v1/introspect', { token });
      if (options.json === true) context.output.json(answer);
      else context.output.fields(Object.entries(answer).map(([name, value]) => [name, shown(value)]));
      return answer['active'] === true ? EXIT.ok : EXIT.failed;
    }),
  );
}

/** Longest input that can still be one token. */
const LONGEST_INPUT = 64 * 1024;

async function fromStdin(context: CommandContext): Promise<string> {
  let read = '';
  for await (const chunk of context.runtime.stdin) {
    read += String(chunk);
    if (read.length > LONGEST_INPUT) break;
  }
  return oneToken(read, 'stdin');
}

function idempotency(key: string | undefined): Readonly<Record<string, string>> {
  return key === undefined ? {} : { 'idempotency-key': key };
}

/** Checked here so that it is a matter of usage; the API gets the text. */
function duration(text: string): string {
  const parsed = parseDuration(text);
  if (!parsed.ok) throw new CommandFailure(parsed.error, EXIT.usage);
  return text;
}

function text(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}

function boundTo({ boundToJkt, boundToCertificate }: IssueOptions): JsonObject | undefined {
  if (boundToJkt === undefined && boundToCertificate === undefined) return undefined;
  return { jkt: boundToJkt, 'x5t#S256': boundToCertificate };
}

/** `4yKqUc9QzT1B (checkout, team-shop), until 2026-…` */
function line(record: JsonObject): string {
  return `${shown(record['id'])} (${shown(record['name'])}, ${shown(record['owner'])}), until ${shown(record['expires_at'])},`;
}
