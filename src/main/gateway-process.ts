import type { AdminOptions } from '../admin/options.ts';
import { type AdminServer, createAdminServer } from '../admin/server.ts';
import type { AuditLog } from '../audit/audit-log.ts';
import { openAuditLog } from '../audit/open.ts';
import { workerFile } from '../audit/worker-files.ts';
import { systemClock } from '../base/clock.ts';
import { type Diagnostic, formatDiagnostic } from '../base/diagnostic.ts';
import type { AuditSinkConfig, Config } from '../config/config.ts';
import { canonicalTarget } from '../gateway/canonical-path.ts';
import { DpopNonces } from '../gateway/dpop-nonces.ts';
import { TrafficServer } from '../gateway/server.ts';
import { UsageNotes } from '../gateway/usage.ts';
import type { LifecycleContext } from '../lifecycle/context.ts';
import { ExpiryWatch } from '../lifecycle/expire.ts';
import { Generations } from '../lifecycle/generations.ts';
import { contentTypeFor, expositionBody } from '../metrics/exposition.ts';
import type { Logger } from '../metrics/log.ts';
import { createMetrics, type MetricsRecorder } from '../metrics/recorder.ts';
import type { Store } from '../store/token-store.ts';
import { createAuthenticator } from '../token/authenticate.ts';
import type { ForeignTokens } from '../token/authenticator.ts';
import { createIdentifier } from '../token/identify.ts';
import { lockAuditFiles } from './audit-lock.ts';
import { ExpiryLoop } from './expiry-loop.ts';
import { foreignLifecycle } from './foreign-lifecycle.ts';
import { configuredForeignTokens } from './foreign-tokens.ts';
import { DRAINING, type ProcessView, viewOfAll, viewOfOne } from './gateway-view.ts';
import { introspectedTokens } from './introspection.ts';
import { ListenerCertificates } from './listener-certificates.ts';
import { openStore } from './open-store.ts';
import { createForeignOwnTokenService } from './own-foreign-token.ts';
import { createOwnTokenService } from './own-token.ts';
import { PolicyHolder, SERVE_CACHED } from './policy-holder.ts';
import { Replication } from './replication.ts';
import { SecretFiles } from './secret-files.ts';
import { StoreGauges } from './store-gauges.ts';
import { assertionOptions, upstreamOptions } from './upstream-identity.ts';
import { packageVersion } from './version.ts';
import type { Siblings } from './workers/siblings.ts';

/** A gateway that runs: both listeners are up when it exists. */
export interface RunningGateway {
  readonly trafficUrl: string;
  readonly adminUrl: string;
  /** Reads policies and certificates again and reopens the audit files (SIGHUP). */
  reload(): Promise<void>;
  /** Stops accepting, finishes what is in flight, writes everything out. Safe to call twice. */
  close(graceMs?: number): Promise<void>;
}

/** The policies did not load, so nothing was started. */
export class PolicyNotLoaded extends Error {
  readonly diagnostics: readonly Diagnostic[];
  constructor(diagnostics: readonly Diagnostic[]) {
    super(`the policies did not load:\n${diagnostics.map(formatDiagnostic).join('\n')}`);
    this.name = 'PolicyNotLoaded';
    this.diagnostics = diagnostics;
  }
}

const HOUR_MS = 3_600_000;

/** What has been started, in order; undone in reverse, also when a later step fails. */
type Undo = () => Promise<void> | void;

/**
 * Wires the rooms together. Rejects with the first thing that cannot be had, and leaves nothing behind. With `siblings` this
 * process is one worker of several that are the gateway together.
 */
export async function startGateway(
  config: Config,
  log: Logger,
  siblings: Siblings | null = null,
): Promise<RunningGateway> {
  const undo: Undo[] = [];
  const unwind = async (): Promise<void> => {
    for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step();
  };
  try {
    return await start(config, log, siblings, undo, unwind);
  } catch (error) {
    await unwind();
    throw error;
  }
}

