import type { Command } from 'commander';
import { createAgentLog } from '../agent/agent-log.ts';
import { Keeper } from '../agent/keeper.ts';
import { OwnTokenClient } from '../agent/own-token-client.ts';
import { type AgentOptions, agentSettings, DEFAULT_URL } from '../agent/settings.ts';
import { TokenFile } from '../agent/token-file.ts';
import { type CommandContext, EXIT, example } from '../command.ts';

export function registerAgent(root: Command, context: CommandContext): void {
  const command = root
    .command('agent')
    .description('Keep token files fresh: rotate each token before it ends and replace its file atomically.')
    .option('--token-file <file>', 'file with a token; may be given several times', several)
    .option('--config <file>', 'YAML with several files, each with its own settings')
    .option('--url <url>', `traffic listener of the gateway; or PORTCULLIS_URL (${DEFAULT_URL})`)
    .option('--rotate-before <duration>', 'so long before the end, such as 3d; by default when its class says')
    .option('--grace <duration>', 'how long the old secret goes on working; by default as long as its class allows')
    .option('--check-every <duration>', 'how often to ask how the token is (5m)')
    .option('--exec <command>', 'shell command to run after each change')
    .option(
      '--signal <target...>',
      'after each change: process id, or @ and a file with one, then the name of a signal',
    )
    .option('--once', 'look once, rotate what is due, and end; for cron');
  example(
    command,
    'portcullis agent --url https://api.example.com --token-file checkout.token --signal @/run/checkout.pid HUP',
    'portcullis agent --once --token-file a.token --token-file b.token --rotate-before 3d',
    'portcullis agent --config agent.yaml',
  );
  command.action(context.action((options: AgentOptions) => keepFresh(options, context)));
}

async function keepFresh(options: AgentOptions, context: CommandContext): Promise<number> {
  const { files, checkEveryMs } = await agentSettings(options, context);
  const log = createAgentLog(context.output);
  const stopping = new AbortController();
  const keepers: Keeper[] = [];
  const onDead = (): void => {
    if (keepers.every(({ dead }) => dead)) stopping.abort();
  };
  for (const { tokenFile, url, ...settings } of files) {
    const file = await TokenFile.at(tokenFile);
    keepers.push(new Keeper({ ...settings, file, client: new OwnTokenClient(url), checkEveryMs, log, onDead }));
  }
  const onSignal = (signal: NodeJS.Signals): void => {
    if (stopping.signal.aborted) process.exit(EXIT.failed);
    log.info({ signal }, 'stopping');
    stopping.abort();
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  try {
    if (options.once === true) {
      const kept = await Promise.all(keepers.map((keeper) => keeper.once(stopping.signal)));
      return kept.every(Boolean) ? EXIT.ok : EXIT.failed;
    }
    log.info({ files: files.length }, 'keeping tokens fresh');
    await Promise.all(keepers.map((keeper) => keeper.run(stopping.signal)));
    return keepers.some(({ dead }) => dead) ? EXIT.failed : EXIT.ok;
  } finally {
    process.off('SIGTERM', onSignal);
    process.off('SIGINT', onSignal);
  }
}

function several(text: string, previous: readonly string[] | undefined): readonly string[] {
  return [...(previous ?? []), text];
}
