import { availableParallelism } from 'node:os';
import { systemClock } from '../base/clock.ts';
import type { CliRuntime, GatewayListeners } from '../cli/runtime.ts';
import type { Config } from '../config/config.ts';
import { canonicalTarget } from '../gateway/canonical-path.ts';
import type { RunningGateway } from './gateway-process.ts';
import { packageFolder, packageVersion } from './version.ts';

/**
 * The command line's way to the rooms that it may not import. What a command does not need is not loaded for it: a
 * check of a policy should not wait for the servers' libraries.
 */
export function createRuntime(): CliRuntime {
  return {
    version: packageVersion(),
    env: process.env,
    stdin: process.stdin,
    packageFolder: packageFolder(),
    serve,
    startGateway: async (config) => {
      const [{ startGateway }, { createLogger }] = await loadGateway();
      return startGateway(config, createLogger({ level: config.log.level }));
    },
    createToken: async (config, request) => {
      const { createTokenInStore } = await import('./admin-token.ts');
      const { presentToken } = await import('../lifecycle/present.ts');
      const { token, stored } = await createTokenInStore(config, request);
      return { token, record: presentToken(stored, systemClock.now()) };
    },
    lastCheckpoint: async (config, chain) => {
      const { openStore } = await import('./open-store.ts');
      const store = await openStore(config.store);
      try {
        return await store.lastCheckpoint(chain);
      } finally {
        await store.close();
      }
    },
    canonicalise: canonicalTarget,
  };
}

function loadGateway(): Promise<[typeof import('./gateway-process.ts'), typeof import('../metrics/log.ts')]> {
  return Promise.all([import('./gateway-process.ts'), import('../metrics/log.ts')]);
}

/** Runs until SIGTERM or SIGINT, which drain; SIGHUP reloads. A second signal while it drains ends it at once. */
async function serve(
  config: Config,
  hooks: { readonly onReady: (listeners: GatewayListeners) => void },
): Promise<number> {
  const workers = config.workers === 'auto' ? availableParallelism() : config.workers;
  const { createLogger } = await import('../metrics/log.ts');
  const log = createLogger({ level: config.log.level, ...(workers === 1 ? {} : { worker: 0 }) });
  // Listened for from the start: a signal during start-up is not lost, and never ends the process half-way.
  const stopped = Promise.withResolvers<string>();
  let running: RunningGateway | null = null;
  let stopping = false;
  const onStop = (signal: NodeJS.Signals): void => {
    if (stopping) process.exit(1);
    stopping = true;
    stopped.resolve(signal);
  };
  let reloadMissed = false;
  const onReload = (): void => {
    reloadMissed = running === null;
    running?.reload().catch((error: unknown) => log.error({ err: error }, 'reload failed'));
  };
  process.on('SIGTERM', onStop);
  process.on('SIGINT', onStop);
  process.on('SIGHUP', onReload);
  try {
    const failed = Promise.withResolvers<Error>();
    if (workers === 1) running = await (await import('./gateway-process.ts')).startGateway(config, log);
    else {
      const supervised = await (await import('./workers/supervisor.ts')).startWorkers(config, workers, log);
      void supervised.failed.then(failed.resolve);
      running = supervised;
    }
    if (reloadMissed) onReload();
    hooks.onReady({ trafficUrl: running.trafficUrl, adminUrl: running.adminUrl });
    const end = await Promise.race([stopped.promise, failed.promise]);
    if (end instanceof Error) {
      await running.close().catch(() => undefined);
      throw end;
    }
    log.info({ signal: end }, 'draining');
    await running.close();
    log.info({}, 'stopped');
    return 0;
  } finally {
    process.off('SIGTERM', onStop);
    process.off('SIGINT', onStop);
    process.off('SIGHUP', onReload);
  }
}