async function start(
  config: Config,
  log: Logger,
  siblings: Siblings | null,
  undo: Undo[],
  unwind: Undo,
): Promise<RunningGateway> {
  const clock = systemClock;
  const startedAt = clock.now();
  const metrics = createMetrics();
  undo.push(() => metrics.close());
  const storeState: StoreState = { up: true, audit: null, onChange: () => undefined };
  metrics.storeUp(true);
  const store = await openStore(config.store, {
    observe: (operation, seconds) => metrics.storeOperationSeconds(operation, seconds),
    listen: (state) => storeChanged(state, storeState, metrics, log),
    complain: (message) => log.error({ place: 'store' }, message),
  });
  undo.push(() => store.close());
  const sinks = config.audit.sinks.map((sink) => sinkOf(sink, siblings?.worker ?? 1));
  undo.push(lockAuditFiles(sinks, 0));
  const audit = await openAuditLog({
    sinks,
    onFull: config.audit.onFull,
    clock,
    metrics,
    saveCheckpoint: (checkpoint) => store.saveCheckpoint(checkpoint),
    lastCheckpoint: (chain) => store.lastCheckpoint(chain),
    onFailure: (error) => log.error({ err: error }, 'the audit trail cannot be written'),
  });
  storeState.audit = audit;
  undo.push(() => audit.close());

  const policy = new PolicyHolder(config.policies, new Set(config.upstreams.keys()), { audit, metrics, clock, log });
  undo.push(() => policy.close());
  const loaded = await policy.reload();
  if (!loaded.ok) throw new PolicyNotLoaded(loaded.diagnostics);
  policy.watch();

  const pepper = config.tokens.pepper === null ? null : Buffer.from(config.tokens.pepper.reveal());
  const tokens = { prefix: config.tokens.prefix, environment: config.environment, pepper };
  const replication = new Replication({ store, config: config.store, clock, metrics, log });
  const { reader, replica } = replication;
  storeState.onChange = () => replica.distrust();
  if (config.store.onUnavailable === 'serve_cached') {
    log.warn({ max_stale_ms: config.store.maxStaleMs }, SERVE_CACHED);
  }
  const secrets = new SecretFiles(log);
  undo.push(() => secrets.close());
  const others = configuredForeignTokens(config.issuers, { clock, metrics, log });
  undo.push(() => others.close());
  const asked = introspectedTokens(config.introspection, { ownPrefix: tokens.prefix, clock, metrics, log, secrets });
  const kinds = [...others.kinds, ...asked];
  const foreign = { kinds, revocations: replication.marks };
  const authenticator = createAuthenticator({ ...tokens, store: reader, ...(kinds.length === 0 ? {} : { foreign }) });
  const uses = new UsageNotes((batch) => store.recordUses(batch), log);
  undo.push(() => uses.close());
  const gauges = new StoreGauges(store, metrics, log, () => clock.now());
  gauges.start();
  undo.push(() => gauges.close());

  const lifecycle: LifecycleContext = {
    store,
    audit,
    clock,
    metrics: {
      tokenEvent: (event) => {
        gauges.markStale();
        metrics.tokenEvent(event);
      },
      revocationPropagationSeconds: (seconds) => metrics.revocationPropagationSeconds(seconds),
    },
    tokens,
    ...(kinds.length === 0 ? {} : { foreign: foreignLifecycle(config.issuers, asked.length > 0, replication) }),
    policy: () => policy.current(),
    propagate: (ids, kind) => replica.propagate(ids, kind),
    spread: (id) => replica.propagate([id], 'changed'),
  };
  const generations = new Generations(lifecycle, (error) => {
    log.error({ err: error }, 'a token whose old secret was used again could not be revoked');
  });
  const upstreams = upstreamOptions(config.upstreams, secrets);
  const assertion = assertionOptions(config.assertion, secrets, clock);
  await secrets.start();
  const { tls } = config.listen;
  const certificates = tls === null ? null : await ListenerCertificates.load(tls, { audit, metrics, log });
  const traffic = new TrafficServer({
    tls: certificates?.material ?? null,
    trustedProxies: config.listen.trustedProxies,
    limits: config.listen.limits,
    accept: config.tokens.accept,
    expiryWarningMs: config.tokens.expiryWarningMs,
    upstreams,
    assertion,
    authenticator,
    generations,
    standing: (principal, whenUnavailable) => replication.standing(principal, whenUnavailable),
    isRevoked: (principal) => replication.marks.knows(principal),
    possession: {
      proofs: store,
      nonces: config.tokens.dpop.nonce === 'off' ? null : new DpopNonces(store, pepper),
      ...config.tokens.dpop,
    },
    ownToken: createOwnTokenService(lifecycle, createForeignOwnTokenService()),
    policy,
    resource: { configured: config.resource, authorizationServers: config.issuers.map(({ issuer }) => issuer) },
    rateLimits: {
      counter: store,
      // Another process may have joined since this one last looked.
      replicas: () => Math.max(replica.status.replicas, store.kind === 'embedded' && siblings === null ? 1 : 2),
      onUnavailable: config.store.onUnavailable,
      maxStaleMs: config.store.maxStaleMs,
    },
    uses,
    audit,
    metrics,
    clock,
    log,
  });
  replication.attend(traffic.gateway.streams);
  await replica.start();
  undo.push(() => replica.close());
  const expiry = new ExpiryLoop(new ExpiryWatch(lifecycle, announcedBefore(config.tokens.expiryWarningMs)), {
    policy: () => policy.current(),
    flushUses: () => uses.flush(),
    clock,
    log,
  });
  expiry.start();
  undo.push(() => expiry.close());
  const admin = createAdmin(config, {
    store,
    audit,
    metrics,
    log,
    policy,
    gauges,
    uses,
    traffic,
    lifecycle,
    kinds,
    generations,
    startedAt,
    storeState,
    replication,
    siblings,
  });
  replication.attendEvents(admin.events);
  const adminAddress = await named('admin', config.admin, admin.listen(config.admin.host, config.admin.port));
  undo.push(() => admin.close());
  const trafficAddress = await named('listen', config.listen, traffic.listen(config.listen.host, config.listen.port));
  certificates?.watch((material) => traffic.renewTls(material));
  undo.push(() => certificates?.close());
  let graceMs: number | undefined;
  undo.push(() => traffic.drain(graceMs));
  audit.record({
    type: 'config.loaded',
    outcome: 'success',
    details: {
      environment: config.environment,
      version: packageVersion(),
      ...(siblings === null ? {} : { worker: siblings.worker }),
    },
  });

  let closing: Promise<void> | null = null;
  return {
    trafficUrl: `${config.listen.tls === null ? 'http' : 'https'}://${authority(config.listen.host, trafficAddress.port)}`,
    adminUrl: adminAddress.url,
    reload: async () => {
      // A folder of the audit trail that cannot be written is no reason to stay with the old policies.
      try {
        await audit.reopen();
      } finally {
        await Promise.all([policy.reload(), secrets.look(), certificates?.reload()]);
      }
    },
    close: (grace) => {
      graceMs = grace;
      closing ??= Promise.resolve(unwind());
      return closing;
    },
  };
}

