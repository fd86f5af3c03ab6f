import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { resolve } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { type AuditEvent, isAuditEvent } from '../../audit/event.ts';
import { inOrder, readFirstLine } from '../../audit/files.ts';
import { type AuditDecision, queryAudit } from '../../audit/query.ts';
import { tailAudit } from '../../audit/tail.ts';
import { withWorkerFiles } from '../../audit/worker-files.ts';
import { LIMITS } from '../../base/limits.ts';
import { didYouMean } from '../../base/nearest.ts';
import { AUDIT_EVENT_TYPES } from '../../model/audit-event.ts';
import { type CommandContext, CommandFailure, EXIT, example } from '../command.ts';
import { choice, moment, whole } from '../option-values.ts';
import { type Output, printable } from '../output.ts';
import { registerAuditVerify } from './audit-verify.ts';

export function registerAudit(root: Command, context: CommandContext): void {
  const group = root.command('audit').description('Verify, follow and search audit files.');
  example(group, 'portcullis audit verify data/audit.jsonl --config portcullis.yaml');
  registerAuditVerify(group, context);
  registerTail(group, context);
  registerQuery(group, context);
}

function registerTail(group: Command, context: CommandContext): void {
  const command = group
    .command('tail')
    .description('Print events as they are written, of every worker, also across a rotation, until Ctrl-C.')
    .argument('<file>', 'the audit file; it may still have to come, and so may those of further workers')
    .option('-n, --lines <n>', 'begin with so many that are there already', whole(0, 1_000_000), 10)
    .option('--json', 'print the lines as they are');
  example(command, 'portcullis audit tail data/audit.jsonl');
  command.action(
    context.action(async (file: string, { lines, json }: { readonly lines: number; readonly json?: boolean }) => {
      const { output } = context;
      const stop = new AbortController();
      for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());
      void output.closed.then(() => stop.abort());
      for await (const line of tailAudit(file, { signal: stop.signal, last: lines })) {
        if (json === true) output.line(line);
        else output.line(readable(parseEvent(line), output) ?? printable(line));
      }
      return EXIT.ok;
    }),
  );
}

interface QueryOptions {
  readonly token?: string;
  readonly since?: number;
  readonly until?: number;
  readonly type?: string;
  readonly decision?: AuditDecision;
  readonly limit: number;
  readonly json?: boolean;
}

function registerQuery(group: Command, context: CommandContext): void {
  const command = group
    .command('query')
    .description('Search audit files, the newest event first.')
    .argument('<files...>', 'audit files, in any order, each with those of further workers')
    .option('--token <id>', 'only events of this token')
    .option('--since <time>', 'RFC 3339, or how long ago, such as 1h', moment)
    .option('--until <time>', 'RFC 3339, or how long ago', moment)
    .option('--type <type>', 'such as access.denied, or token for all that begin so', eventType)
    .option('--decision <decision>', 'allow, deny, would_deny', choice(['allow', 'deny', 'would_deny'] as const))
    .option('--limit <n>', 'at most so many', whole(1), 100)
    .option('--json', 'print one JSON object a line');
  example(
    command,
    'portcullis audit query data/audit.jsonl --decision deny --since 1h',
    'portcullis audit query data/audit.jsonl --token 4yKqUc9QzT1B --json',
  );
  command.action(
    context.action(async (files: readonly string[], options: QueryOptions) => {
      const { output } = context;
      for (const file of files) await requireReadable(file);
      const ordered = inOrder(await Promise.all((await withWorkerFiles(files)).map(readFirstLine)));
      let printed = 0;
      let cursor: string | null = null;
      do {
        const { limit: _, json: __, ...filter } = options;
        const limit = Math.min(LIMITS.pageSize, options.limit - printed);
        const page = await queryAudit(ordered, { ...filter, limit, cursor });
        for (const event of page.events) {
          output.line(options.json === true ? JSON.stringify(event) : (readable(event, output) ?? ''));
        }
        printed += page.events.length;
        cursor = page.cursor;
      } while (cursor !== null && printed < options.limit);
      return EXIT.ok;
    }),
  );
}

export async function requireReadable(file: string): Promise<void> {
  await access(file, constants.R_OK).catch((error: unknown) => {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
    throw new CommandFailure(`${resolve(file)} cannot be read (${code})`);
  });
}

function parseEvent(line: string): AuditEvent | null {
  try {
    const value: unknown = JSON.parse(line);
    return isAuditEvent(value) ? value : null;
  } catch {
    return null;
  }
}

/** The members that a person looks for first, on one line. */
function readable(event: AuditEvent | null, output: Output): string | null {
  if (event === null) return null;
  const named = (name: string, value: string | undefined) => (value === undefined ? [] : [`${name}=${value}`]);
  const request = event.method === undefined ? [] : [`${event.method} ${event.host ?? ''}${event.path ?? ''}`];
  const parts = [
    ...(event.reason === undefined ? [] : [event.reason]),
    ...request,
    ...(event.status === undefined ? [] : [String(event.status)]),
    ...named('token', event.token_id),
    ...named('rule', event.rule),
    ...named('actor', event.actor),
    ...named('ip', event.ip),
    ...named('request', event.request_id),
  ];
  const bad = event.outcome === 'failure' || event.type === 'access.denied';
  const type = output.style(bad ? 'red' : 'green', printable(event.type));
  return `${printable(event.time)} ${type} ${printable(parts.join(' '))}`.trimEnd();
}

function eventType(text: string): string {
  const groups = AUDIT_EVENT_TYPES.map((type) => type.replace(/\..*$/, ''));
  const known = [...AUDIT_EVENT_TYPES, ...new Set(groups)];
  if (known.some((type) => type === text)) return text;
  throw new InvalidArgumentError(`There is no such type${didYouMean(text, known) || `: ${known.join(', ')}`}`);
}
