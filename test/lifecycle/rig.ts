import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AuditLog } from '../../src/audit/audit-log.ts';
import { openAuditLog } from '../../src/audit/open.ts';
import type { Actor, LifecycleContext, Propagation } from '../../src/lifecycle/context.ts';
import type { IssueRequest } from '../../src/lifecycle/issue.ts';
import { compilePolicy } from '../../src/policy/compile.ts';
import type { CompiledPolicy } from '../../src/policy/compiled-policy.ts';
import { openRedisStore } from '../../src/store/redis/redis-store.ts';
import { openEmbeddedStore } from '../../src/store/sqlite/embedded-store.ts';
import type { Store } from '../../src/store/token-store.ts';

export const T0 = Date.parse('2030-01-01T00:00:00.000Z');
export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

const FILES: Readonly<Record<string, string>> = {
  'orders.yaml': 'api: orders\nupstream: orders\nrules: [ { name: read, path: /, scopes: [orders:read] } ]\n',
  'roles.yaml': `roles:
  support: { scopes: [orders:read] }
  lead: { scopes: [orders:write], includes: [support] }
  billing: { scopes: [billing:read] }
`,
  'classes.yaml': `classes:
  service: { max_ttl: 90d, default_ttl: 30d, scopes: [orders:*, portcullis:tokens:*], rotate_every: 30d, grace: 24h, require: [owner] }
  ci: { max_ttl: 1h, scopes: [orders:read], roles: [support], require: [owner, ip] }
`,
};

export function policyOf(changes: Readonly<Record<string, string>> = {}): CompiledPolicy {
  const files = Object.entries({ ...FILES, ...changes }).map(([name, text]) => ({ name, text }));
  const { policy, diagnostics } = compilePolicy(files, { upstreams: null });
  if (policy === null) throw new Error(JSON.stringify(diagnostics));
  return policy;
}

export const operator: Actor = { tokenId: null, name: 'break-glass', scopes: ['*'], roles: [], class: 'admin' };

/** A token of class service that may issue, but holds of the domain only `orders:read`. */
export const clerk: Actor = {
  tokenId: 'clerkclerk00',
  name: 'clerkclerk00',
  scopes: ['portcullis:tokens:issue', 'portcullis:tokens:rotate', 'orders:read'],
  roles: [],
  class: 'service',
  requestId: 'req-1',
  ip: '192.0.2.1',
};

export const aRequest: IssueRequest = {
  name: 'orders reader',
  owner: 'team-a',
  class: 'service',
  scopes: ['orders:read', 'orders:write'],
};

/** A line of the audit file, as far as these tests look at it. */
export interface AuditLine {
  readonly type: string;
  readonly outcome: string;
  readonly [member: string]: unknown;
}

/** A lifecycle on a real store and a real audit file, with a clock that the test moves and an audit trail it can break. */
export interface Rig {
  readonly context: LifecycleContext;
  readonly store: Store;
  readonly metrics: string[];
  now: number;
  policy: CompiledPolicy | null;
  propagate: ((ids: readonly string[]) => Promise<Propagation>) | null;
  /** What replaces the store's methods, to let it fail at a chosen moment. */
  interfere: Partial<LifecycleContext['store']>;
  /** Events about tokens, as they stand in the file. */
  audited(): Promise<AuditLine[]>;
  breakAudit(): Promise<void>;
  mendAudit(): Promise<void>;
  close(): Promise<void>;
}

/** `redisUrl` null: the embedded store. */
export async function openRig(redisUrl: string | null, pepper: Uint8Array | null = null): Promise<Rig> {
  const folder = await mkdtemp(join(tmpdir(), 'lifecycle-'));
  const file = join(folder, 'audit.jsonl');
  const store =
    redisUrl === null
      ? openEmbeddedStore({ path: folder })
      : await openRedisStore({ connection: { kind: 'standalone', url: redisUrl }, keyPrefix: folder });
  const clock = { now: () => rig.now, monotonic: () => performance.now() };
  const open = (): Promise<AuditLog> =>
    openAuditLog({
      sinks: [{ kind: 'file', path: file }],
      onFull: 'drop',
      clock,
      metrics: { auditEvent: () => undefined, auditDropped: () => undefined },
    });
  const metrics: string[] = [];
  const rig: Rig = {
    store,
    metrics,
    now: T0,
    policy: policyOf(),
    propagate: null,
    interfere: {},
    context: {
      store: {
        list: (filter, page) => (rig.interfere.list ?? store.list.bind(store))(filter, page),
        load: (id) => (rig.interfere.load ?? store.load.bind(store))(id),
        create: (record) => (rig.interfere.create ?? store.create.bind(store))(record),
        replace: (version, record) => (rig.interfere.replace ?? store.replace.bind(store))(version, record),
        withdraw: (id) => (rig.interfere.withdraw ?? store.withdraw.bind(store))(id),
      },
      audit: {
        record: (event) => audit.record(event),
        recordDurably: (event) => audit.recordDurably(event),
      },
      clock,
      metrics: {
        tokenEvent: (event) => metrics.push(event),
        revocationPropagationSeconds: () => metrics.push('propagation'),
      },
      tokens: { prefix: 'pct', environment: 'prod', pepper },
      policy: () => rig.policy,
      propagate: async (ids) =>
        rig.propagate?.(ids) ?? { replicas: 1, acknowledged: 1, streams_closed: 0, elapsed_ms: 0 },
    },
    async audited() {
      const lines = (await readFile(file, 'utf8')).trim().split('\n');
      return lines.map((line): AuditLine => JSON.parse(line)).filter((line) => line.type.startsWith('token.'));
    },
    // A closed log refuses to record, as one on a full disk does.
    breakAudit: () => audit.close(),
    async mendAudit() {
      audit = await open();
    },
    async close() {
      await audit.close();
      await store.close();
      await rm(folder, { recursive: true });
    },
  };
  let audit = await open();
  return rig;
}

/** The value of a result that has to be good. */
export function good<T>(
  result: { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: unknown },
): T {
  if (!result.ok) throw new Error(JSON.stringify(result.error));
  return result.value;
}