/** When the coming end of a token is announced: at `expiry_warning`, and again on the last day and in the last hour. */
function announcedBefore(expiryWarningMs: number): number[] {
  return [expiryWarningMs, 24 * HOUR_MS, HOUR_MS].filter((within) => within <= expiryWarningMs);
}

interface AdminParts {
  readonly store: Store;
  readonly audit: AuditLog;
  readonly metrics: MetricsRecorder;
  readonly log: Logger;
  readonly policy: PolicyHolder;
  readonly gauges: StoreGauges;
  readonly uses: UsageNotes;
  readonly traffic: TrafficServer;
  readonly lifecycle: LifecycleContext;
  readonly kinds: readonly ForeignTokens[];
  readonly generations: Generations;
  readonly startedAt: number;
  readonly storeState: { readonly up: boolean };
  readonly replication: Replication;
  readonly siblings: Siblings | null;
}

function createAdmin(config: Config, parts: AdminParts): AdminServer {
  const { store, policy, siblings } = parts;
  const own = processView(parts);
  siblings?.attend(own, parts.audit);
  const view = siblings === null ? viewOfOne(own) : viewOfAll(own, siblings);
  // Tokens of others are not taken here: whoever administers holds a token of this gateway.
  const authenticator = createAuthenticator({ ...parts.lifecycle.tokens, store });
  return createAdminServer({
    version: packageVersion(),
    environment: config.environment,
    store,
    lifecycle: parts.lifecycle,
    authenticate: (credential, now) => authenticator.authenticate(credential, now),
    identify: identifierOf(parts),
    policy: {
      current: () => policy.current(),
      state: () => policy.state(),
      reload: () => view.reload(),
      hits: () => view.hits(),
    },
    canonicalise: canonicalTarget,
    audit: siblings?.withEventsOfAll(parts.audit) ?? parts.audit,
    auditFiles: config.audit.sinks.flatMap((sink) => (sink.kind === 'file' ? [sink.path] : [])),
    metricsText: async (accept) => expositionBody(await view.metrics(), contentTypeFor(accept)),
    status: () => view.status(),
    ready: () => view.ready(),
    uses: parts.uses,
    generations: parts.generations,
    vouchesFor: (principal) => parts.replication.standing(principal, null) === null,
    clock: parts.lifecycle.clock,
    log: parts.log,
  });
}

