import { type FSWatcher, watch } from 'node:fs';
import type { AuditLog } from '../audit/audit-log.ts';
import type { Clock } from '../base/clock.ts';
import { type Diagnostic, formatDiagnostic } from '../base/diagnostic.ts';
import type { Logger } from '../metrics/log.ts';
import type { Metrics } from '../metrics/metrics.ts';
import type { CompiledPolicy } from '../policy/compiled-policy.ts';
import { loadPolicyFolder } from '../policy/load.ts';

export type ReloadOutcome =
  | { readonly ok: true; readonly policy: CompiledPolicy }
  | { readonly ok: false; readonly diagnostics: readonly Diagnostic[] };

/** Editors write a file in several steps; changes within this time are one reload. */
const SETTLE_MS = 200;
/** As many errors of a rejected policy as an audit event tells. */
const AUDITED_ERRORS = 20;

/**
 * The policy in force. A reload compiles the whole folder beside it and swaps one reference; what does not load
 * leaves it as it is. Reloads run one at a time, and one that is asked for meanwhile sees the newest files.
 */
export class PolicyHolder {
  readonly #folder: string;
  readonly #upstreams: ReadonlySet<string>;
  readonly #audit: AuditLog;
  readonly #metrics: Metrics;
  readonly #clock: Clock;
  readonly #log: Logger;
  #current: CompiledPolicy | null = null;
  #loadedAt: number | null = null;
  #lastError: readonly Diagnostic[] | null = null;
  #tail: Promise<unknown> = Promise.resolve();
  #watcher: FSWatcher | null = null;
  #settling: NodeJS.Timeout | null = null;

  constructor(
    folder: string,
    upstreams: ReadonlySet<string>,
    services: { audit: AuditLog; metrics: Metrics; clock: Clock; log: Logger },
  ) {
    this.#folder = folder;
    this.#upstreams = upstreams;
    this.#audit = services.audit;
    this.#metrics = services.metrics;
    this.#clock = services.clock;
    this.#log = services.log;
  }

  current(): CompiledPolicy | null {
    return this.#current;
  }

  state(): { readonly loadedAt: number | null; readonly lastError: readonly Diagnostic[] | null } {
    return { loadedAt: this.#loadedAt, lastError: this.#lastError };
  }

  reload(): Promise<ReloadOutcome> {
    const next = this.#tail.then(() => this.#load());
    this.#tail = next.catch(() => undefined);
    return next;
  }

  /** Reloads when a file of the folder changes. */
  watch(): void {
    try {
      this.#watcher = watch(this.#folder, { recursive: true }, () => this.#changed());
      this.#watcher.on('error', (error) => this.#log.warn({ err: error }, 'policy folder is no longer watched'));
    } catch (error) {
      this.#log.warn({ err: error }, 'policy folder cannot be watched; reload with SIGHUP or the admin API');
    }
  }

  close(): void {
    this.#watcher?.close();
    if (this.#settling !== null) clearTimeout(this.#settling);
  }

  #changed(): void {
    if (this.#settling !== null) clearTimeout(this.#settling);
    this.#settling = setTimeout(() => {
      this.#settling = null;
      this.reload().catch((error: unknown) => this.#log.error({ err: error }, 'policy reload failed'));
    }, SETTLE_MS);
    this.#settling.unref();
  }

  async #load(): Promise<ReloadOutcome> {
    const { policy, diagnostics } = await loadPolicyFolder(this.#folder, { upstreams: this.#upstreams });
    if (policy === null) {
      this.#reject(diagnostics);
      return { ok: false, diagnostics };
    }
    this.#lastError = null;
    this.#metrics.policyReload('success');
    if (policy.version !== this.#current?.version) this.#accept(policy);
    return { ok: true, policy: this.#current ?? policy };
  }

  #accept(policy: CompiledPolicy): void {
    this.#current = policy;
    this.#loadedAt = this.#clock.now();
    this.#metrics.policyInfo(policy.version);
    this.#audit.record({
      type: 'policy.loaded',
      outcome: 'success',
      policy: policy.version,
      details: { files: [...policy.files] },
    });
    this.#log.info({ version: policy.version, files: policy.files }, 'policy loaded');
  }

  #reject(diagnostics: readonly Diagnostic[]): void {
    this.#lastError = diagnostics;
    this.#metrics.policyReload('failure');
    const errors = diagnostics.filter(({ severity }) => severity === 'error').map(formatDiagnostic);
    this.#audit.record({
      type: 'policy.rejected',
      outcome: 'failure',
      policy: this.#current?.version,
      details: { errors: errors.slice(0, AUDITED_ERRORS), count: errors.length },
    });
    this.#log.error({ errors }, 'policy rejected; the one in force stays');
  }
}
