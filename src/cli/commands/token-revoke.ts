import type { Command } from 'commander';
import {
  type AdminClient,
  type AdminOptions,
  adminClient,
  asObject,
  type JsonObject,
  readTokenFile,
  withAdminOptions,
} from '../admin-client.ts';
import { type CommandContext, CommandFailure, EXIT, example } from '../command.ts';
import { ID, revocableId, shown } from './token-text.ts';

interface RevokeOptions extends AdminOptions {
  readonly reason?: string;
  readonly owner?: string;
  readonly class?: string;
  readonly subject?: string;
  readonly jti?: string;
  readonly issuer?: string;
  readonly seenFrom?: string;
  readonly issuedBefore?: string;
  readonly tokenFile?: string;
  readonly dryRun?: boolean;
  readonly json?: boolean;
}

/** Each of a great many tokens is written, recorded and carried to every replica: that may take its time. */
const BULK_TIMEOUT_MS = 5 * 60_000;

export function registerRevoke(group: Command, context: CommandContext): void {
  const command = withAdminOptions(group.command('revoke'))
    .description('Revoke a token, or all that fit, for good. When this returns, they are let in nowhere any more.')
    .argument('[id]', ID)
    .option('--reason <text>', 'why; it is recorded')
    .option('--owner <owner>', 'every token of this owner')
    .option('--class <class>', 'every token of this class')
    .option('--subject <subject>', 'every token of this subject')
    .option('--jti <jti>', 'the token with this id, also one that somebody else issued')
    .option('--issuer <issuer>', 'every token that this issuer has made')
    .option('--seen-from <block>', 'every token last used from this address or block')
    .option('--issued-before <time>', 'every token issued before this (RFC 3339)')
    .option('--token-file <file>', 'the token that this file holds, of whatever generation')
    .option('--dry-run', 'only say which tokens fit');
  example(
    command,
    'portcullis token revoke 4yKqUc9QzT1B --reason "leaked in a build log"',
    'portcullis token revoke --owner team-shop --issued-before 2026-03-01T00:00:00Z --dry-run',
  );
  command.action(
    context.action(async (id: string | undefined, options: RevokeOptions) => {
      const selector = await selectorOf(options);
      const bulk = Object.values(selector).some((value) => value !== undefined);
      if (bulk === (id !== undefined) || (options.dryRun === true && !bulk)) {
        const wanted = 'give the id of a token, or else one or more of --owner, --class, --subject, --jti, --issuer,';
        const more = '--seen-from, --issued-before, --token-file (--dry-run goes with those)';
        throw new CommandFailure(`${wanted} ${more}`, EXIT.usage);
      }
      if (options.reason === undefined && options.dryRun !== true) {
        throw new CommandFailure('--reason <text> is required: it is recorded', EXIT.usage);
      }
      const client = await adminClient(options, context);
      if (id === undefined) await revokeMany(client, selector, options, context);
      else await revokeOne(client, id, options, context);
      return EXIT.ok;
    }),
  );
}

async function selectorOf(options: RevokeOptions): Promise<JsonObject> {
  return {
    owner: options.owner,
    class: options.class,
    subject: options.subject,
    jti: options.jti,
    issuer: options.issuer,
    seen_from: options.seenFrom,
    issued_before: options.issuedBefore,
    token: options.tokenFile === undefined ? undefined : await readTokenFile(options.tokenFile),
  };
}

async function revokeOne(
  client: AdminClient,
  id: string,
  options: RevokeOptions,
  context: CommandContext,
): Promise<void> {
  const answer = await client.post(`/v1/tokens/${revocableId(id)}/revoke`, { reason: options.reason });
  if (options.json === true) context.output.json(answer);
  else context.output.line(`token ${id} revoked at ${shown(answer['revoked_at'])}${closedStreams(answer)}`);
}

async function revokeMany(
  client: AdminClient,
  selector: JsonObject,
  options: RevokeOptions,
  context: CommandContext,
): Promise<void> {
  const dryRun = options.dryRun === true;
  const body = { ...selector, reason: options.reason, dry_run: dryRun };
  const answer = await client.post('/v1/revocations', body, {}, BULK_TIMEOUT_MS);
  if (options.json === true) {
    context.output.json(answer);
    return;
  }
  const tokens = (Array.isArray(answer['tokens']) ? answer['tokens'] : []).map((token) => asObject(token) ?? {});
  if (tokens.length > 0) {
    const rows = tokens.map((token) => ['id', 'name', 'owner', 'class'].map((key) => shown(token[key] ?? null)));
    context.output.table(['ID', 'NAME', 'OWNER', 'CLASS'], rows);
  }
  const matched = Number(answer['matched']);
  const marks = (Array.isArray(answer['marks']) ? answer['marks'] : []).map((mark) => asObject(mark) ?? {});
  for (const mark of marks) context.output.line(markLine(mark, dryRun));
  if (tokens.length < matched) context.output.line(`… and ${matched - tokens.length} more`);
  const already = Number(answer['already_revoked']);
  const before = already === 0 ? '' : `, ${already} had been revoked before`;
  context.output.line(
    dryRun
      ? `${counted(matched)} fit${matched === 1 ? 's' : ''}${before}; nothing was changed`
      : `${counted(Number(answer['revoked']))} revoked${before}${closedStreams(answer)}`,
  );
}

/** `tokens of others: subject alice, issued before …: refused until …` */
function markLine(mark: JsonObject, dryRun: boolean): string {
  const selectors = ['issuer', 'subject', 'jti', 'token_id', 'issued_before']
    .filter((name) => (mark[name] ?? null) !== null)
    .map((name) => `${name.replace('_', ' ')} ${shown(mark[name])}`);
  const until =
    (mark['keep_until'] ?? null) === null ? 'for good' : `until the last has ended (${shown(mark['keep_until'])})`;
  return `tokens of others with ${selectors.join(', ')}: ${dryRun ? 'would be refused' : 'refused'} ${until}`;
}

function counted(tokens: number): string {
  return `${tokens} token${tokens === 1 ? '' : 's'}`;
}

function closedStreams(answer: JsonObject): string {
  const streams = Number(asObject(answer['propagation'])?.['streams_closed'] ?? 0);
  return streams === 0 ? '' : `; ${streams} open stream${streams === 1 ? '' : 's'} closed`;
}
