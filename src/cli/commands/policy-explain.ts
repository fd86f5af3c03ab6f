import { isIP } from 'node:net';
import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import { type McpMessage, TOOL_METHOD } from '../../model/mcp-message.ts';
import type { Principal } from '../../model/principal.ts';
import type { ClaimValue } from '../../model/token-record.ts';
import type { CompiledPolicy } from '../../policy/compiled-policy.ts';
import { type ExplainedStep, explain } from '../../policy/explain.ts';
import { samplePrincipal } from '../../policy/sample-principal.ts';
import {
  type AdminOptions,
  adminClient,
  asObject,
  type JsonObject,
  readTokenFile,
  withAdminOptions,
} from '../admin-client.ts';
import { type CommandContext, EXIT, example, list } from '../command.ts';
import { requireConfig } from '../config-file.ts';
import { assignments } from '../option-values.ts';
import { printable } from '../output.ts';
import { DEFAULT_POLICIES, requirePolicies } from './policy.ts';

interface ExplainOptions extends AdminOptions {
  readonly method: string;
  readonly path: string;
  readonly host: string;
  readonly ip: string;
  readonly scopes?: readonly string[];
  readonly roles?: readonly string[];
  readonly claim?: JsonObject;
  readonly subject?: string;
  readonly class?: string;
  readonly at?: number;
  readonly mcpMethod?: string;
  readonly mcpTool?: string;
  readonly tokenFile?: string;
  readonly policies?: string;
  readonly config?: string;
  readonly json?: boolean;
}

export function registerPolicyExplain(group: Command, context: CommandContext): void {
  const command = withAdminOptions(group.command('explain'))
    .description('Say what would be decided on a request, by which rule, and how each condition came out.')
    .requiredOption('--method <method>', 'such as GET')
    .requiredOption('--path <path>', 'as a client would send it')
    .option('--host <host>', 'host of the request', 'localhost')
    .option('--ip <address>', "the client's address", address, '127.0.0.1')
    .option('--scopes <scopes>', 'of a token to imagine; without any of these there is no token', list)
    .option('--roles <roles>', 'of a token to imagine', list)
    .option('--claim <name=value>', 'of a token to imagine; again for more', assignments)
    .option('--subject <subject>', 'of a token to imagine')
    .option('--class <class>', 'of a token to imagine')
    .option('--at <time>', 'moment of the request (RFC 3339), now if left out', moment)
    .option('--mcp-method <method>', 'of the MCP message in the body, such as tools/call')
    .option('--mcp-tool <name>', 'the tool that it names')
    .option('--token-file <file>', 'file with a real token: asks the running gateway (admin API)')
    .option('--policies <dir>', 'folder of the policies', undefined)
    .option('--config <file>', 'take the folder of the policies from this configuration');
  example(
    command,
    'portcullis policy explain --method GET --path /orders --scopes orders:read',
    'portcullis policy explain --method GET --path /orders --token-file my.token --admin-token-file admin.token',
  );
  command.action(
    context.action(async (options: ExplainOptions) => {
      const answer =
        options.tokenFile === undefined ? await fromFiles(context, options) : await fromGateway(context, options);
      if (options.json === true) context.output.json(answer);
      else print(context, answer);
      return EXIT.ok;
    }),
  );
}

/** What is printed, whoever has decided; also the shape of `--json`. */
interface Answer {
  readonly decision: string;
  readonly reason: string | null;
  readonly detail: string | null;
  readonly rule: { readonly id: string; readonly name: string; readonly file: string; readonly line: number } | null;
  readonly report_only: boolean;
  readonly steps: readonly ExplainedStep[];
}

async function fromFiles(context: CommandContext, options: ExplainOptions): Promise<Answer> {
  const target = context.runtime.canonicalise(options.path);
  const policy = await policyFor(context, options);
  if (!target.ok) return refusedPath(target.reason, `${options.path} is refused before any policy is asked`);
  const request = {
    method: options.method,
    host: options.host.toLowerCase(),
    path: target.path,
    ip: options.ip,
    mcp: messageOf(options),
  };
  const now = options.at ?? Date.now();
  const { decision, ambiguous, steps } = explain(policy, request, imagined(options, now), now);
  if (ambiguous) return { ...refusedPath('path_ambiguous', 'the path reads in more than one way'), steps };
  const { rule } = decision;
  return {
    decision: decision.effect,
    reason: decision.effect === 'deny' ? decision.reason : null,
    detail: decision.effect === 'deny' ? decision.detail : null,
    rule: rule === null ? null : { id: rule.id, name: rule.name, file: rule.source.file, line: rule.source.line },
    report_only: decision.effect === 'deny' && decision.reportOnly,
    // There is no token to name, only the idea of one.
    steps: steps.map((each) =>
      each.step === 'token' && each.outcome === 'pass' ? { ...each, text: 'a valid token, as described' } : each,
    ),
  };
}

