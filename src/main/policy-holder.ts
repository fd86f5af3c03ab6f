import type { AuditLog } from '../audit/audit-log.ts';
import type { Clock } from '../base/clock.ts';
import { type Diagnostic, formatDiagnostic } from '../base/diagnostic.ts';
import type { Logger } from '../metrics/log.ts';
import type { Metrics } from '../metrics/metrics.ts';
import type { CompiledPolicy } from '../policy/compiled-policy.ts';
import { compilePolicyFolder, folderFingerprint, readSettledFolder } from '../policy/load.ts';
import { FolderWatch } from './folder-watch.ts';

export type ReloadOutcome =
  | { readonly ok: true; readonly policy: CompiledPolicy }
  | { readonly ok: false; readonly diagnostics: readonly Diagnostic[] };

/** As many errors of a rejected policy as an audit event tells. */
const AUDITED_ERRORS = 20;

/** Said whenever it becomes true, not only at the start. */
export const SERVE_CACHED =
  'on_unavailable is serve_cached: while the store is lost, revoked tokens may be let in for as long as max_stale';

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
  #rejectedAt: number | null = null;
  #lastError: readonly Diagnostic[] | null = null;
  #tail: Promise<unknown> = Promise.resolve();
  /** What the folder looked like when it was last read. */
  #fingerprint = '';
  #watch: FolderWatch | null = null;

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

  state(): {
    readonly loadedAt: number | null;
    /** When the newest files were rejected; null while what is in force is what the files say. */
    readonly rejectedAt: number | null;
    readonly lastError: readonly Diagnostic[] | null;
  } {
    return { loadedAt: this.#loadedAt, rejectedAt: this.#rejectedAt, lastError: this.#lastError };
  }

  reload(): Promise<ReloadOutcome> {
    const next = this.#tail.then(() => this.#load());
    this.#tail = next.catch(() => undefined);
    return next;
  }

  /** Reloads when a file of the folder changes. */
  watch(): void {
    this.#watch ??= new FolderWatch(this.#folder, () => this.#reloadIfChanged(), this.#log);
  }

  close(): void {
    this.#watch?.close();
  }

  async #reloadIfChanged(): Promise<void> {
    // In line with the reloads that were asked for: those may have seen the change already.
    await this.#tail;
    if ((await folderFingerprint(this.#folder)) !== this.#fingerprint) await this.reload();
  }

  async #load(): Promise<ReloadOutcome> {
    const { folder, fingerprint } = await readSettledFolder(this.#folder);
    this.#fingerprint = fingerprint;
    const { policy, diagnostics } = compilePolicyFolder(folder, { upstreams: this.#upstreams });
    if (policy === null) {
      this.#reject(diagnostics);
      return { ok: false, diagnostics };
    }
    const mended = this.#lastError !== null;
    this.#lastError = null;
    this.#rejectedAt = null;
    this.#metrics.policyReload('success');
    if (mended || policy.version !== this.#current?.version) this.#accept(policy);
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
    const stale = policy.apis.filter(({ onUnavailable }) => onUnavailable === 'serve_cached').map(({ name }) => name);
    if (stale.length > 0) this.#log.warn({ apis: stale }, SERVE_CACHED);
  }

  #reject(diagnostics: readonly Diagnostic[]): void {
    this.#lastError = diagnostics;
    this.#rejectedAt = this.#clock.now();
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
