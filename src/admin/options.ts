import type { AuditLog } from '../audit/audit-log.ts';
import type { Clock } from '../base/clock.ts';
import type { Diagnostic } from '../base/diagnostic.ts';
import type { LifecycleContext } from '../lifecycle/context.ts';
import type { Generations } from '../lifecycle/generations.ts';
import type { Logger } from '../metrics/log.ts';
import type { Principal } from '../model/principal.ts';
import type { CompiledPolicy } from '../policy/compiled-policy.ts';
import type { Store, TokenUse } from '../store/token-store.ts';
import type { Authenticate } from './authorize.ts';

/** What the composition root hands to the admin API. */
export interface AdminOptions {
  readonly version: string;
  readonly environment: string;
  /** The `admin.host` of the configuration: what the listener is bound to and, besides addresses, may be called by. */
  readonly store: Store;
  readonly lifecycle: LifecycleContext;
  readonly authenticate: Authenticate;
  /**
   * What a token that is spoken about stands for, of whatever kind and revoked or not; never whether its bearer may call here.
   * Null where tokens of others are not taken.
   */
  readonly identify: Authenticate | null;
  readonly policy: PolicySource;
  /** The one reading of a request-target that the traffic listener uses. */
  readonly canonicalise: (target: string) => CanonicalTarget;
  readonly audit: AuditLog;
  /** The files of the audit trail's file sinks, each of which holds every event; empty where there is none. */
  readonly auditFiles: readonly string[];
  readonly metricsText: (accept: string) => Promise<{ readonly contentType: string; readonly body: string }>;
  readonly status: () => StatusReport | Promise<StatusReport>;
  readonly ready: () => Readiness | Promise<Readiness>;
  /** Takes notes of uses in the background; must not throw and must not block. */
  readonly uses: {
    note(use: TokenUse): void;
    /** Writes out what has been noted, as far as the store takes it; never rejects. */
    flush?(): Promise<void>;
  };
  /** The rules of classes about the use of old and new generations. */
  readonly generations: Pick<Generations, 'retireOlder' | 'reused'>;
  /** Whether the token of an open event stream is still good at this very moment, without asking anybody. */
  readonly vouchesFor: (principal: Principal) => boolean;
  readonly clock: Clock;
  readonly log: Logger;
}

export type CanonicalTarget =
  | { readonly ok: true; readonly path: string; readonly query: string; readonly authority: string | null }
  | { readonly ok: false; readonly reason: 'path_ambiguous' | 'request_malformed' };

export interface PolicySource {
  current(): CompiledPolicy | null;
  state(): PolicyState;
  /** Loads the folder again; what does not load leaves the policy in force as it is. */
  reload(): Promise<
    | { readonly ok: true; readonly policy: CompiledPolicy }
    | { readonly ok: false; readonly diagnostics: readonly Diagnostic[] }
  >;
  /** Requests that each rule has decided since the gateway started, by the rule's id. */
  hits?(): ReadonlyMap<string, number> | Promise<ReadonlyMap<string, number>>;
}

export interface PolicyState {
  /** When the policy in force was loaded, milliseconds since the epoch; null before the first. */
  readonly loadedAt: number | null;
  /** When the files were last rejected; null while what is in force is what the files say. */
  readonly rejectedAt?: number | null;
  /** What was wrong at the last reload; null when it succeeded. */
  readonly lastError: readonly Diagnostic[] | null;
}

/** The living part of `GET /v1/status`; the server adds version, environment and policy. */
export interface StatusReport {
  /** When the gateway started, milliseconds since the epoch. */
  readonly startedAt: number;
  readonly store: { readonly kind: 'embedded' | 'redis'; readonly up: boolean };
  /** Null where every request asks the store. */
  readonly lease: { readonly valid: boolean; readonly remainingMs: number } | null;
  /** Processes and workers known to share the store, this one included. */
  readonly replicas: number;
  readonly draining: boolean;
  /** The processes of this gateway, where there are several. */
  readonly workers?: readonly WorkerReport[];
}

export interface WorkerReport {
  /** From 1. */
  readonly worker: number;
  readonly pid: number;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
}

export interface Readiness {
  readonly ready: boolean;
  /** Why not; empty when ready. */
  readonly reasons: readonly string[];
}
