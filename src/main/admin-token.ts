import { parse } from 'node:path';
import { openAuditLog } from '../audit/open.ts';
import { systemClock } from '../base/clock.ts';
import { formatDuration } from '../base/quantity.ts';
import type { AuditSinkConfig, Config } from '../config/config.ts';
import type { Actor, DescribedToken, LifecycleError } from '../lifecycle/context.ts';
import { issueToken } from '../lifecycle/issue.ts';
import { createMetrics } from '../metrics/recorder.ts';
import { loadPolicyFolder } from '../policy/load.ts';
import { lockAuditFiles } from './audit-lock.ts';
import { PolicyNotLoaded } from './gateway-process.ts';
import { openStore } from './open-store.ts';

/** Whoever can read the configuration and write the store is the operator: bound by classes, not by a token. */
const BREAK_GLASS: Actor = { tokenId: null, name: 'break-glass', scopes: ['*'], roles: [], class: 'admin' };

export interface AdminTokenRequest {
  readonly name: string;
  readonly owner: string;
  readonly class: string;
  readonly scopes: readonly string[];
  /** Null: the class's default. Negative: already over (for demonstrations of a refusal). */
  readonly ttlMs: number | null;
}

/** Two such commands at once take turns. */
const LOCK_WAIT_MS = 10_000;

/** The request was not acceptable; every reason at once. */
export class TokenNotIssued extends Error {
  constructor(error: LifecycleError) {
    super(
      'errors' in error
        ? error.errors.map(({ path, message }) => `${path}: ${message}`).join('\n')
        : 'message' in error
          ? error.message
          : error.kind,
    );
    this.name = 'TokenNotIssued';
  }
}

/**
 * Issues a token straight into the store, with its audit event, while a gateway may be running on it: the first
 * token, or one to get back in with. The event goes to a chain of its own beside the gateway's.
 */
export async function createTokenInStore(
  config: Config,
  request: AdminTokenRequest,
): Promise<{ readonly token: string; readonly stored: DescribedToken }> {
  const { policy, diagnostics } = await loadPolicyFolder(config.policies, {
    upstreams: new Set(config.upstreams.keys()),
  });
  if (policy === null) throw new PolicyNotLoaded(diagnostics);
  const store = await openStore(config.store);
  try {
    await store.ping();
    const metrics = createMetrics({ defaults: false });
    const sinks = config.audit.sinks.flatMap(besideGateway);
    const unlock = lockAuditFiles(sinks, LOCK_WAIT_MS);
    try {
      const audit = await openAuditLog({
        sinks,
        onFull: 'block',
        clock: systemClock,
        metrics,
        saveCheckpoint: (checkpoint) => store.saveCheckpoint(checkpoint),
        lastCheckpoint: (chain) => store.lastCheckpoint(chain),
      });
      try {
        const pepper = config.tokens.pepper === null ? null : Buffer.from(config.tokens.pepper.reveal());
        const issued = await issueToken(
          {
            store,
            audit,
            clock: systemClock,
            metrics,
            tokens: { prefix: config.tokens.prefix, environment: config.environment, pepper },
            policy: () => policy,
          },
          BREAK_GLASS,
          {
            name: request.name,
            owner: request.owner,
            class: request.class,
            scopes: [...request.scopes],
            ...(request.ttlMs === null ? {} : { ttl: formatDuration(request.ttlMs) }),
          },
        );
        if (!issued.ok) throw new TokenNotIssued(issued.error);
        return issued.value;
      } finally {
        await audit.close();
      }
    } finally {
      unlock();
      metrics.close();
    }
  } finally {
    await store.close();
  }
}

/** `audit.jsonl` → `audit.cli.jsonl`: two processes never write one chain. */
function besideGateway(sink: AuditSinkConfig): AuditSinkConfig[] {
  if (sink.kind !== 'file') return [];
  const { dir, name, ext } = parse(sink.path);
  return [{ kind: 'file', path: `${dir}/${name}.cli${ext}` }];
}
