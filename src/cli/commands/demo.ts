import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import type { Config } from '../../config/config.ts';
import { AdminClient } from '../admin-client.ts';
import { type CommandContext, CommandFailure, EXIT, example } from '../command.ts';
import { DEMO_CALLS, type DemoCall, type DemoToken, send } from '../demo-calls.ts';
import { demoConfig } from '../demo-config.ts';
import { startDemoUpstream } from '../demo-upstream.ts';
import { whole } from '../option-values.ts';
import type { GatewayListeners } from '../runtime.ts';

interface DemoOptions {
  readonly once?: boolean;
  readonly port: number;
  readonly adminPort: number;
  readonly json?: boolean;
}

/** A demonstration that runs, and what its visitor needs. */
interface Demo extends GatewayListeners {
  readonly config: Config;
  readonly admin: AdminClient;
  readonly adminToken: string;
  readonly tokens: Readonly<Record<Exclude<DemoToken, 'none'>, string>>;
  /** Public ids: of the reader, and of the token that a run of the calls revokes. */
  readonly readerId: string;
  readonly revocableId: string;
}

export function registerDemo(root: Command, context: CommandContext): void {
  const command = root
    .command('demo')
    .description('Start a sample API and a gateway in front of it, and show what is allowed and what is refused.')
    .option('--once', 'run the calls, print what came back, and end')
    .option('--port <port>', 'of the traffic listener; a free one if it is taken', whole(0, 65_535), 8080)
    .option('--admin-port <port>', 'of the admin listener; a free one if it is taken', whole(0, 65_535), 9090)
    .option('--json', 'with --once: print JSON');
  example(command, 'portcullis demo', 'portcullis demo --once');
  command.action(
    context.action(async (options: DemoOptions) => {
      const once = options.once === true;
      const ports = once
        ? { port: 0, adminPort: 0 }
        : { port: await freeOr(options.port, context), adminPort: await freeOr(options.adminPort, context) };
      // Listened for from the start, so that nothing is left behind whenever it comes.
      const stopped = interrupted();
      return await withDemo(context, ports, async (demo) => {
        if (once) {
          return await Promise.race([runCalls(context, demo, options.json === true), stopped.then(() => EXIT.failed)]);
        }
        invite(context, demo);
        await stopped;
        context.output.note('stopping');
        return EXIT.ok;
      });
    }),
  );
}

/** Runs `use` with everything started, and leaves nothing behind. */
async function withDemo(
  context: CommandContext,
  ports: { readonly port: number; readonly adminPort: number },
  use: (demo: Demo) => Promise<number>,
): Promise<number> {
  const { runtime } = context;
  const folder = await mkdtemp(join(tmpdir(), 'portcullis-demo-'));
  const upstream = await startDemoUpstream();
  try {
    const config = demoConfig({ ...ports, folder, upstreamUrl: upstream.url, packageFolder: runtime.packageFolder });
    const { token: adminToken } = await runtime.createToken(config, {
      name: 'demo',
      owner: 'demo',
      class: 'admin',
      scopes: ['*'],
      ttlMs: 86_400_000,
    });
    const gateway = await runtime.startGateway(config);
    try {
      const admin = new AdminClient(new URL(gateway.adminUrl), adminToken);
      const { trafficUrl, adminUrl } = gateway;
      return await use({ trafficUrl, adminUrl, config, admin, adminToken, ...(await issueTokens(admin, config)) });
    } finally {
      await gateway.close();
    }
  } finally {
    await upstream.close();
    await rm(folder, { recursive: true, force: true });
  }
}

async function issueTokens(
  admin: AdminClient,
  config: Config,
): Promise<Pick<Demo, 'tokens' | 'readerId' | 'revocableId'>> {
  const issue = async (name: string, scopes: readonly string[], ttl: string) => {
    const { id, token } = await admin.post('/v1/tokens', { name, owner: 'demo', class: 'service', scopes, ttl });
    if (typeof id !== 'string' || typeof token !== 'string') throw new CommandFailure('the admin API issued no token');
    return { id, token };
  };
  const read = await issue('demo reader', ['orders:read'], '1d');
  const write = await issue('demo writer', ['orders:read', 'orders:write'], '1d');
  // Over by the time that anybody can use it.
  const expired = await issue('demo, expired', ['orders:read'], '1ms');
  const revoked = await issue('demo, to be revoked', ['orders:read'], '1d');
  const madeUp = `${config.tokens.prefix}_${config.environment}_${'madeup'.repeat(10)}0`;
  const tokens = {
    read: read.token,
    write: write.token,
    expired: expired.token,
    'made up': madeUp,
    revoked: revoked.token,
  };
  return { tokens, readerId: read.id, revocableId: revoked.id };
}