/** A tool alone is one that is called. Only a POST carries a message to the gateway. */
function messageOf({ method, mcpMethod, mcpTool }: ExplainOptions): McpMessage | null {
  if (method !== 'POST' || (mcpMethod ?? mcpTool) === undefined) return null;
  return { method: mcpMethod ?? TOOL_METHOD, tool: mcpTool ?? null };
}

function refusedPath(reason: string, detail: string): Answer {
  const steps: ExplainedStep[] = [{ step: 'path', outcome: 'fail', text: detail }];
  return { decision: 'deny', reason, detail, rule: null, report_only: false, steps };
}

async function policyFor(context: CommandContext, options: ExplainOptions): Promise<CompiledPolicy> {
  if (options.config === undefined || options.policies !== undefined) {
    return await requirePolicies(context, options.policies ?? DEFAULT_POLICIES, null);
  }
  const config = await requireConfig(context, options.config);
  return await requirePolicies(context, config.policies, new Set(config.upstreams.keys()));
}

/** Null where no part of a token is described: a request without one. */
function imagined(options: ExplainOptions, now: number): Principal | null {
  const { scopes, roles, claim, subject, class: tokenClass } = options;
  if ([scopes, roles, claim, subject, tokenClass].every((part) => part === undefined)) return null;
  const claims = Object.fromEntries(
    Object.entries(claim ?? {}).flatMap(([name, value]) => (isClaim(value) ? [[name, value]] : [])),
  );
  return samplePrincipal({ scopes, roles, claims, subject, class: tokenClass }, now);
}

/** Whatever JSON can say is a claim. */
function isClaim(value: unknown): value is ClaimValue {
  return value !== undefined;
}

async function fromGateway(context: CommandContext, options: ExplainOptions): Promise<Answer> {
  const client = await adminClient(options, context);
  const token = await readTokenFile(options.tokenFile ?? '');
  const answer = await client.post('/v1/explain', {
    method: options.method,
    path: options.path,
    host: options.host,
    ip: options.ip,
    mcp: messageOf(options) ?? undefined,
    time: options.at === undefined ? undefined : new Date(options.at).toISOString(),
    token,
  });
  return fromJson(answer);
}

function fromJson(answer: JsonObject): Answer {
  const rule = asObject(answer['rule']);
  const steps = Array.isArray(answer['steps']) ? answer['steps'] : [];
  return {
    decision: String(answer['decision']),
    reason: textOrNull(answer['reason']),
    detail: textOrNull(answer['detail']),
    rule:
      rule === null
        ? null
        : {
            id: String(rule['id']),
            name: String(rule['name']),
            file: String(rule['file']),
            line: Number(rule['line']),
          },
    report_only: answer['report_only'] === true,
    steps: steps.flatMap((step: unknown) => asStep(asObject(step))),
  };
}

function asStep(step: JsonObject | null): ExplainedStep[] {
  return isStep(step) ? [step] : [];
}

function isStep(step: unknown): step is ExplainedStep {
  return typeof step === 'object' && step !== null && 'step' in step && 'outcome' in step && 'text' in step;
}

function textOrNull(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}

function print({ output }: CommandContext, answer: Answer): void {
  const { decision, reason, rule } = answer;
  const allowed = decision === 'allow';
  const verdict = output.style(allowed ? 'green' : 'red', decision);
  output.line(
    `${verdict}${reason === null ? '' : ` ${reason}`}${answer.report_only ? ' (report mode: let through)' : ''}`,
  );
  output.line(rule === null ? 'rule: none' : `rule: ${printable(rule.name)} (${rule.file}:${rule.line})`);
  const marks = { pass: output.style('green', '✓'), fail: output.style('red', '✗'), unjudged: '-' };
  for (const { step, outcome, text } of answer.steps) output.line(`  ${marks[outcome]} ${step}: ${printable(text)}`);
  if (answer.detail !== null) output.line(printable(answer.detail));
}

function address(text: string): string {
  if (isIP(text) === 0) throw new InvalidArgumentError('Expected an IP address.');
  return text;
}

function moment(text: string): number {
  const parsed = /^\d{4}-\d{2}-\d{2}T/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(parsed)) throw new InvalidArgumentError('Expected a time such as 2026-01-31T12:00:00Z.');
  return parsed;
}