/** Null where tokens of others are not taken. */
function identifierOf({ kinds, lifecycle, store }: AdminParts): AdminOptions['identify'] {
  if (kinds.length === 0) return null;
  return createIdentifier({ ...lifecycle.tokens, store }, kinds);
}

function processView(parts: AdminParts): ProcessView {
  const { store, policy, traffic, replication, gauges, metrics } = parts;
  return {
    metrics: async () => {
      await gauges.fresh();
      return { countedAt: gauges.countedAt, families: await metrics.collect() };
    },
    status: () => ({
      pid: process.pid,
      startedAt: parts.startedAt,
      store: { kind: store.kind, up: parts.storeState.up },
      lease: replication.replica.status,
      replicas: replication.replica.status.replicas,
      draining: traffic.gateway.draining,
    }),
    ready: async () => {
      const reasons: string[] = [];
      if (traffic.gateway.draining) reasons.push(DRAINING);
      if (policy.current() === null) reasons.push('no policy is loaded');
      // Behind a load balancer `serve_cached` is of use only while requests go on being sent here.
      const able = reasons.length === 0 && replication.reader.mayServeStale(null);
      await store.ping().catch(() => reasons.push('the store cannot be reached'));
      return { ready: reasons.length === 0 || able, reasons };
    },
    hits: () => traffic.gateway.ruleHits,
    reload: () => policy.reload(),
  };
}

/** Every worker has an audit file, and with it a chain, of its own. */
function sinkOf(sink: AuditSinkConfig, worker: number): AuditSinkConfig {
  return sink.kind === 'file' ? { ...sink, path: workerFile(sink.path, worker) } : sink;
}

interface StoreState {
  up: boolean;
  audit: AuditLog | null;
  onChange: () => void;
}

function storeChanged(state: 'lost' | 'restored', storeState: StoreState, metrics: MetricsRecorder, log: Logger): void {
  storeState.up = state === 'restored';
  storeState.onChange();
  metrics.storeUp(storeState.up);
  storeState.audit?.record({ type: `store.${state}`, outcome: state === 'lost' ? 'failure' : 'success' });
  if (state === 'lost') log.error({}, 'the token store cannot be reached: requests that need it are refused');
  else log.info({}, 'the token store is back');
}

/** An address that cannot be had is named as the configuration names it. */
async function named<T>(
  key: string,
  { host, port }: { host: string; port: number },
  listening: Promise<T>,
): Promise<T> {
  try {
    return await listening;
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    const why =
      code === 'EADDRINUSE'
        ? 'is in use already'
        : code === 'EACCES'
          ? 'may not be used by this user'
          : code === 'EADDRNOTAVAIL'
            ? 'is not an address of this machine'
            : `cannot be listened on: ${error instanceof Error ? error.message : String(error)}`;
    throw new Error(`${key}.host and ${key}.port: ${authority(host, port)} ${why}`, { cause: error });
  }
}

function authority(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