async function runCalls(context: CommandContext, demo: Demo, json: boolean): Promise<number> {
  const { output } = context;
  const results = [];
  for (const call of DEMO_CALLS) {
    if (call.token === 'revoked') {
      await demo.admin.post(`/v1/tokens/${demo.revocableId}/revoke`, { reason: 'shown in the demonstration' });
    }
    const got = await send(demo.trafficUrl, call, secretOf(demo, call.token)).catch((error: unknown) => ({
      status: 0,
      reason: error instanceof Error ? error.message : 'no answer',
    }));
    results.push({ ...call, got, passed: got.status === call.status && got.reason === call.reason });
  }
  const failed = results.filter(({ passed }) => !passed).length;
  if (json) output.json({ passed: results.length - failed, failed, calls: results });
  else {
    const rows = results.map(({ method, path, token, got, passed, ...wanted }) => [
      ...[method, path, token, told(wanted), told(got)],
      passed ? '✓' : '✗',
    ]);
    output.table(['METHOD', 'PATH', 'TOKEN', 'EXPECTED', 'GOT', ''], rows);
    output.line(`${results.length - failed} passed, ${failed} failed`);
  }
  return failed === 0 ? EXIT.ok : EXIT.failed;
}

function secretOf(demo: Demo, token: DemoToken): string | null {
  return token === 'none' ? null : demo.tokens[token];
}

function told({ status, reason }: { readonly status: number; readonly reason: string | null }): string {
  return reason === null ? String(status) : `${status} ${reason}`;
}

/** Everything that a visitor can paste into a shell. */
function invite({ output }: CommandContext, demo: Demo): void {
  const { tokens } = demo;
  output.line(`portcullis: traffic on ${demo.trafficUrl}`);
  output.line(`portcullis: admin on ${demo.adminUrl}`);
  output.line('');
  output.line('Paste into another shell:');
  output.line('');
  output.line(`READ=${tokens.read}`);
  output.line(`WRITE=${tokens.write}`);
  output.line(`EXPIRED=${tokens.expired}`);
  output.line(`export PORTCULLIS_ADMIN_URL=${demo.adminUrl} PORTCULLIS_ADMIN_TOKEN=${demo.adminToken}`);
  output.line('');
  for (const call of DEMO_CALLS) {
    if (call.token !== 'revoked') output.line(`${curl(demo, call)}  # ${told(call)}`);
  }
  output.line('');
  output.line('npx portcullis token list  # the tokens above');
  output.line(
    `npx portcullis token revoke ${demo.readerId} --reason leaked  # from then on $READ gets 401 token_revoked`,
  );
  output.line(`curl -s ${demo.adminUrl}/metrics | grep portcullis_requests_total`);
  output.line(`tail ${demo.config.audit.sinks.flatMap((sink) => (sink.kind === 'file' ? [sink.path] : [])).join(' ')}`);
  output.line('');
  output.line('Ctrl-C ends it.');
}

const VARIABLES: Readonly<Partial<Record<DemoToken, string>>> = { read: '$READ', write: '$WRITE', expired: '$EXPIRED' };

function curl(demo: Demo, { method, path, token, body }: DemoCall): string {
  const parts = ['curl -si'];
  // curl resolves dot segments by itself unless it is told not to.
  if (path.includes('..') || path.includes('%2e')) parts.push('--path-as-is');
  if (method !== 'GET') parts.push(`-X ${method}`);
  if (body !== undefined) parts.push(`-H 'Content-Type: application/json' -d '${body}'`);
  if (token !== 'none') parts.push(`-H "Authorization: Bearer ${VARIABLES[token] ?? demo.tokens[token]}"`);
  return [...parts, `'${demo.trafficUrl}${path}'`].join(' ');
}

function interrupted(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => resolve());
  });
}

/** `port`, or 0 (a free one) with a note when somebody listens there already. */
async function freeOr(port: number, { output }: CommandContext): Promise<number> {
  const taken = await new Promise<boolean>((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(true));
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(false)));
  });
  if (taken) output.note(`port ${port} is taken; using a free one`);
  return taken ? 0 : port;
}
